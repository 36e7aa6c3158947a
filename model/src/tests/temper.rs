// SPDX-License-Identifier: GPL-2.0

//! Tests of adapters that are rough or that drop the frames of disabled queue pairs.

use ehea_abi::cb::qp::QpState;
use ehea_abi::hcall::{MrAllocated, Opcode, ReturnCode};

use crate::config::Config;
use crate::stats::{QpStats, Stats};
use crate::temper::{Busy, Rough, Temper};
use crate::testkit::{Frame, GuestOptions, TestGuest, TestMachine};

fn config(seed: u64) -> Config {
    let busy = Busy::Anywhere;
    Config {
        temper: Temper::Rough(Rough { seed, busy }),
        ..TestMachine::default_config()
    }
}

fn rough(seed: u64) -> TestGuest {
    TestGuest::new(config(seed), GuestOptions::default())
}

fn pair(guest: &TestGuest) -> QpStats {
    guest.machine.stats().qps[0].clone()
}

/// Sends frames until some are under way to the guest's memory. Returns their number.
fn under_way(guest: &mut TestGuest) -> u64 {
    for n in 0..100 {
        let frame = Frame::raw(Frame::STATION, [500, 5000, 60][n % 3], n as u32);
        assert!(guest.machine.inject(0, &frame));
        for _ in 0..500 {
            guest.machine.advance(10_000);
            let pair = pair(guest);
            if pair.in_flight > 0 {
                return pair.in_flight;
            }
        }
        guest.receive(0, 0);
    }
    panic!("nothing is ever under way");
}

#[test]
fn writes_arrive_later() {
    let mut guest = rough(1);
    let count = under_way(&mut guest);
    assert_eq!(guest.receive(0, 0), []);
    guest.machine.settle();
    assert_eq!(guest.receive(0, 0).len() as u64, count);
    assert_eq!(pair(&guest).in_flight, 0);
}

/// A queue pair that was disabled with the modify call is quiet once a query is answered (§1.4).
#[test]
fn a_query_waits_for_what_is_under_way() {
    let mut guest = rough(2);
    let handle = guest.ports[0].qps[0].handle;
    let control = guest.qp_control(handle);
    let count = under_way(&mut guest);
    guest.set_qp(handle, control.same_state(false)).unwrap();
    assert_eq!(pair(&guest).in_flight, count);
    guest.qp_control(handle);
    assert_eq!(pair(&guest).in_flight, 0);
    assert_eq!(guest.receive(0, 0).len() as u64, count);
    guest.machine.host.take_accesses();
    guest.machine.inject(0, &Frame::raw(Frame::STATION, 60, 1));
    guest.machine.settle();
    assert_eq!(guest.machine.host.take_accesses(), []);
    guest.set_qp(handle, control.same_state(true)).unwrap();
    guest.machine.settle();
    assert_eq!(guest.receive(0, 0).len(), 1);
    assert_eq!(guest.machine.stats().late_accesses, 0);
}

#[test]
fn disabling_for_good_waits_for_what_is_under_way() {
    let mut guest = rough(3);
    let handle = guest.ports[0].qps[0].handle;
    let count = under_way(&mut guest);
    guest.disable(handle).unwrap();
    assert_eq!(pair(&guest).in_flight, 0);
    assert_eq!(guest.receive(0, 0).len() as u64, count);
    guest.machine.host.take_accesses();
    guest.machine.settle();
    assert_eq!(guest.machine.host.take_accesses(), []);
    assert_eq!(guest.machine.stats().late_accesses, 0);
}

/// A queue pair that is freed without being disabled leaves accesses under way, from which the
/// driver's memory is not safe.
#[test]
fn freed_without_being_disabled() {
    let mut guest = rough(4);
    let handle = guest.ports[0].qps[0].handle;
    let count = under_way(&mut guest);
    guest.machine.host.take_accesses();
    guest.free(handle, true).unwrap();
    assert_eq!(guest.machine.stats().late_accesses, count);
    guest.machine.settle();
    assert_eq!(guest.machine.host.take_accesses(), []);
    for queue in guest.ports.remove(0).qps {
        for handle in [queue.send_cq.handle, queue.recv_cq.handle, queue.eq.handle] {
            guest.free(handle, true).unwrap();
        }
        for smr in queue.smrs {
            guest.free(smr, true).unwrap();
        }
    }
    guest.machine.reset();
}

/// A region is freed while the queue pair may still write to it.
#[test]
fn a_region_freed_too_early() {
    let mut guest = rough(5);
    under_way(&mut guest);
    let smr = guest.ports[0].qps[0].smrs[1];
    guest.free(smr, true).unwrap();
    guest.machine.host.take_accesses();
    guest.machine.settle();
    let wrote = |&(_, len, write): &(u64, u64, bool)| write && len > 8;
    assert_eq!(
        guest.machine.host.take_accesses().iter().find(|a| wrote(a)),
        None
    );
    let stats = guest.machine.stats();
    assert_eq!(pair(&guest).state, "Error");
    assert_eq!((stats.late_accesses, stats.refusals["UnknownKey"]), (1, 1));
    guest.machine.reset();
}

/// Sends and receives with several queue pairs, and asserts that each keeps its order. Returns the
/// statistics and the frames sent.
fn exercise(seed: u64) -> (Stats, Vec<Vec<u8>>) {
    let options = GuestOptions {
        queue_pairs: 3,
        ..GuestOptions::default()
    };
    let mut guest = TestGuest::new(config(seed), options);
    let mut sent = Vec::new();
    for round in 0..60u8 {
        for qp in 0..3u8 {
            let frame = Frame::raw(Frame::STATION, 60 + usize::from(round) * 20, qp.into());
            guest.send(0, usize::from(qp), &frame);
            assert!(guest.machine.inject(0, &frame));
        }
        if round % 3 == 0 {
            guest.machine.settle();
            for qp in 0..3 {
                guest.completions(0, qp);
                for received in guest.receive(0, qp) {
                    assert_eq!(received.crc, [0xc5; 4]);
                }
            }
            sent.extend(guest.machine.take_sent(0));
        }
    }
    guest.machine.settle();
    for qp in 0..3 {
        guest.completions(0, qp);
        guest.receive(0, qp);
    }
    sent.extend(guest.machine.take_sent(0));
    for qp in 0..3u8 {
        let of_pair: Vec<_> = sent
            .iter()
            .filter(|frame| frame[14] == sent_mark(qp))
            .collect();
        assert!(of_pair.windows(2).all(|w| w[0].len() <= w[1].len()));
    }
    assert_eq!(sent.len(), 180);
    let stats = guest.machine.stats();
    assert_eq!(stats.ports[0].rx_frames, 180);
    for pair in &stats.qps {
        assert_eq!((pair.sq_announced, pair.sq_completed), (60, 60));
        assert_eq!((pair.send.unconsumed, pair.receive.unconsumed), (0, 0));
    }
    (stats, sent)
}

/// Returns the byte by which the frames of a queue pair can be told apart.
fn sent_mark(qp: u8) -> u8 {
    Frame::raw(Frame::STATION, 60, qp.into())[14]
}

#[test]
fn everything_arrives_and_can_be_repeated() {
    let (stats, sent) = exercise(6);
    assert!(stats.moody_answers.values().sum::<u64>() > 10);
    assert_eq!(exercise(6), (stats, sent.clone()));
    assert_ne!(exercise(7).1, sent);
}

/// Firmware that was busy did nothing. Only calls that it executed are counted.
#[test]
fn moody_answers_are_no_calls() {
    let mut machine = TestMachine::new(config(8));
    let mut busy = 0;
    for calls in 1..=100 {
        let mut regs = [0; 9];
        loop {
            let code = machine.hcall_once(Opcode::GET_HEA_INFO, &mut regs);
            if code < ReturnCode::SUCCESS {
                break;
            }
            busy += 1;
        }
        assert_eq!(machine.stats().hcalls["H_GET_HEA_INFO"], calls);
    }
    assert_eq!(machine.stats().moody_answers["H_GET_HEA_INFO"], busy);
    assert!(busy > 0);
}

/// Firmware may have no room for a region beside another, but always has room for one.
#[test]
fn a_second_region_is_refused_now_and_then() {
    let mut guest = rough(9);
    let call = TestGuest::alloc_mr_call(&guest.machine, GuestOptions::default().page);
    let mut refused = 0;
    for _ in 0..50 {
        match guest.machine.call(Opcode::ALLOC_HEA_RESOURCE, call.pack()) {
            Ok(regs) => guest.free(MrAllocated::unpack(&regs).handle, true).unwrap(),
            Err(code) => {
                assert_eq!(code, ReturnCode::NOT_ENOUGH_RESOURCES);
                refused += 1;
            }
        }
    }
    assert!((1..25).contains(&refused), "{refused}");
    assert_eq!(guest.machine.refusals("MrLimit"), 0);
}

#[test]
fn frames_of_a_disabled_queue_pair_are_lost_if_so_wanted() {
    let config = Config {
        disabled_drops: true,
        ..TestMachine::default_config()
    };
    let mut guest = TestGuest::new(config, GuestOptions::default());
    let handle = guest.ports[0].qps[0].handle;
    let control = guest.qp_control(handle);
    assert_eq!(control.current(), Some(QpState::ReadyToSend));
    let frame = Frame::raw(Frame::STATION, 60, 1);
    guest.set_qp(handle, control.same_state(false)).unwrap();
    for _ in 0..5 {
        assert!(guest.machine.inject(0, &frame));
    }
    guest.machine.settle();
    guest.set_qp(handle, control.same_state(true)).unwrap();
    assert!(guest.machine.inject(0, &frame));
    guest.machine.settle();
    assert_eq!(guest.receive(0, 0).len(), 1);
    let stats = guest.machine.stats();
    assert_eq!((pair(&guest).rx_dropped, stats.ports[0].rx_dropped), (5, 5));
    assert_eq!((pair(&guest).rx_frames, stats.ports[0].rx_frames), (1, 1));
}
