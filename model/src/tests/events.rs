// SPDX-License-Identifier: GPL-2.0

//! Tests of interrupts, notifications, links and faults.

use ehea_abi::cb::port::{PortBlock0, PortBlock4, PortCategory, PortSpeed};
use ehea_abi::cb::qp::QpState;
use ehea_abi::cqe::CqeStatus;
use ehea_abi::eqe::{Eqe, NeqEntry, NeqEvent};
use ehea_abi::hcall::{
    AllocCq, AllocEq, AllocQp, CqAllocated, EqKind, Opcode, QpAllocated, ResetEvents, ReturnCode,
};
use ehea_abi::regs;
use zerocopy::byteorder::big_endian::U32;

use crate::fault::{ArmedFault, Fault};
use crate::testkit::{Frame, GuestOptions, TestGuest, TestMachine};

const MS: u64 = 1_000_000;

/// Returns the notifications since the last call and asserts that each raised an interrupt.
fn notifications(guest: &mut TestGuest) -> Vec<NeqEntry> {
    let entries = guest.neq.take(&guest.machine);
    let pulses = guest.machine.host.take_pulses(guest.neq.irq);
    assert_eq!(pulses, entries.len() as u64);
    entries.into_iter().map(NeqEntry::unpack).collect()
}

fn state(port: u16, up: bool) -> NeqEntry {
    NeqEntry {
        event: NeqEvent::PORT_STATE_CHANGE,
        port_up: up,
        link_up: up,
        primary: true,
        port,
    }
}

fn pulses(guest: &mut TestGuest) -> u64 {
    let irq = guest.ports[0].qps[0].eq.irq;
    guest.machine.host.take_pulses(irq)
}

fn reset_events(guest: &mut TestGuest) {
    let call = ResetEvents {
        adapter: guest.machine.handle(),
        neq: guest.neq.handle,
        events: ResetEvents::ALL,
    };
    guest
        .machine
        .call(Opcode::RESET_EVENTS, call.pack())
        .unwrap();
}

/// M12: a port is announced a few milliseconds after its first queue pair can send, and once more
/// after a second.
#[test]
fn ports_are_announced() {
    let mut guest = TestGuest::default();
    assert_eq!(notifications(&mut guest), [state(1, true); 2]);
    // Teardown does not announce the port as down; the next open announces it as up.
    guest.close(0);
    guest.machine.advance(2000 * MS);
    assert_eq!(notifications(&mut guest), []);
    guest.open(1);
    guest.machine.advance(MS);
    assert_eq!(notifications(&mut guest), []);
    guest.machine.advance(20 * MS);
    assert_eq!(notifications(&mut guest), [state(1, true)]);
    // Disabling and enabling is no event.
    let handle = guest.ports[0].qps[0].handle;
    guest.machine.advance(2000 * MS);
    notifications(&mut guest);
    for enable in [false, true] {
        let control = guest.qp_control(handle).same_state(enable);
        guest.set_qp(handle, control).unwrap();
    }
    guest.machine.advance(2000 * MS);
    assert_eq!(notifications(&mut guest), []);
}

#[test]
fn links_go_down_and_up() {
    let mut guest = TestGuest::default();
    notifications(&mut guest);
    let frame = Frame::raw(Frame::STATION, 100, 1);
    let machine = &mut guest.machine;
    for (json, up) in [
        (r#"{"port": 1, "up": false}"#, false),
        (r#"{"port": 1, "up": false}"#, false),
        (r#"{"port": 1, "up": true}"#, true),
    ] {
        machine.adapter.port_link(&mut machine.host, json).unwrap();
        assert_eq!(machine.stats().ports[0].link, up);
        machine.inject(0, &frame);
    }
    for json in [
        r#"{"port": 2, "up": true}"#,
        "{}",
        r#"{"port": 1, "up": true, "x": 1}"#,
    ] {
        assert!(machine.adapter.port_link(&mut machine.host, json).is_err());
    }
    assert_eq!(notifications(&mut guest), [state(1, false), state(1, true)]);
    guest.machine.settle();
    assert_eq!(guest.receive(0, 0).len(), 1);
    // Frames that are sent while the link is down are lost, but completed.
    guest
        .machine
        .adapter
        .set_link(&mut guest.machine.host, 0, false);
    guest.send(0, 0, &frame);
    guest.machine.settle();
    assert!(guest.machine.take_sent(0).is_empty());
    assert_eq!(guest.completions(0, 0).len(), 1);
    let stats = guest.machine.stats();
    assert_eq!((stats.ports[0].tx_errors, stats.ports[0].tx_frames), (1, 0));
    // A reset of the machine does not plug the cable in.
    guest.machine.reset();
    assert!(!guest.machine.stats().ports[0].link);
}

#[test]
fn a_new_speed_is_a_new_state() {
    let mut guest = TestGuest::default();
    notifications(&mut guest);
    let block = guest.block;
    let speeds = [
        (PortSpeed::G1_FULL, PortSpeed::G1_FULL),
        (PortSpeed::AUTONEG, PortSpeed::G10_FULL),
    ];
    for (wish, result) in speeds {
        let link = PortBlock4 {
            port_speed: U32::new(wish.0),
            ..PortBlock4::default()
        };
        guest.machine.write(block, &link);
        let select = PortBlock4::SELECT_SPEED.mask();
        for opcode in [Opcode::MODIFY_HEA_PORT, Opcode::QUERY_HEA_PORT] {
            guest
                .port_call(opcode, 1, PortCategory::LINK, select)
                .unwrap();
        }
        let link: PortBlock4 = guest.machine.read(block);
        assert_eq!(link.port_speed.get(), result.0);
        guest.machine.advance(20 * MS);
        assert_eq!(notifications(&mut guest), [state(1, true)]);
    }
}

/// §6.7: an armed queue raises one event, and only if EP is clear.
#[test]
fn completion_events_are_one_shot() {
    let mut guest = TestGuest::default();
    assert_eq!(pulses(&mut guest), 0);
    let frame = Frame::raw(Frame::PEER, 100, 1);
    for _ in 0..3 {
        guest.send(0, 0, &frame);
    }
    guest.machine.settle();
    assert_eq!(pulses(&mut guest), 1);
    guest.send(0, 0, &frame);
    guest.machine.settle();
    assert_eq!(pulses(&mut guest), 0, "not armed");
    let cq = guest.ports[0].qps[0].send_cq.clone();
    cq.store(&mut guest.machine, regs::cq::N1, regs::N1_ARM.mask());
    guest.send(0, 0, &frame);
    guest.machine.settle();
    assert_eq!(pulses(&mut guest), 0, "an event is pending");
    cq.arm(&mut guest.machine);
    guest.machine.settle();
    assert_eq!(pulses(&mut guest), 0, "arming looks at nothing");
    guest.send(0, 0, &frame);
    guest.machine.settle();
    assert_eq!(pulses(&mut guest), 1);
    assert_eq!(guest.completions(0, 0).len(), 6);
    // The queues for receiving and sending are armed separately.
    guest.machine.inject(0, &Frame::raw(Frame::STATION, 100, 1));
    guest.machine.settle();
    assert_eq!(pulses(&mut guest), 1);
}

/// M10: a doorbell raises no interrupt and makes no DMA.
#[test]
fn doorbells_are_asynchronous() {
    let mut guest = TestGuest::default();
    guest.machine.host.take_accesses();
    guest.machine.inject(0, &Frame::raw(Frame::STATION, 100, 1));
    guest.send(0, 0, &Frame::raw(Frame::PEER, 100, 1));
    assert_eq!(pulses(&mut guest), 0);
    assert!(guest.machine.host.take_accesses().is_empty());
    guest.machine.advance(99_999);
    assert_eq!(pulses(&mut guest), 0);
    guest.machine.advance(1);
    assert_eq!(pulses(&mut guest), 2);
}

/// M10: a lost interrupt is raised again every 20 ms, until the driver makes progress.
#[test]
fn lost_interrupts_are_raised_again() {
    let mut guest = TestGuest::default();
    guest.send(0, 0, &Frame::raw(Frame::PEER, 100, 1));
    guest.machine.settle();
    assert_eq!(pulses(&mut guest), 1);
    guest.machine.advance(18 * MS);
    assert_eq!(pulses(&mut guest), 0);
    guest.machine.advance(2 * MS);
    assert_eq!(pulses(&mut guest), 1);
    guest.machine.advance(20 * MS);
    assert_eq!(pulses(&mut guest), 1);
    assert_eq!(guest.machine.stats().reraised, 2);
    guest.completions(0, 0);
    guest.machine.advance(200 * MS);
    assert_eq!(pulses(&mut guest), 0);
    assert_eq!(guest.machine.deadline(), None, "an idle adapter sleeps");
    // The same holds for receiving, with RQ1A as the sign of life.
    guest.machine.inject(0, &Frame::raw(Frame::STATION, 100, 1));
    guest.machine.advance(41 * MS);
    assert_eq!(pulses(&mut guest), 2 + 1);
    assert_eq!(guest.machine.stats().reraised, 4);
    guest.receive(0, 0);
    guest.machine.advance(200 * MS);
    assert_eq!(pulses(&mut guest), 0);
    // Arming is a sign of life too.
    guest.machine.inject(0, &Frame::raw(Frame::STATION, 100, 1));
    guest.ports[0].qps[0]
        .recv_cq
        .clone()
        .arm(&mut guest.machine);
    guest.machine.settle();
    guest.ports[0].qps[0]
        .recv_cq
        .clone()
        .arm(&mut guest.machine);
    guest.machine.advance(200 * MS);
    assert_eq!(pulses(&mut guest), 1);
    assert_eq!(guest.machine.stats().reraised, 4);
}

/// A driver that was interrupted once, has consumed everything and has not armed the queue since
/// then is interrupted for later completions, 20 ms after they became visible. Each such interrupt
/// is counted.
#[test]
fn a_driver_that_stopped_looking_is_told_again() {
    let mut guest = TestGuest::default();
    let frame = Frame::raw(Frame::PEER, 100, 1);
    guest.send(0, 0, &frame);
    guest.machine.settle();
    assert_eq!(pulses(&mut guest), 1);
    guest.completions(0, 0);
    guest.machine.advance(50 * MS);
    assert_eq!(guest.machine.deadline(), None);
    guest.send(0, 0, &frame);
    guest.machine.advance(19 * MS);
    assert_eq!((pulses(&mut guest), guest.machine.stats().reraised), (0, 0));
    guest.machine.advance(2 * MS);
    assert_eq!((pulses(&mut guest), guest.machine.stats().reraised), (1, 1));
    guest.machine.advance(40 * MS);
    assert_eq!((pulses(&mut guest), guest.machine.stats().reraised), (2, 3));
    guest.completions(0, 0);
    guest.machine.advance(50 * MS);
    assert_eq!((pulses(&mut guest), guest.machine.stats().reraised), (0, 3));
}

/// A driver need not look at completions while it makes the queue pair pause. It has 20 ms once it
/// resumes.
#[test]
fn nobody_looks_while_the_queue_pair_pauses() {
    let mut guest = TestGuest::default();
    let handle = guest.ports[0].qps[0].handle;
    guest.send(0, 0, &Frame::raw(Frame::PEER, 100, 1));
    guest.machine.settle();
    assert_eq!(pulses(&mut guest), 1);
    let control = guest.qp_control(handle);
    guest.set_qp(handle, control.same_state(false)).unwrap();
    guest.machine.advance(2000 * MS);
    assert_eq!((pulses(&mut guest), guest.machine.stats().reraised), (0, 0));
    guest.set_qp(handle, control.same_state(true)).unwrap();
    guest.machine.advance(40 * MS);
    assert!(pulses(&mut guest) > 0);
    assert!(guest.machine.stats().reraised > 0);
    guest.completions(0, 0);
    guest.machine.advance(2000 * MS);
    assert_eq!(pulses(&mut guest), 0);
}

/// A busy guest may be about to look. It is waited for, but not for ever.
#[test]
fn a_busy_guest_is_waited_for() {
    let mut guest = TestGuest::default();
    guest.machine.host.guest_is_busy = true;
    guest.send(0, 0, &Frame::raw(Frame::PEER, 100, 1));
    guest.machine.advance(500 * MS);
    assert_eq!(pulses(&mut guest), 1);
    guest.machine.host.guest_is_busy = false;
    guest.machine.advance(10 * MS);
    assert_eq!((pulses(&mut guest), guest.machine.stats().reraised), (1, 1));
    guest.machine.host.guest_is_busy = true;
    guest.machine.advance(1000 * MS);
    assert_eq!(pulses(&mut guest), 0);
    guest.machine.advance(40 * MS);
    assert_eq!((pulses(&mut guest), guest.machine.stats().reraised), (1, 2));
    guest.completions(0, 0);
    guest.machine.advance(2000 * MS);
    assert_eq!(pulses(&mut guest), 0);
}

/// M19: H_RESET_EVENTS raises an interrupt that was withheld, and no other.
#[test]
fn reset_events_makes_up_for_a_lost_interrupt() {
    let mut guest = TestGuest::default();
    notifications(&mut guest);
    reset_events(&mut guest);
    assert_eq!(notifications(&mut guest), []);
    guest
        .machine
        .fault(r#"{"event": "drop_interrupt", "queue": "notification"}"#);
    guest
        .machine
        .adapter
        .set_link(&mut guest.machine.host, 0, false);
    assert_eq!(guest.machine.host.take_pulses(guest.neq.irq), 0);
    reset_events(&mut guest);
    assert_eq!(notifications(&mut guest), [state(1, false)]);
    reset_events(&mut guest);
    assert_eq!(notifications(&mut guest), []);
    guest
        .machine
        .adapter
        .set_link(&mut guest.machine.host, 0, true);
    assert_eq!(guest.machine.adapter.faults()[0].fired, 1);
}

#[test]
fn malfunctions_are_reported() {
    let mut guest = TestGuest::default();
    notifications(&mut guest);
    guest
        .machine
        .fault(r#"{"event": "port_malfunction", "port": 1}"#);
    guest.machine.fault(r#"{"event": "adapter_malfunction"}"#);
    let events: Vec<_> = notifications(&mut guest)
        .into_iter()
        .map(|entry| (entry.event, entry.port))
        .collect();
    assert_eq!(
        events,
        [
            (NeqEvent::PORT_MALFUNCTION, 1),
            (NeqEvent::ADAPTER_MALFUNCTION, 1)
        ]
    );
    let fault: Fault = serde_json::from_str(r#"{"event": "port_malfunction", "port": 2}"#).unwrap();
    let machine = &mut guest.machine;
    assert!(machine.adapter.fault_add(&mut machine.host, fault).is_err());
    let json = serde_json::to_string(&machine.adapter.faults()).unwrap();
    let list: Vec<ArmedFault> = serde_json::from_str(&json).unwrap();
    assert_eq!(list.iter().map(|f| f.fired).collect::<Vec<_>>(), [1, 1]);
    machine.adapter.fault_clear();
    assert!(machine.adapter.faults().is_empty());
}

#[test]
fn queue_pairs_fail() {
    let mut guest = TestGuest::default();
    let (handle, token) = (guest.ports[0].qps[0].handle, 0);
    guest.ports[0].affiliated.take(&guest.machine);
    guest
        .machine
        .fault(r#"{"event": "queue_pair_error", "port": 1}"#);
    let events = guest.ports[0].affiliated.take(&guest.machine);
    assert_eq!(events.len(), 1);
    let event = Eqe::unpack(events[0]);
    assert_eq!((event.token, event.is_cq), (token, false));
    assert_eq!(guest.qp_control(handle).current(), Some(QpState::Error));
    // The driver made no mistake.
    assert!(guest.machine.stats().refusals.is_empty());
    assert_eq!(guest.machine.adapter.faults()[0].fired, 1);
}

#[test]
fn corrupt_completions() {
    let mut guest = TestGuest::default();
    guest
        .machine
        .fault(r#"{"event": "corrupt_completion", "port": 1, "nth": 2, "status": 4096}"#);
    let frame = Frame::udp(Frame::STATION, (1, 2), &[0; 40]);
    for _ in 0..3 {
        guest.machine.inject(0, &frame);
    }
    guest.machine.settle();
    let status: Vec<_> = guest.receive(0, 0).iter().map(|r| r.cqe.status()).collect();
    let good = CqeStatus::default();
    assert_eq!(status, [good, CqeStatus::ERR_CRC, good]);
}

/// A lost completion is lost for good: the frame was sent, and the next completion belongs to the
/// next frame.
#[test]
fn lost_completions() {
    let mut guest = TestGuest::default();
    guest
        .machine
        .fault(r#"{"event": "drop_completion", "port": 1, "nth": 2}"#);
    let frame = Frame::udp(Frame::PEER, (1, 2), &[0; 400]);
    let completions: Vec<_> = (0..3)
        .map(|_| {
            guest.send(0, 0, &frame);
            guest.machine.settle();
            guest.completions(0, 0).len()
        })
        .collect();
    assert_eq!(completions, [1, 0, 1]);
    assert_eq!(guest.machine.take_sent(0).len(), 3);
    assert_eq!(guest.machine.adapter.faults()[0].fired, 1);
}

/// An adapter that gives fewer resources than asked for says so, and the queues work.
#[test]
fn fewer_resources() {
    let mut machine = TestMachine::default();
    machine.fault(r#"{"opcode": "H_ALLOC_HEA_RESOURCE", "count": 100, "action": {"fewer": 2}}"#);
    let eq = TestGuest::alloc_eq(&mut machine, EqKind::Completion);
    let call = AllocCq {
        adapter: machine.handle(),
        eq: eq.handle,
        token: 0,
        cqes: 4095,
    };
    let regs = machine
        .call(Opcode::ALLOC_HEA_RESOURCE, call.pack())
        .unwrap();
    assert_eq!(CqAllocated::unpack(&regs).pages, 16);
    machine.reset();

    let mut guest = TestGuest::default();
    guest.machine.may_leak = true;
    let port = &guest.ports[0];
    let (pair, eq) = (&port.qps[0], port.affiliated.handle);
    let call = AllocQp {
        sq_size: 9,
        ..guest.alloc_qp_call(1, pair.send_cq.handle, pair.recv_cq.handle, eq)
    };
    guest
        .machine
        .fault(r#"{"opcode": "H_ALLOC_HEA_RESOURCE", "resource": "qp", "action": {"fewer": 2}}"#);
    let regs = guest.machine.call(Opcode::ALLOC_HEA_RESOURCE, call.pack());
    let answer = QpAllocated::unpack(&regs.unwrap());
    assert_eq!((answer.sq_entries, answer.sq_pages), (255, 32));
    assert_eq!(answer.rq_entries, [127; 3], "already the smallest");
    guest.machine.reset();
}

#[test]
fn fewer_queue_pairs_for_a_port() {
    let mut config = TestMachine::default_config();
    config.num_default_qps = 4;
    let mut guest = TestGuest::new(config, GuestOptions::default());
    let mut ask = || {
        let select = PortBlock0::SELECT_ALL.mask();
        guest
            .port_call(Opcode::QUERY_HEA_PORT, 1, PortCategory::ATTRIBUTES, select)
            .unwrap();
        let block: PortBlock0 = guest.machine.read(guest.block);
        guest
            .machine
            .fault(r#"{"opcode": "H_QUERY_HEA_PORT", "category": 0, "action": {"fewer": 3}}"#);
        block.num_default_qps.get()
    };
    assert_eq!([ask(), ask()], [4, 1]);
}

/// A call that is answered with an injected code does nothing else: it allocates nothing, is not
/// counted as refused, and leaves nothing behind.
#[test]
fn injected_codes() {
    let mut machine = TestMachine::default();
    machine.fault(
        r#"{"opcode": "H_ALLOC_HEA_RESOURCE", "resource": "neq", "nth": 2,
            "action": {"return": "H_NOT_ENOUGH_RESOURCES"}}"#,
    );
    let call = AllocEq {
        adapter: machine.handle(),
        kind: EqKind::Notification,
        interrupt_sources: 1,
        max_eqes: 20,
    };
    assert!(machine
        .call(Opcode::ALLOC_HEA_RESOURCE, call.pack())
        .is_ok());
    let stats = machine.stats();
    assert_eq!(
        machine.call(Opcode::ALLOC_HEA_RESOURCE, call.pack()),
        Err(ReturnCode::NOT_ENOUGH_RESOURCES)
    );
    assert_eq!(machine.stats().live, stats.live);
    assert!(machine.stats().refusals.is_empty());
    assert_eq!(machine.stats().hcalls["H_ALLOC_HEA_RESOURCE"], 2);
    machine.reset();
}

/// A completion queue whose event queue writes entries gets one entry for each event.
#[test]
fn completion_events_with_entries() {
    let mut guest = TestGuest::default();
    let mut eq = TestGuest::alloc_eq(&mut guest.machine, EqKind::Affiliated);
    guest.close(0);
    // The next completion queues are bound to that event queue.
    guest.open_on(1, Some(&eq));
    guest.send(0, 0, &Frame::raw(Frame::PEER, 100, 1));
    guest.machine.settle();
    let entries: Vec<_> = eq
        .take(&guest.machine)
        .into_iter()
        .map(Eqe::unpack)
        .collect();
    assert_eq!(entries.len(), 1);
    assert!(entries[0].is_cq && entries[0].token == 1);
    assert_eq!(guest.machine.host.take_pulses(eq.irq), 1);
    guest.close(0);
}

/// A call can make the next interrupt get lost.
#[test]
fn a_call_that_costs_an_interrupt() {
    let mut guest = TestGuest::default();
    notifications(&mut guest);
    guest
        .machine
        .fault(r#"{"opcode": "H_QUERY_HEA_PORT", "action": "drop_interrupt"}"#);
    let select = PortBlock0::SELECT_MAC.mask();
    guest
        .port_call(Opcode::QUERY_HEA_PORT, 1, PortCategory::ATTRIBUTES, select)
        .unwrap();
    for expected in [0, 1, 1] {
        let up = guest.machine.stats().ports[0].link;
        let machine = &mut guest.machine;
        machine.adapter.set_link(&mut machine.host, 0, !up);
        assert_eq!(guest.machine.host.take_pulses(guest.neq.irq), expected);
    }
}
