// SPDX-License-Identifier: GPL-2.0

//! Tests that nothing possible is left undone: queue pairs do not hold each other up, and whatever
//! makes work possible makes it happen.

use ehea_abi::cb::port::{PortBlock7, PortCategory};
use ehea_abi::cb::qp::{QpControl, QpState};
use ehea_abi::hcall::Opcode;
use ehea_abi::regs;
use proptest::prelude::*;

use crate::testkit::{Frame, GuestOptions, TestGuest, TestMachine};

/// A port with two queue pairs, the first of which has used up its slots and has a frame waiting.
struct Siblings {
    guest: TestGuest,
    /// Frame for the first queue pair.
    first: Vec<u8>,
    /// Frame for the second queue pair.
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

    /// Delivers a frame for the second queue pair and asserts that it is received.
    fn second_receives(&mut self) {
        self.guest.machine.inject(0, &self.second);
        self.guest.machine.settle();
        let got = self.guest.receive(0, 1);
        assert_eq!(got.len(), 1, "{:?}", self.guest.machine.stats().ports);
    }
}

/// A queue pair without room holds up only itself.
#[test]
fn siblings_have_queues_of_their_own() {
    let mut siblings = Siblings::new();
    siblings.second_receives();
    assert_eq!((siblings.waiting(), siblings.dropped()), (100, 0));
    // The waiting frame comes first when there is room.
    let guest = &mut siblings.guest;
    guest.ports[0].qps[0].store(&mut guest.machine, regs::qp::RQ1A, 127);
    guest.machine.settle();
    assert_eq!(guest.receive(0, 0).len(), 1);
    assert_eq!((siblings.waiting(), siblings.dropped()), (0, 0));
}

/// Frames that wait for a queue pair are dropped when it goes down, whatever takes it down.
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
        // A work request that sends nothing is an error.
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

/// A frame goes to the queue pair that was chosen when it arrived, even if the port chooses
/// otherwise now.
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

/// The same holds for frames to other stations.
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

/// A disabled queue pair keeps its frames, and only its own.
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

/// Action of a driver on its queue pairs.
#[derive(Clone, Debug)]
enum Step {
    /// Frames of a flow arrive.
    Arrive(u16, usize, usize),
    /// A queue pair takes what it received and gives its slots back.
    Take(usize),
    Enable(usize, bool),
    /// The port chooses among the first queue pair, the second, or both.
    Choose(usize),
    /// A queue pair is chosen for frames to other stations.
    Promiscuous(usize),
    Send(usize, usize),
    TxBusy(bool),
    Time(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u16..8, 20usize..9000, 1usize..40)
            .prop_map(|(flow, len, count)| Step::Arrive(flow, len, count)),
        3 => (0usize..2).prop_map(Step::Take),
        3 => (0usize..2, any::<bool>()).prop_map(|(qp, on)| Step::Enable(qp, on)),
        1 => (0usize..3).prop_map(Step::Choose),
        1 => (0usize..2).prop_map(Step::Promiscuous),
        2 => (0usize..2, 1usize..40).prop_map(|(qp, count)| Step::Send(qp, count)),
        2 => any::<bool>().prop_map(Step::TxBusy),
        3 => (0u64..300_000).prop_map(Step::Time),
    ]
}

/// A guest, and the counts of what it did and what happened then.
struct Life {
    guest: TestGuest,
    arrived: usize,
    received: usize,
    posted: [usize; 2],
    completed: [usize; 2],
    /// Number of requests for frames that were held back, when one was held back last.
    held_back_after: Option<u64>,
}

impl Life {
    fn promiscuous(&mut self, qp: usize) {
        let guest = &mut self.guest;
        let block = PortBlock7 {
            def_uc_qpn: guest.ports[0].qps[qp].handle.into(),
        };
        guest.machine.write(guest.block, &block);
        let select = PortBlock7::SELECT_ALL.mask();
        let category = PortCategory::DEFAULT_UNICAST_QP;
        guest
            .port_call(Opcode::MODIFY_HEA_PORT, 1, category, select)
            .unwrap();
    }

    fn enable(&mut self, qp: usize, on: bool) {
        let handle = self.guest.ports[0].qps[qp].handle;
        let control = self.guest.qp_control(handle).same_state(on);
        self.guest.set_qp(handle, control).unwrap();
    }

    fn take(&mut self, qp: usize) {
        self.received += self.guest.receive(0, qp).len();
        self.completed[qp] += self.guest.completions(0, qp).len();
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Arrive(flow, len, count) => {
                let frame = match flow {
                    0 => Frame::raw([2, 0, 0, 0, 0, 0x77], len, 1),
                    1 => Frame::raw([0xff; 6], len, 1),
                    flow => {
                        // Length of the payload behind the headers.
                        let payload = Frame::pattern(len.saturating_sub(42), 1);
                        Frame::udp(Frame::STATION, (flow, 2), &payload)
                    }
                };
                for _ in 0..count {
                    if self.guest.machine.inject(0, &frame) {
                        self.arrived += 1;
                    } else {
                        self.held_back_after = Some(self.guest.machine.flushes(0));
                    }
                }
            }
            Step::Take(qp) => self.take(qp),
            Step::Enable(qp, on) => self.enable(qp, on),
            Step::Choose(which) => {
                let all = [0, 1].map(|qp| self.guest.ports[0].qps[qp].number);
                let chosen = [&all[..1], &all[1..], &all][which];
                self.guest.set_default_qps(1, chosen);
            }
            Step::Promiscuous(qp) => self.promiscuous(qp),
            Step::Send(qp, count) => {
                self.take(qp);
                let room = 127 - (self.posted[qp] - self.completed[qp]);
                for _ in 0..count.min(room) {
                    self.guest.send(0, qp, &Frame::raw(Frame::PEER, 500, 1));
                    self.posted[qp] += 1;
                }
            }
            Step::TxBusy(busy) => self.guest.machine.set_tx_busy(0, busy),
            Step::Time(ns) => self.guest.machine.advance(ns),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever a driver does to its queue pairs, every frame that arrived is received, every frame
    /// that was held back is asked for, and every work request completes once all queue pairs are
    /// enabled and have room.
    #[test]
    fn nothing_is_left_undone(steps in proptest::collection::vec(step(), 1..60)) {
        let options = GuestOptions {
            queue_pairs: 2,
            ..GuestOptions::default()
        };
        let mut life = Life {
            guest: TestGuest::new(TestMachine::default_config(), options),
            arrived: 0,
            received: 0,
            posted: [0; 2],
            completed: [0; 2],
            held_back_after: None,
        };
        life.promiscuous(0);
        for step in &steps {
            life.step(step);
        }
        life.guest.machine.set_tx_busy(0, false);
        for qp in 0..2 {
            life.enable(qp, true);
        }
        // The rounds suffice for all that the port can hold, one ring after the other.
        for _ in 0..100 {
            life.guest.machine.settle();
            life.take(0);
            life.take(1);
        }
        prop_assert_eq!(life.guest.machine.stats().ports[0].rx_dropped, 0);
        prop_assert_eq!((life.received, life.completed), (life.arrived, life.posted));
        if let Some(before) = life.held_back_after {
            prop_assert!(life.guest.machine.flushes(0) > before, "held back for ever");
        }
    }
}
