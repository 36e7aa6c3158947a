// SPDX-License-Identifier: GPL-2.0

//! Nothing that could be done is left undone: queue pairs don't hold each other up, and whatever
//! makes work possible makes it happen.

use ehea_abi::cb::port::{PortBlock7, PortCategory};
use ehea_abi::cb::qp::{QpControl, QpState};
use ehea_abi::hcall::Opcode;
use ehea_abi::regs;

use crate::testkit::{Frame, GuestOptions, TestGuest, TestMachine};

/// A port with two queue pairs, the first of which has used up its slots and has a frame waiting.
struct Siblings {
    guest: TestGuest,
    /// What goes to the first queue pair.
    first: Vec<u8>,
    /// What goes to the second.
    second: Vec<u8>,
}

impl Siblings {
    fn new() -> Self {
        let options = GuestOptions {
            queue_pairs: 2,
            ..GuestOptions::default()
        };
        let mut guest = TestGuest::new(TestMachine::default_config(), options);
        let second = (1..100)
            .map(|port| Frame::udp(Frame::STATION, (port, 2), &[0; 40]))
            .find(|frame| {
                guest.machine.inject(0, frame);
                guest.machine.settle();
                guest.receive(0, 0);
                !guest.receive(0, 1).is_empty()
            })
            .expect("a flow of the second queue pair");
        let first = Frame::raw([0xff; 6], 100, 1);
        for _ in 0..128 {
            guest.machine.inject(0, &first);
            guest.machine.settle();
        }
        assert_eq!(guest.ports[0].qps[0].peek(&guest.machine).len(), 127);
        Self {
            guest,
            first,
            second,
        }
    }

    fn dropped(&self) -> u64 {
        self.guest.machine.stats().ports[0].rx_dropped
    }

    fn waiting(&self) -> u64 {
        self.guest.machine.stats().ports[0].rx_fifo_bytes
    }

    /// A frame for the second queue pair arrives.
    fn second_receives(&mut self) {
        self.guest.machine.inject(0, &self.second);
        self.guest.machine.settle();
        let got = self.guest.receive(0, 1);
        assert_eq!(got.len(), 1, "{:?}", self.guest.machine.stats().ports);
    }
}

/// A queue pair without room holds up itself alone.
#[test]
fn siblings_have_queues_of_their_own() {
    let mut siblings = Siblings::new();
    siblings.second_receives();
    assert_eq!((siblings.waiting(), siblings.dropped()), (100, 0));
    // What waited comes first when there is room.
    let guest = &mut siblings.guest;
    guest.ports[0].qps[0].store(&mut guest.machine, regs::qp::RQ1A, 127);
    guest.machine.settle();
    assert_eq!(guest.receive(0, 0).len(), 1);
    assert_eq!((siblings.waiting(), siblings.dropped()), (0, 0));
}

/// What waits for a queue pair that goes down is dropped, whatever takes it down.
#[test]
fn frames_of_a_queue_pair_that_goes_down() {
    let ways: [fn(&mut TestGuest, u64); 5] = [
        |guest, qp| guest.disable(qp).unwrap(),
        |guest, qp| {
            let reset = QpControl::request(QpState::Reset, false);
            guest.set_qp(qp, reset).unwrap();
        },
        |guest, qp| guest.free(qp, true).unwrap(),
        |guest, _| guest.ports[0].qps[0].store(&mut guest.machine, regs::qp::RQ1A, 0xffff),
        // A work request without anything to send.
        |guest, _| {
            guest.ports[0].qps[0].post_raw(&mut guest.machine, &[0; 512]);
            guest.machine.settle();
        },
    ];
    for (way, down) in ways.into_iter().enumerate() {
        let mut siblings = Siblings::new();
        siblings.guest.machine.may_leak = true;
        let handle = siblings.guest.ports[0].qps[0].handle;
        down(&mut siblings.guest, handle);
        assert_eq!((siblings.waiting(), siblings.dropped()), (0, 1), "{way}");
        siblings.second_receives();
        siblings.guest.machine.inject(0, &siblings.first);
        assert_eq!((siblings.waiting(), siblings.dropped()), (0, 2), "{way}");
        siblings.guest.machine.reset();
        siblings.guest.ports.clear();
    }
}

/// Frames are for the queue pair that was chosen when they arrived, however the port chooses by now.
#[test]
fn frames_of_a_queue_pair_that_is_chosen_no_more() {
    let mut siblings = Siblings::new();
    let number = siblings.guest.ports[0].qps[1].number;
    siblings.guest.set_default_qps(1, &[number]);
    siblings.second_receives();
    let guest = &mut siblings.guest;
    guest.machine.inject(0, &siblings.first);
    guest.machine.settle();
    assert_eq!(guest.receive(0, 1).len(), 1);
    guest.ports[0].qps[0].store(&mut guest.machine, regs::qp::RQ1A, 127);
    guest.machine.settle();
    assert_eq!(guest.receive(0, 0).len(), 1);
    assert_eq!((siblings.waiting(), siblings.dropped()), (0, 0));
}

/// The same for frames to other stations.
#[test]
fn frames_of_promiscuous_mode() {
    let mut siblings = Siblings::new();
    let guest = &mut siblings.guest;
    let other = Frame::raw([2, 0, 0, 0, 0, 0x77], 100, 1);
    for (qp, from) in [(0, 0), (1, 0), (1, 1)] {
        let block = PortBlock7 {
            def_uc_qpn: guest.ports[0].qps[qp].handle.into(),
        };
        guest.machine.write(guest.block, &block);
        guest
            .port_call(
                Opcode::MODIFY_HEA_PORT,
                1,
                PortCategory::DEFAULT_UNICAST_QP,
                PortBlock7::SELECT_ALL.mask(),
            )
            .unwrap();
        if qp == from {
            guest.machine.inject(0, &other);
        }
        guest.machine.settle();
    }
    assert_eq!(guest.receive(0, 1).len(), 1);
    assert_eq!(siblings.waiting(), 200);
    siblings.second_receives();
}

/// A queue pair that is disabled keeps its frames, and only its own.
#[test]
fn frames_of_a_disabled_queue_pair() {
    let mut siblings = Siblings::new();
    let guest = &mut siblings.guest;
    let handle = guest.ports[0].qps[0].handle;
    guest.ports[0].qps[0].store(&mut guest.machine, regs::qp::RQ1A, 127);
    let control = guest.qp_control(handle).same_state(false);
    guest.set_qp(handle, control).unwrap();
    guest.machine.settle();
    siblings.second_receives();
    assert_eq!(siblings.waiting(), 100);
    let guest = &mut siblings.guest;
    let control = guest.qp_control(handle).same_state(true);
    guest.set_qp(handle, control).unwrap();
    guest.machine.settle();
    assert_eq!(guest.receive(0, 0).len(), 1);
}
