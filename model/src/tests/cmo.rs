// SPDX-License-Identifier: GPL-2.0

//! Tests of CMO partitions: the adapter reaches only what TCEs map for it. The test machine is an
//! oracle here, too: it searches the table and panics at an access to a page that is not in it.

use ehea_abi::hcall::ReturnCode;
use proptest::prelude::*;

use crate::config::Config;
use crate::testkit::{Frame, GuestOptions, TestGuest, TestMachine, TestQp};

const PAGE: u64 = 4096;
const READ: u64 = 1;
const WRITE: u64 = 2;

/// Returns a guest whose memory is completely mapped: the index of each entry is the number of its
/// page.
pub(super) fn cmo_guest() -> TestGuest {
    let mut machine = TestMachine::new(Config {
        cmo: true,
        ..TestMachine::default_config()
    });
    machine.map_ram();
    TestGuest::on(machine, GuestOptions::default())
}

fn map(guest: &mut TestGuest, gpa: u64, bits: u64) {
    guest
        .machine
        .put_tce(gpa / PAGE, (gpa & !(PAGE - 1)) | bits);
}

fn frame(len: usize) -> Vec<u8> {
    Frame::raw(Frame::STATION, len, 7)
}

/// Sends and receives one frame of each size class, and asserts that both directions work.
fn traffic(guest: &mut TestGuest) {
    for len in [100, 1000, 5000] {
        let frame = frame(len);
        guest.send(0, 0, &frame);
        guest.machine.inject(0, &frame);
        guest.machine.settle();
        assert_eq!(guest.machine.take_sent(0), std::slice::from_ref(&frame));
        assert_eq!(guest.completions(0, 0).len(), 1);
        assert_eq!(guest.receive(0, 0)[0].frame, frame);
    }
}

/// Action of the driver that makes the adapter touch memory.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Send(usize),
    Receive(usize),
}

/// A case: the place in a queue pair's memory, the action that makes the adapter touch it, the kind
/// of access, and the name of the refusal.
type Case = (fn(&TestQp) -> u64, Deed, u64, &'static str);

const CASES: [Case; 9] = [
    (
        |qp| qp.sq.address(),
        Deed::Send(100),
        READ,
        "QueueNotMapped",
    ),
    (
        |qp| qp.send_cq.ring.address(),
        Deed::Send(100),
        WRITE,
        "QueueNotMapped",
    ),
    (|qp| qp.tx_memory, Deed::Send(1000), READ, "NotMapped"),
    (
        |qp| qp.rq1.address(),
        Deed::Receive(100),
        WRITE,
        "QueueNotMapped",
    ),
    (
        |qp| qp.rq2.base,
        Deed::Receive(1000),
        READ,
        "QueueNotMapped",
    ),
    (
        |qp| qp.rq3.base,
        Deed::Receive(5000),
        READ,
        "QueueNotMapped",
    ),
    (|qp| qp.buffers[0], Deed::Receive(1000), WRITE, "NotMapped"),
    (|qp| qp.buffers[1], Deed::Receive(5000), WRITE, "NotMapped"),
    // The second page of a buffer.
    (
        |qp| qp.buffers[1] + PAGE,
        Deed::Receive(5000),
        WRITE,
        "NotMapped",
    ),
];

fn act(guest: &mut TestGuest, deed: Deed) {
    match deed {
        Deed::Send(len) => guest.send(0, 0, &frame(len)),
        Deed::Receive(len) => assert!(guest.machine.inject(0, &frame(len))),
    }
    guest.machine.settle();
}

#[test]
fn what_is_mapped_can_be_used() {
    let mut guest = cmo_guest();
    traffic(&mut guest);
    let stats = guest.machine.stats();
    assert_eq!((stats.cmo_refused, stats.refused_accesses), (0, 0));
    assert_eq!((stats.tce_mapped_pages, stats.tce_maps), (16384, 16384));
}

/// Each kind of memory is checked, for the kind of access that is made.
#[test]
fn what_is_not_mapped_is_refused() {
    for (index, (place, deed, needed, name)) in CASES.into_iter().enumerate() {
        for bits in [0, READ, WRITE, READ | WRITE] {
            let mut guest = cmo_guest();
            let at = place(&guest.ports[0].qps[0]);
            map(&mut guest, at, bits);
            act(&mut guest, deed);
            let refused = u64::from(bits & needed == 0);
            let stats = guest.machine.stats();
            assert_eq!(
                (
                    stats.cmo_refused,
                    stats.refused_accesses,
                    guest.machine.refusals(name)
                ),
                (refused, refused, refused),
                "case {index}, TCE bits {bits}: {:?}",
                stats.refusals
            );
            let failed = guest.ports[0].affiliated.take(&guest.machine).len();
            assert_eq!(failed as u64, refused, "case {index}, TCE bits {bits}");
            guest.machine.may_leak = true;
            guest.machine.reset();
        }
    }
}

/// An event whose queue is not mapped is lost, as if there were no memory. No queue pair is to
/// blame.
#[test]
fn events_need_a_mapping() {
    let mut guest = cmo_guest();
    let at = guest.neq.ring.base;
    guest.neq.take(&guest.machine);
    map(&mut guest, at, READ);
    guest
        .machine
        .adapter
        .set_link(&mut guest.machine.host, 0, false);
    assert!(guest.neq.take(&guest.machine).is_empty());
    assert_eq!(guest.machine.stats().cmo_refused, 1);
    map(&mut guest, at, WRITE);
    guest
        .machine
        .adapter
        .set_link(&mut guest.machine.host, 0, true);
    assert_eq!(guest.neq.take(&guest.machine).len(), 1);
    let stats = guest.machine.stats();
    assert_eq!((stats.cmo_refused, stats.refused_accesses), (1, 0));
}

/// Everything can be set up with nothing mapped, because hypercalls are no accesses of the adapter.
#[test]
fn hypercalls_need_no_mapping() {
    let config = Config {
        cmo: true,
        ..TestMachine::default_config()
    };
    let guest = TestGuest::on(TestMachine::new(config), GuestOptions::default());
    let stats = guest.machine.stats();
    assert_eq!((stats.live.qp, stats.live.mr), (1, 1));
    // The two are notifications about the port.
    assert_eq!((stats.cmo_refused, stats.refused_accesses), (2, 0));
}

/// A page is mapped as long as any entry maps it.
#[test]
fn mappings_are_counted() {
    let mut guest = cmo_guest();
    let at = guest.ports[0].qps[0].sq.base;
    let second = 1 << 20;
    guest.machine.put_tce(second, at | READ);
    map(&mut guest, at, 0);
    traffic(&mut guest);
    // The entry is overwritten: it maps something else now.
    guest.machine.put_tce(second, (at + PAGE) | READ);
    act(&mut guest, Deed::Send(100));
    let stats = guest.machine.stats();
    assert_eq!(
        (stats.cmo_refused, guest.machine.refusals("QueueNotMapped")),
        (1, 1)
    );
    assert_eq!((stats.tce_mapped_pages, stats.tce_maps), (16384, 16386));
}

/// A reset, or firmware that quiesces the adapter, clears the table as a whole.
#[test]
fn a_cleared_table_maps_nothing() {
    let mut guest = cmo_guest();
    guest.machine.clear_tces();
    act(&mut guest, Deed::Send(100));
    // The work request was refused, and the event about it.
    let stats = guest.machine.stats();
    assert_eq!((stats.cmo_refused, stats.refused_accesses), (2, 1));
    assert_eq!((stats.tce_mapped_pages, stats.tce_maps), (0, 16384));
}

#[test]
fn without_cmo_nothing_changes() {
    let mut guest = TestGuest::default();
    guest.machine.adapter.tce_put(0, PAGE | READ);
    guest.machine.adapter.tce_put(PAGE | READ, 0);
    guest.machine.adapter.tce_clear();
    traffic(&mut guest);
    let stats = guest.machine.stats();
    assert_eq!(
        (stats.cmo_refused, stats.tce_mapped_pages, stats.tce_maps),
        (0, 0, 0)
    );
    assert_eq!(stats.refused_accesses, 0);
}

#[test]
fn mappings_can_be_refused_by_a_fault() {
    const PUT: u64 = 0x20;
    const PUT_INDIRECT: u64 = 0x13c;
    let mut guest = cmo_guest();
    guest.machine.fault(
        r#"{"event": "refuse_mapping", "opcode": "H_PUT_TCE_INDIRECT", "nth": 2, "code": "H_RESOURCE"}"#,
    );
    guest
        .machine
        .fault(r#"{"event": "refuse_mapping", "nth": 4, "count": 2, "code": -44}"#);
    let codes = [PUT, PUT_INDIRECT, PUT, PUT_INDIRECT, PUT, PUT_INDIRECT, PUT].map(|opcode| {
        let machine = &mut guest.machine;
        machine.adapter.tce_hcall(&mut machine.host, opcode)
    });
    let ok = ReturnCode::SUCCESS;
    let none = ReturnCode::NOT_ENOUGH_RESOURCES;
    assert_eq!(codes, [ok, ok, ok, ReturnCode::RESOURCE, none, none, ok]);
    let fired: Vec<u64> = guest
        .machine
        .adapter
        .faults()
        .iter()
        .map(|f| f.fired)
        .collect();
    assert_eq!(fired, [1, 2]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// A guest may unmap at any time what is in use. The oracle sees every access.
    #[test]
    fn unmapping_in_use(steps in proptest::collection::vec((0usize..CASES.len(), 0u64..4, any::<bool>()), 1..20)) {
        let mut guest = cmo_guest();
        guest.machine.may_leak = true;
        for (case, bits, other_deed) in steps {
            let (place, deed, _, _) = CASES[case];
            let at = place(&guest.ports[0].qps[0]);
            map(&mut guest, at, bits);
            if !other_deed {
                act(&mut guest, deed);
            } else {
                act(&mut guest, CASES[(case + 1) % CASES.len()].1);
            }
            let stats = guest.machine.stats();
            prop_assert!(stats.refused_accesses <= stats.cmo_refused);
        }
        guest.machine.reset();
        prop_assert_eq!(guest.machine.stats().tce_mapped_pages, 0);
    }
}
