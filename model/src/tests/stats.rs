// SPDX-License-Identifier: GPL-2.0

//! Tests that the statistics of a queue pair without progress show where it is stuck.

use crate::testkit::{Frame, GuestOptions, TestGuest, TestMachine};

#[test]
fn where_a_queue_pair_stands() {
    let options = GuestOptions {
        queue_pairs: 2,
        ..GuestOptions::default()
    };
    let mut guest = TestGuest::new(TestMachine::default_config(), options);
    let stand = |guest: &TestGuest| {
        let stats = guest.machine.stats();
        let pair = &stats.qps[1];
        assert_eq!((pair.port, pair.token), (1, 1));
        assert_eq!((pair.state.as_str(), pair.enabled), ("ReadyToSend", true));
        let counts = [pair.sq_announced, pair.sq_executed, pair.sq_completed];
        (counts, pair.send.unconsumed, stats.ports[0].tx_busy)
    };
    assert_eq!(stand(&guest), ([0, 0, 0], 0, false));
    // The backend is busy.
    guest.machine.set_tx_busy(0, true);
    guest.send(0, 1, &Frame::raw(Frame::PEER, 100, 1));
    guest.machine.settle();
    assert_eq!(stand(&guest), ([1, 0, 0], 0, true));
    guest.machine.set_tx_busy(0, false);
    guest.machine.settle();
    // The driver does not look.
    assert_eq!(stand(&guest), ([1, 1, 1], 1, false));
    let send = guest.machine.stats().qps[1].send;
    assert!(send.event_pending && !send.armed);
    guest.completions(0, 1);
    guest.ports[0].qps[1]
        .send_cq
        .clone()
        .arm(&mut guest.machine);
    let send = guest.machine.stats().qps[1].send;
    assert!(!send.event_pending && send.armed);
    assert_eq!(stand(&guest), ([1, 1, 1], 0, false));
    // The other queue pair gets frames that belong to no flow.
    guest
        .machine
        .inject(0, &Frame::raw(Frame::STATION, 1000, 1));
    guest.machine.settle();
    let first = guest.machine.stats().qps[0].clone();
    assert_eq!((first.rx_frames, first.receive.unconsumed), (1, 1));
    assert_eq!(first.rq_credits, [126, 126, 127]);
    guest.receive(0, 0);
    assert_eq!(guest.machine.stats().qps[0].rq_credits, [127; 3]);
}
