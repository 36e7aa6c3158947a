// SPDX-License-Identifier: GPL-2.0

//! Tests of a link that goes down: however the device reports it, every wait for the other side
//! ends.

use crate::testkit::{Frame, TestGuest};

const DOWN: &str = r#"{"port": 1, "up": false}"#;
const UP: &str = r#"{"port": 1, "up": true}"#;

/// The two ways in which a device reports that a link changed.
const WAYS: [fn(&mut TestGuest, bool); 2] = [
    |guest, up| {
        let machine = &mut guest.machine;
        machine.adapter.set_link(&mut machine.host, 0, up);
    },
    |guest, up| {
        let machine = &mut guest.machine;
        let json = if up { UP } else { DOWN };
        machine.adapter.port_link(&mut machine.host, json).unwrap();
    },
];

/// Frames that wait for a busy backend are lost, and their work requests complete. The backend may
/// still be busy when the link comes back.
#[test]
fn ends_the_wait_for_the_backend() {
    for way in WAYS {
        let mut guest = TestGuest::default();
        guest.machine.set_tx_busy(0, true);
        guest.send(0, 0, &Frame::raw(Frame::PEER, 500, 1));
        guest.send(0, 0, &Frame::raw(Frame::PEER, 600, 2));
        guest.machine.settle();
        assert_eq!(guest.completions(0, 0), []);
        way(&mut guest, false);
        guest.machine.settle();
        assert_eq!(guest.completions(0, 0).len(), 2);
        assert_eq!(guest.machine.stats().ports[0].tx_errors, 2);

        way(&mut guest, true);
        let fresh = Frame::raw(Frame::PEER, 700, 3);
        guest.send(0, 0, &fresh);
        guest.machine.settle();
        assert_eq!(guest.completions(0, 0), []);
        guest.machine.set_tx_busy(0, false);
        guest.machine.settle();
        assert_eq!(guest.completions(0, 0).len(), 1);
        assert_eq!(guest.machine.take_sent(0), [fresh]);
    }
}

/// A sender that a full FIFO holds back is told to continue, and its frames are lost.
#[test]
fn ends_the_wait_of_the_backend() {
    for way in WAYS {
        let mut guest = TestGuest::default();
        let frame = Frame::raw(Frame::STATION, 9018, 1);
        for sent in 0.. {
            assert!(sent < 10_000, "nothing holds the sender back");
            if !guest.machine.inject(0, &frame) {
                break;
            }
            guest.machine.settle();
        }
        let before = guest.machine.stats().ports[0].clone();
        way(&mut guest, false);
        assert_eq!(guest.machine.flushes(0), 1);
        assert!(guest.machine.adapter.can_rx(0));
        assert!(guest.machine.inject(0, &frame));
        let after = guest.machine.stats().ports[0].clone();
        assert_eq!(after.rx_dropped, before.rx_dropped + 1);
        assert_eq!(after.rx_fifo_bytes, before.rx_fifo_bytes);

        way(&mut guest, true);
        assert!(!guest.machine.adapter.can_rx(0));
    }
}
