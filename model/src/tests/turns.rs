// SPDX-License-Identifier: GPL-2.0

//! Tests that a turn of work is limited in frames and bytes, and that every queue pair gets one.

use std::collections::BTreeMap;

use ehea_abi::cb::port::MacAddress;
use ehea_abi::ring::QueueSize;
use ehea_abi::wqe::{SwqeHeader, TxControl};
use zerocopy::byteorder::big_endian::U16;

use crate::temper::{Busy, Rough, Temper};
use crate::testkit::{Frame, GuestOptions, TestGuest, TestMachine};

/// Limits of a turn, as documented (abi.rst).
const FRAMES: usize = 1024;
const BYTES: usize = 2 << 20;
const QUANTUM: usize = 64;
/// Maximum number of frames and completions of a queue pair that are under way to memory.
const IN_FLIGHT: u64 = 256;
/// Number of bytes that the last packet of a turn may add.
const PACKET: usize = 65_536 + 256 + 9022;

/// Memory for many queue pairs.
const RAM: [(u64, u64); 1] = [(0, 256 << 20)];

/// Lets exactly one turn of work happen. Returns the frames that each port sent in it.
fn one_turn(guest: &mut TestGuest) -> Vec<Vec<u8>> {
    guest.machine.run_next();
    let ports = guest.machine.config().macs.len();
    (0..ports)
        .flat_map(|port| guest.machine.take_sent(port))
        .collect()
}

/// Posts a packet to be cut into segments of `mss` bytes of payload.
fn send_segmented(guest: &mut TestGuest, port: usize, qp: usize, payload: &[u8], mss: u16) {
    let mut packet = Frame::tcp(Frame::PEER, (5, 6), 1, 0x10, &[]);
    packet.extend(payload);
    let header = SwqeHeader {
        tx_control: U16::new(TxControl::TSO.0),
        ip_start: 14,
        ip_end: 33,
        tcp_offset: 50,
        mss: U16::new(mss),
        ..SwqeHeader::default()
    };
    guest.send_with(port, qp, &packet, header, 54, &[]);
}

/// Returns the payload of TCP segments, put together.
fn payload(frames: &[Vec<u8>], mss: usize) -> Vec<u8> {
    frames
        .iter()
        .flat_map(|frame| {
            assert!(Frame::is_intact(frame));
            frame[54..].iter().copied().take(mss)
        })
        .collect()
}

#[test]
fn the_smallest_segments() {
    let mut guest = TestGuest::default();
    let bytes = Frame::pattern(15_000, 7);
    for _ in 0..60 {
        send_segmented(&mut guest, 0, 0, &bytes, 1);
    }
    let mut sent = Vec::new();
    while sent.len() < 60 * bytes.len() {
        let now = one_turn(&mut guest);
        assert!((1..=FRAMES).contains(&now.len()), "{}", now.len());
        sent.extend(now);
    }
    assert!(!guest.machine.adapter.is_work_possible());
    for packet in sent.chunks(bytes.len()) {
        assert_eq!(payload(packet, 1), bytes);
    }
    assert_eq!(guest.completions(0, 0).len(), 60);
    let stats = guest.machine.stats();
    assert_eq!(stats.longest_work_frames, FRAMES as u64);
}

#[test]
fn the_largest_packets() {
    let options = GuestOptions {
        queue_pairs: 3,
        ..GuestOptions::default()
    };
    let mut guest = TestGuest::new(TestMachine::default_config(), options);
    let bytes = Frame::pattern(15_900, 3);
    for qp in 0..3 {
        for _ in 0..127 {
            send_segmented(&mut guest, 0, qp, &bytes, 8_900);
        }
    }
    let mut sent = 0;
    while guest.machine.deadline().is_some() {
        let moved = guest.machine.stats().dma.read_bytes;
        sent += one_turn(&mut guest).len();
        let moved = guest.machine.stats().dma.read_bytes - moved;
        assert!(moved <= (BYTES + PACKET) as u64, "{moved}");
        for qp in 0..3 {
            guest.completions(0, qp);
        }
    }
    assert_eq!(sent, 3 * 127 * 2);
    let longest = guest.machine.stats().longest_work_bytes as usize;
    assert!((BYTES..=BYTES + PACKET).contains(&longest), "{longest}");
}

/// All queue pairs make progress, however many there are, and none gets more than another.
#[test]
fn queue_pairs_take_turns() {
    let options = GuestOptions {
        queue_pairs: 40,
        ..GuestOptions::default()
    };
    let mut guest = TestGuest::on(
        TestMachine::with_ram(TestMachine::default_config(), &RAM),
        options,
    );
    let mut sent = BTreeMap::from_iter((0..40u8).map(|qp| (qp, 0)));
    let mut posted = [0; 40];
    for turn in 1..=20 {
        for (qp, posted) in (0u8..).zip(&mut posted) {
            let done = guest.completions(0, usize::from(qp)).len();
            *posted -= done;
            while *posted < 127 {
                guest.send(0, usize::from(qp), &[qp; 60]);
                *posted += 1;
            }
        }
        let frames = one_turn(&mut guest);
        assert_eq!(frames.len(), FRAMES);
        for frame in frames {
            *sent.get_mut(&frame[0]).unwrap() += 1;
        }
        let (least, most) = (sent.values().min(), sent.values().max());
        let apart = most.unwrap() - least.unwrap();
        assert!(apart <= QUANTUM, "after {turn} turns: {sent:?}");
    }
}

/// A port with many queue pairs gets no more than a port with one.
#[test]
fn ports_take_turns() {
    let mut config = TestMachine::default_config();
    config.macs.push(MacAddress([2, 0, 0, 0, 0, 2]));
    let options = GuestOptions {
        queue_pairs: 20,
        ..GuestOptions::default()
    };
    let mut guest = TestGuest::on(TestMachine::with_ram(config, &RAM), options);
    guest.options.queue_pairs = 1;
    guest.open(2);
    for qp in 0..20 {
        for _ in 0..127 {
            guest.send(0, qp, &[1; 60]);
        }
    }
    let bytes = Frame::pattern(3_000, 7);
    send_segmented(&mut guest, 1, 0, &bytes, 1);
    let frames = one_turn(&mut guest);
    let first = frames.iter().filter(|frame| frame[0] == 1).count();
    assert_eq!((frames.len(), first), (FRAMES, FRAMES / 2));
}

/// Sending does not hold up receiving.
#[test]
fn both_directions_take_turns() {
    let mut guest = TestGuest::default();
    let bytes = Frame::pattern(15_000, 7);
    for _ in 0..20 {
        send_segmented(&mut guest, 0, 0, &bytes, 1);
    }
    one_turn(&mut guest);
    for i in 0..20 {
        guest.machine.inject(0, &Frame::raw(Frame::STATION, 100, i));
    }
    one_turn(&mut guest);
    assert_eq!(guest.receive(0, 0).len(), 20);
}

/// The number of writes under way to memory is limited, and so is the number that arrive at a time.
#[test]
fn arrivals_are_bounded() {
    let mut config = TestMachine::default_config();
    config.temper = Temper::Rough(Rough {
        seed: 3,
        busy: Busy::Anywhere,
    });
    let options = GuestOptions {
        queue_pairs: 8,
        size: QueueSize::from_code(9).unwrap(),
        ..GuestOptions::default()
    };
    let ram = [(0, 1 << 30)];
    let mut guest = TestGuest::on(TestMachine::with_ram(config, &ram), options);
    for qp in 0..8 {
        for i in 0..1000 {
            guest.send(0, qp, &[i as u8; 60]);
        }
    }
    let mut sent = 0;
    let mut most = 0;
    while sent < 8000 {
        let interrupts = guest.machine.stats().dma.write_bytes;
        sent += one_turn(&mut guest).len();
        let stats = guest.machine.stats();
        most = most.max(stats.qps.iter().map(|qp| qp.in_flight).max().unwrap());
        assert!(most <= IN_FLIGHT, "{most}");
        // Each completion has 64 bytes and is written in two parts.
        let arrived = (stats.dma.write_bytes - interrupts) / (64 + 8);
        assert!(arrived <= FRAMES as u64, "{arrived}");
    }
    assert!(most > 0);
    guest.machine.advance(20_000_000);
    for qp in 0..8 {
        assert_eq!(guest.completions(0, qp).len(), 1000);
    }
}
