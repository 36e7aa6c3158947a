// SPDX-License-Identifier: GPL-2.0

//! Tests of which frames are received, where, and with what completion.

use ehea_abi::cb::port::{PortBlock2, PortCategory, ReceiveControl};
use ehea_abi::cb::qp::{QpControl, QpState};
use ehea_abi::cqe::{CqeStatus, ReceiveQueue};
use ehea_abi::hcall::Opcode;
use ehea_abi::regs;
use ehea_abi::wqe::{Descriptor, Rwqe, WrId, WrType};

use crate::testkit::{Frame, GuestOptions, Received, TestGuest, TestMachine};

pub(super) fn deliver(guest: &mut TestGuest, frame: &[u8]) -> Vec<Received> {
    assert!(guest.machine.inject(0, frame));
    guest.machine.settle();
    guest.receive(0, 0)
}

fn one(guest: &mut TestGuest, frame: &[u8]) -> Received {
    let mut all = deliver(guest, frame);
    assert_eq!(all.len(), 1, "{:?}", guest.machine.stats().ports);
    all.remove(0)
}

pub(super) fn takes(guest: &mut TestGuest, frame: &[u8]) -> bool {
    !deliver(guest, frame).is_empty()
}

#[test]
fn the_queue_goes_by_the_size() {
    let mut guest = TestGuest::default();
    for (len, queue, kind) in [
        (20, ReceiveQueue::Rq1, WrType(0)),
        (188, ReceiveQueue::Rq1, WrType(0)),
        (189, ReceiveQueue::Rq2, WrType::RQ2_BUFFER),
        (2044, ReceiveQueue::Rq2, WrType::RQ2_BUFFER),
        (2045, ReceiveQueue::Rq3, WrType::RQ3_BUFFER),
        (9018, ReceiveQueue::Rq3, WrType::RQ3_BUFFER),
    ] {
        let mut frame = Frame::raw(Frame::STATION, len, 1);
        let received = one(&mut guest, &frame);
        frame.resize(len.max(60), 0);
        assert_eq!(received.frame, frame);
        assert_eq!(received.cqe.receive_queue(), Some(queue), "{len}");
        let wr_id = WrId::unpack(received.cqe.wr_id.get());
        assert_eq!((wr_id.kind, received.cqe.qp_token.get()), (kind, 0));
        assert_eq!(received.crc, [0xc5; 4]);
        assert_eq!(received.cqe.frame_length(), Some(len.max(60)));
    }
    assert!(!takes(&mut guest, &Frame::raw(Frame::STATION, 9019, 1)));
    let stats = guest.machine.stats();
    assert_eq!(stats.ports[0].rx_dropped, 1);
    assert_eq!(stats.ports[0].rx_frames, 6);
    assert_eq!(stats.ports[0].rx_bytes, 60 + 188 + 189 + 2044 + 2045 + 9018);
}

/// A checksum result means one of three things: verified and right, verified and wrong, or not
/// verified, with a sum (§7.4).
#[test]
fn checksum_results() {
    let mut guest = TestGuest::default();
    let options = CqeStatus::BLIND_CKSUM;
    for len in [20, 21, 500, 1400] {
        let payload = Frame::pattern(len, 3);
        let tcp = Frame::tcp(Frame::STATION, (1, 2), 3, 0x18, &payload);
        let udp = Frame::udp(Frame::STATION, (1, 2), &payload);
        for (frame, header) in [(&tcp, 20), (&udp, 8)] {
            let cqe = one(&mut guest, frame).cqe;
            assert_eq!((cqe.status().0, cqe.header_length), (0, header));
            // First the last byte of the payload is wrong, then a byte of the IP header.
            let mut bad = frame.clone();
            *bad.last_mut().unwrap() ^= 1;
            let cqe = one(&mut guest, &bad).cqe;
            assert_eq!(
                (cqe.status(), cqe.header_length),
                (CqeStatus::ERR_TCP, header)
            );
            let mut bad = frame.clone();
            bad[22] ^= 1; // time to live
            let cqe = one(&mut guest, &bad).cqe;
            assert_eq!(cqe.status(), CqeStatus::ERR_IP);
        }
        // The packets are: no checksum, a fragment, no IP, and IPv4 with another protocol.
        let mut unchecked = udp.clone();
        unchecked[40..42].fill(0);
        let mut fragment = udp.clone();
        fragment[20] = 0x20;
        fragment[24..26].fill(0);
        let sum = Frame::checksum(&fragment[14..34]);
        fragment[24..26].copy_from_slice(&sum.to_be_bytes());
        let mut icmp = udp.clone();
        icmp[23] = 1;
        icmp[24..26].fill(0);
        let sum = Frame::checksum(&icmp[14..34]);
        icmp[24..26].copy_from_slice(&sum.to_be_bytes());
        let raw = Frame::raw(Frame::STATION, len + 40, 2);
        for (frame, header) in [(unchecked, 8), (fragment, 0), (icmp, 0), (raw, 0)] {
            let received = one(&mut guest, &frame);
            let cqe = received.cqe;
            assert_eq!((cqe.status(), cqe.header_length), (options, header));
            let sum = Frame::checksum(&received.frame[14..]);
            assert_eq!(cqe.inet_checksum_value.get(), sum);
        }
    }
}

/// Padding behind a packet does not belong to it, and a packet that claims to be longer than its
/// frame is not verified.
#[test]
fn lengths_that_lie() {
    let mut guest = TestGuest::default();
    let mut padded = Frame::udp(Frame::STATION, (1, 2), &[9; 5]);
    padded.resize(70, 0xee);
    assert_eq!(one(&mut guest, &padded).cqe.status().0, 0);
    for len in 35..60 {
        let cut = &Frame::tcp(Frame::STATION, (1, 2), 3, 0, &[9; 200])[..len];
        let status = one(&mut guest, cut).cqe.status();
        assert!(status.any_of(CqeStatus::BLIND_CKSUM), "{len}");
    }
}

#[test]
fn checks_can_be_off() {
    for control in [ReceiveControl::default(), ReceiveControl::VALID] {
        let mut guest = TestGuest::new(
            TestMachine::default_config(),
            GuestOptions {
                receive_control: control,
                ..GuestOptions::default()
            },
        );
        let mut bad = Frame::udp(Frame::STATION, (1, 2), &[7; 30]);
        bad[60] ^= 1;
        let received = one(&mut guest, &bad);
        assert_eq!(received.cqe.status(), CqeStatus::BLIND_CKSUM);
        // Tags stay where they are, and jumbo frames are too long.
        let tagged = Frame::tagged(&bad, 5);
        assert_eq!(one(&mut guest, &tagged).frame, tagged);
        assert!(takes(&mut guest, &Frame::raw(Frame::STATION, 1518, 1)));
        assert!(!takes(&mut guest, &Frame::raw(Frame::STATION, 1519, 1)));
    }
}

#[test]
fn tags_are_stripped() {
    let mut guest = TestGuest::default();
    for len in [20, 150, 600, 8900] {
        let frame = Frame::udp(Frame::STATION, (1, 2), &Frame::pattern(len, 4));
        let received = one(&mut guest, &Frame::tagged(&frame, 0xe123));
        assert_eq!(received.cqe.status(), CqeStatus::VLAN_TAG_XTRACT);
        assert_eq!(received.cqe.vlan_tag.get(), 0xe123);
        let mut padded = frame.clone();
        padded.resize(frame.len().max(56), 0);
        assert_eq!(received.frame, padded);
    }
}

/// Frames wait for slots and buffers; nothing is lost or reordered.
#[test]
fn frames_wait_for_credits() {
    for (len, queue) in [(100, 0), (1000, 1), (5000, 2)] {
        let mut guest = TestGuest::default();
        let frames: Vec<_> = (0..140)
            .map(|i| Frame::raw(Frame::STATION, len, i))
            .collect();
        let mut refused = 0;
        for frame in &frames {
            refused += usize::from(!guest.machine.inject(0, frame));
        }
        guest.machine.settle();
        let mut got = guest.receive(0, 0);
        if queue < 2 {
            assert_eq!((got.len(), refused), (127, 0));
        } else {
            // The FIFO held back the frames for which it had no room.
            assert_eq!(got.len() + refused, 140);
            assert!(refused > 0 && guest.machine.flushes(0) == 1);
            for frame in &frames[140 - refused..] {
                assert!(guest.machine.inject(0, frame));
            }
        }
        guest.machine.settle();
        got.extend(guest.receive(0, 0));
        let got: Vec<_> = got.into_iter().map(|r| r.frame).collect();
        assert_eq!(got, frames);
        assert_eq!(guest.machine.stats().ports[0].rx_dropped, 0);
    }
}

/// A full FIFO holds frames back with flow control, and drops them without it.
#[test]
fn a_full_fifo() {
    for flow_control in [true, false] {
        let mut config = TestMachine::default_config();
        config.flow_control = flow_control;
        let mut guest = TestGuest::new(config, GuestOptions::default());
        let handle = guest.ports[0].qps[0].handle;
        let control = guest.qp_control(handle).same_state(false);
        guest.set_qp(handle, control).unwrap();
        let mut taken = 0;
        for i in 0..100 {
            taken += u32::from(
                guest
                    .machine
                    .inject(0, &Frame::raw(Frame::STATION, 9018, i)),
            );
        }
        let stats = guest.machine.stats();
        let waiting = stats.ports[0].rx_fifo_bytes / 9018;
        assert!((55..=58).contains(&waiting), "{waiting}");
        assert!(stats.ports[0].rx_fifo_bytes <= 512 << 10);
        if flow_control {
            assert_eq!((u64::from(taken), stats.ports[0].rx_dropped), (waiting, 0));
            assert!(!guest.machine.adapter.can_rx(0));
        } else {
            assert_eq!((taken, stats.ports[0].rx_dropped), (100, 100 - waiting));
            assert!(guest.machine.adapter.can_rx(0));
        }
        // All frames are there when the queue pair is enabled again.
        let control = guest.qp_control(handle).same_state(true);
        guest.set_qp(handle, control).unwrap();
        guest.machine.settle();
        let got = guest.receive(0, 0);
        assert_eq!(got.len() as u64, waiting);
        for (i, received) in got.iter().enumerate() {
            assert_eq!(received.frame, Frame::raw(Frame::STATION, 9018, i as u32));
        }
        assert_eq!(guest.machine.flushes(0), u64::from(flow_control));
    }
}

/// A frame that does not fit its buffer is dropped. The buffer waits for the next frame.
#[test]
fn a_short_buffer() {
    let mut guest = TestGuest::default();
    let qp = &guest.ports[0].qps[0];
    let at = TestGuest::bus(guest.machine.ram(), qp.buffers[1]);
    let entry = Rwqe::new(WrId::default(), Descriptor::new(at, qp.lkeys[1], 4000));
    let slot = qp.rq3.base;
    guest.machine.write(slot, &entry);
    assert!(!takes(&mut guest, &Frame::raw(Frame::STATION, 5000, 1)));
    assert!(takes(&mut guest, &Frame::raw(Frame::STATION, 3996, 1)));
    let block = guest.block;
    let select = PortBlock2::SELECT_ALL.mask();
    guest
        .port_call(Opcode::QUERY_HEA_PORT, 1, PortCategory::STATISTICS, select)
        .unwrap();
    let counters: PortBlock2 = guest.machine.read(block);
    assert_eq!((counters.rxftl.get(), counters.rxucp.get()), (1, 1));
}

/// A frame is scattered over several descriptors.
#[test]
fn scattering() {
    let mut guest = TestGuest::default();
    let frame = Frame::raw(Frame::STATION, 1500, 8);
    let qp = &guest.ports[0].qps[0];
    let key = qp.lkeys[1];
    let (slot, memory) = (qp.rq2.base, qp.buffers[0]);
    let bus = TestGuest::bus(guest.machine.ram(), memory);
    let pieces = [
        (0u64, 1u32),
        (100, 700),
        (900, 3),
        (1000, 0),
        (1100, 796),
        (2000, 4),
    ];
    let mut entry = [0u8; 128];
    entry[0x0d] = pieces.len() as u8;
    for (place, (offset, len)) in entry[0x20..].chunks_mut(16).zip(pieces) {
        let descriptor = Descriptor::new(bus + offset, key, len);
        place.copy_from_slice(zerocopy::IntoBytes::as_bytes(&descriptor));
    }
    guest.machine.write(slot, &entry);
    guest.machine.inject(0, &frame);
    guest.machine.settle();
    let mut got = Vec::new();
    for (offset, len) in pieces {
        got.extend(guest.machine.read_bytes(memory + offset, len as usize));
    }
    assert_eq!(got, [&frame[..], &[0xc5; 4]].concat());
}

/// Closed ports and dangling queue pairs receive nothing, without waiting.
#[test]
fn frames_for_nobody_are_dropped() {
    let mut guest = TestGuest::default();
    let frame = Frame::raw(Frame::STATION, 100, 1);
    guest.set_default_qps(1, &[0x0012_3456]);
    assert!(!takes(&mut guest, &frame));
    guest.set_default_qps(1, &[]);
    assert!(!takes(&mut guest, &frame));
    let handle = guest.ports[0].qps[0].handle;
    let number = guest.ports[0].qps[0].number;
    guest.set_default_qps(1, &[number]);
    guest
        .set_qp(handle, QpControl::request(QpState::Reset, false))
        .unwrap();
    assert!(!takes(&mut guest, &frame));
    assert_eq!(guest.machine.stats().ports[0].rx_dropped, 3);
    assert_eq!(guest.machine.stats().ports[0].rx_fifo_bytes, 0);
    guest.close(0);
    assert!(guest.machine.inject(0, &frame));
    assert_eq!(guest.machine.stats().ports[0].rx_dropped, 4);
}

/// Waiting frames are dropped when the last queue pair is freed, and the backend is told.
#[test]
fn closing_empties_the_fifo() {
    let mut guest = TestGuest::default();
    let handle = guest.ports[0].qps[0].handle;
    let control = guest.qp_control(handle).same_state(false);
    guest.set_qp(handle, control).unwrap();
    let mut waiting = 0;
    while guest
        .machine
        .inject(0, &Frame::raw(Frame::STATION, 9018, 0))
    {
        waiting += 1;
    }
    guest.close(0);
    let stats = guest.machine.stats();
    assert_eq!(
        (stats.ports[0].rx_dropped, stats.ports[0].rx_fifo_bytes),
        (waiting, 0)
    );
    assert_eq!(guest.machine.flushes(0), 1);
}

/// Rings wrap many times, and positions and toggle bits stay consistent.
#[test]
fn rings_wrap() {
    let mut guest = TestGuest::default();
    for round in 0..60u32 {
        let lens = [90, 700, 3000, 60, 1514, 9018, 189, 2045, 100, 100, 100];
        let frames: Vec<_> = lens
            .into_iter()
            .map(|len| Frame::raw(Frame::STATION, len, round))
            .collect();
        for frame in &frames {
            guest.machine.inject(0, frame);
            guest.send(0, 0, frame);
        }
        guest.machine.settle();
        let got: Vec<_> = guest.receive(0, 0).into_iter().map(|r| r.frame).collect();
        assert_eq!(got, frames, "round {round}");
        assert_eq!(guest.machine.take_sent(0), frames, "round {round}");
        assert_eq!(guest.completions(0, 0).len(), frames.len());
    }
    let qp = &guest.ports[0].qps[0];
    assert_eq!(qp.load(&mut guest.machine, regs::qp::RQ1C), 127);
}

/// Buffers run out for one queue at a time. A waiting frame holds up those behind it, in order.
#[test]
fn each_queue_has_its_own_credits() {
    for (len, register) in [(1000, regs::qp::RQ2A), (5000, regs::qp::RQ3A)] {
        let mut guest = TestGuest::default();
        let frame = |i| Frame::raw(Frame::STATION, len, i);
        let small = Frame::raw(Frame::STATION, 100, 1);
        for i in 0..127 {
            guest.machine.inject(0, &frame(i));
            guest.machine.settle();
        }
        let qp = &mut guest.ports[0].qps[0];
        assert_eq!(qp.peek(&guest.machine).len(), 127);
        // Slots of RQ1 are given back, buffers are not.
        qp.store(&mut guest.machine, regs::qp::RQ1A, 127);
        guest.machine.inject(0, &frame(127));
        guest.machine.inject(0, &small);
        guest.machine.settle();
        let qp = &mut guest.ports[0].qps[0];
        assert_eq!(qp.peek(&guest.machine), []);
        // The slot that always stays empty comes first.
        let ram = guest.machine.ram().to_vec();
        let queue = usize::from(len > 2048);
        qp.post(&mut guest.machine, queue, 1, |gpa| {
            TestGuest::bus(&ram, gpa)
        });
        qp.store(&mut guest.machine, register, 1);
        guest.machine.settle();
        let got = guest.ports[0].qps[0].peek(&guest.machine);
        let got: Vec<_> = got.into_iter().map(|r| r.frame).collect();
        assert_eq!(got, [frame(127), small]);
    }
}
