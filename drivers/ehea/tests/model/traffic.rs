// SPDX-License-Identifier: GPL-2.0

//! Frames through queues that the driver's code operates.

use ehea_core::abi::ring::QueueSize;
use ehea_core::queue::{Frame, Location, Tso, TxChecksum, STOP_BELOW};
use ehea_model::testkit::{Frame as TestFrame, TestMachine};
use proptest::prelude::*;

use super::guest::Guest;
use super::port::Port;

/// Cuts a length into pieces, none of them empty.
fn cut(len: usize, cuts: &[prop::sample::Index]) -> Vec<usize> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(len)).collect();
    at.extend([0, len]);
    at.sort_unstable();
    at.dedup();
    at.windows(2).map(|ends| ends[1] - ends[0]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Frames of all lengths, in any number of pieces, leave unchanged and in order, over many laps
    /// of the rings. A full queue can always be woken.
    #[test]
    fn sending(
        frames in prop::collection::vec(
            (prop_oneof![14usize..300, 300usize..9019],
             prop::collection::vec(any::<prop::sample::Index>(), 0..18),
             any::<bool>()),
            1..400,
        ),
    ) {
        let guest = Guest::new(machine());
        let mut port = Port::open(&guest, QueueSize::MIN);
        let mut expected = Vec::new();
        let mut sent = Vec::new();
        for (n, (len, cuts, complete)) in frames.into_iter().enumerate() {
            let bytes = TestFrame::raw(TestFrame::PEER, len, n as u32);
            let pieces = cut(len, &cuts);
            let frame = Frame {
                len: len as u32,
                linear_len: pieces[0] as u32,
                ..Frame::default()
            };
            if !port.send(&bytes, &pieces, frame).unwrap() {
                // Like the stack, wait for the queue to be woken.
                port.complete();
                prop_assert!(port.poster.free(port.completer.completed()) >= port.poster.wake_from());
                prop_assert!(port.send(&bytes, &pieces, frame).unwrap());
            }
            expected.push(bytes);
            if complete && n % 5 == 0 {
                port.complete();
            }
            sent.extend(guest.machine.borrow_mut().take_sent(0));
        }
        port.complete();
        prop_assert!(port.poster.is_idle(port.completer.completed()));
        prop_assert_eq!(port.signalled.get(), 0);
        sent.extend(guest.machine.borrow_mut().take_sent(0));
        for (sent, expected) in sent.iter().zip(&expected) {
            // The adapter pads short frames.
            prop_assert_eq!(&sent[..expected.len()], &expected[..]);
            prop_assert_eq!(sent.len(), expected.len().max(60));
        }
        prop_assert_eq!(sent.len(), expected.len());
        port.close();
    }

    /// Frames of all lengths arrive unchanged and in order, through whichever receive queue.
    #[test]
    fn receiving(
        lengths in prop::collection::vec(
            prop_oneof![Just(60usize), 60usize..200, 180usize..2100, 2000usize..9019],
            1..600,
        ),
        burst in 1usize..120,
    ) {
        let guest = Guest::new(machine());
        let mut port = Port::open(&guest, QueueSize::MIN);
        for (n, burst) in lengths.chunks(burst).enumerate() {
            let frames: Vec<_> = burst
                .iter()
                .enumerate()
                .map(|(i, &len)| TestFrame::raw(TestFrame::STATION, len, (n * 1000 + i) as u32))
                .collect();
            let mut received = Vec::new();
            for frame in &frames {
                while !guest.machine.borrow_mut().inject(0, frame) {
                    received.extend(port.receive());
                }
            }
            // Frames that do not fit the rings wait for the next round.
            loop {
                let more = port.receive();
                if more.is_empty() {
                    break;
                }
                received.extend(more);
            }
            prop_assert_eq!(received.len(), frames.len());
            for ((location, bytes), frame) in received.iter().zip(&frames) {
                prop_assert_eq!(bytes, frame);
                let small = frame.len() + 4 <= 192;
                prop_assert_eq!(matches!(location, Location::Inline), small);
                prop_assert_eq!(matches!(location, Location::Rq3(_)), frame.len() + 4 > 2048);
            }
        }
        port.close();
    }
}

fn machine() -> TestMachine {
    TestMachine::new(TestMachine::default_config())
}

/// The adapter fills in checksums at the places that the work request gives, in both formats.
#[test]
fn checksums() {
    let guest = Guest::new(machine());
    let mut port = Port::open(&guest, QueueSize::MIN);
    for len in [1, 100, 180, 200, 1000, 1400] {
        let payload = TestFrame::pattern(len, 3);
        let udp = TestFrame::udp(TestFrame::PEER, (1000, 2000), &payload);
        let tcp = TestFrame::tcp(TestFrame::PEER, (1000, 2000), 7, 0x18, &payload);
        for (good, field) in [(udp, 6u32), (tcp, 16)] {
            let mut bytes = good.clone();
            bytes[24..26].fill(0);
            bytes[34 + field as usize..36 + field as usize].fill(0);
            let frame = Frame {
                len: bytes.len() as u32,
                linear_len: bytes.len() as u32,
                checksum: TxChecksum::ipv4(14, 34, field).unwrap(),
                ..Frame::default()
            };
            assert!(port.send(&bytes, &[bytes.len()], frame).unwrap());
            port.complete();
            let sent = guest.machine.borrow_mut().take_sent(0);
            assert_eq!(sent[0][..good.len()], good[..]);
            assert!(TestFrame::is_intact(&sent[0]));
        }
    }
    port.close();
}

/// The adapter also cuts TCP packets that are short. The stack relies on that.
#[test]
fn segmentation() {
    let guest = Guest::new(machine());
    let mut port = Port::open(&guest, QueueSize::MIN);
    let ports = (1000, 2000);
    for (payload, mss) in [
        (100usize, 40u16),
        (170, 100),
        (2000, 1460),
        (9000, 1000),
        (9000, 8900),
    ] {
        let data = TestFrame::pattern(payload, 5);
        let bytes = TestFrame::tcp(TestFrame::PEER, ports, 7, 0x18, &data);
        let len = bytes.len() as u32;
        let frame = Frame {
            len,
            linear_len: 60,
            checksum: TxChecksum::ipv4(14, 34, 16).unwrap(),
            tso: Tso::new(mss, 54, len),
            vlan: None,
        };
        assert!(port.send(&bytes, &[60, bytes.len() - 60], frame).unwrap());
        port.complete();
        let sent = guest.machine.borrow_mut().take_sent(0);
        let expected: Vec<_> = data.chunks(mss.into()).collect();
        assert_eq!(sent.len(), expected.len());
        for (n, (frame, piece)) in sent.iter().zip(&expected).enumerate() {
            let sequence = 7 + n as u32 * u32::from(mss);
            // Only the last packet has PSH.
            let flags = if n + 1 == expected.len() { 0x18 } else { 0x10 };
            let mut alone = TestFrame::tcp(TestFrame::PEER, ports, sequence, flags, piece);
            assert!(TestFrame::is_intact(frame));
            // Every packet has its own identification, and hence another header checksum.
            alone[18..20].copy_from_slice(&frame[18..20]);
            alone[24..26].copy_from_slice(&frame[24..26]);
            assert_eq!(frame[..alone.len()], alone[..]);
        }
    }
    port.close();
}

#[test]
fn vlan_tags() {
    let guest = Guest::new(machine());
    let mut port = Port::open(&guest, QueueSize::MIN);
    for len in [100, 1000] {
        let bytes = TestFrame::raw(TestFrame::PEER, len, 1);
        let frame = Frame {
            len: len as u32,
            linear_len: len as u32,
            vlan: Some(0x6123),
            ..Frame::default()
        };
        assert!(port.send(&bytes, &[len], frame).unwrap());
        port.complete();
        let sent = guest.machine.borrow_mut().take_sent(0);
        assert_eq!(sent, [TestFrame::tagged(&bytes, 0x6123)]);
    }
    port.close();
}

/// The last small frame that fits a queue reports completion, so that the queue can be woken.
#[test]
fn queue_full_of_small_frames() {
    let guest = Guest::new(machine());
    let mut port = Port::open(&guest, QueueSize::MIN);
    let bytes = TestFrame::raw(TestFrame::PEER, 60, 1);
    let frame = Frame {
        len: 60,
        linear_len: 60,
        ..Frame::default()
    };
    for _ in 0..20 {
        let mut count = 0;
        while port.send(&bytes, &[60], frame).unwrap() {
            count += 1;
        }
        assert_eq!(count, 126);
        assert!(port.poster.free(port.completer.completed()) < STOP_BELOW);
        port.complete();
        assert_eq!(port.poster.free(port.completer.completed()), 126);
        assert_eq!(guest.machine.borrow_mut().take_sent(0).len(), 126);
    }
    port.close();
}

/// A queue pair works even if the adapter gives only a part of it.
#[test]
fn smaller_queues_than_asked_for() {
    let guest = Guest::new(machine());
    let fewer = r#"{"opcode": "H_ALLOC_HEA_RESOURCE", "resource": "qp", "action": {"fewer": 2}}"#;
    guest.machine.borrow_mut().fault(fewer);
    let asked = QueueSize::for_entries(511).unwrap();
    let mut port = Port::open(&guest, asked);
    assert_eq!(port.poster.free(0), QueueSize::MIN.slots() - 2);
    let bytes = TestFrame::raw(TestFrame::PEER, 1500, 1);
    let frame = Frame {
        len: 1500,
        linear_len: 1500,
        ..Frame::default()
    };
    for _ in 0..500 {
        assert!(port.send(&bytes, &[1500], frame).unwrap());
        port.complete();
    }
    assert_eq!(guest.machine.borrow_mut().take_sent(0).len(), 500);
    port.close();
}
