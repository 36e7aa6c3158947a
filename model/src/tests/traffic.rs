// SPDX-License-Identifier: GPL-2.0

//! Tests of frames in both directions through a well-behaved guest.

use crate::testkit::{Frame, TestGuest};

/// Lengths without CRC around every boundary of the formats and queues.
const LENGTHS: [usize; 21] = [
    60, 61, 64, 100, 187, 188, 189, 190, 223, 224, 225, 256, 1000, 1514, 2043, 2044, 2045, 4096,
    8999, 9014, 9018,
];

#[test]
fn frames_go_out_as_they_are() {
    let mut guest = TestGuest::default();
    for (i, len) in LENGTHS.into_iter().enumerate() {
        let frame = Frame::raw(Frame::PEER, len, i as u32);
        guest.send(0, 0, &frame);
        guest.machine.settle();
        assert_eq!(guest.machine.take_sent(0), [frame], "{len} bytes");
        assert_eq!(guest.completions(0, 0).len(), 1);
    }
}

#[test]
fn frames_come_in_as_they_are() {
    let mut guest = TestGuest::default();
    for (i, len) in LENGTHS.into_iter().enumerate() {
        let frame = Frame::raw(Frame::STATION, len, i as u32);
        assert!(guest.machine.inject(0, &frame));
        guest.machine.settle();
        let received = guest.receive(0, 0);
        assert_eq!(received.len(), 1, "{len} bytes");
        assert_eq!(received[0].frame, frame, "{len} bytes");
    }
}
