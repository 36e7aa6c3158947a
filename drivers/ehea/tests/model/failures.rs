// SPDX-License-Identifier: GPL-2.0

//! Refusal of every call of a rebuild, after memory is added, removed, or kept after all: firmware
//! refuses a call once, refuses all calls from it on, or is busy for a while.

use std::ops::RangeInclusive;

use ehea_core::abi::hcall::{Opcode, ReturnCode};

use super::adapter::machine;
use super::guest::{Guest, Refusal};
use super::hotplug::{large_pages, Step, Watch};

/// MemoryEvent for which the calls are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Block 1 was added and is used.
    Add,
    /// Block 0 is removed.
    Remove,
    /// Block 0 was about to be removed, stays, and is used again.
    Cancel,
}

impl What {
    fn prepare(self, watch: &mut Watch<'_>) {
        watch.step(Step::Use(Some(0)));
        match self {
            Self::Add => {
                watch.step(Step::Online(1));
                watch.step(Step::Use(Some(1)));
            }
            Self::Remove => {}
            Self::Cancel => {
                watch.step(Step::GoingOffline(0));
                watch.step(Step::CancelOffline(0));
                watch.step(Step::Use(Some(0)));
            }
        }
    }

    fn act(self, watch: &mut Watch<'_>) {
        watch.step(match self {
            Self::Add | Self::Cancel => Step::Work,
            Self::Remove => Step::GoingOffline(0),
        });
    }

    /// Checks whether the event has had its effect.
    fn is_done(self, watch: &Watch<'_>) -> bool {
        match self {
            Self::Add => watch.adapter.mapped().contains(&1),
            Self::Remove => watch.leaving.contains(&0),
            Self::Cancel => watch.adapter.mapped().contains(&0),
        }
    }
}

const CODES: [ReturnCode; 7] = [
    ReturnCode::HARDWARE,
    ReturnCode::PARAMETER,
    ReturnCode::AUTHORITY,
    ReturnCode::NOT_ENOUGH_RESOURCES,
    ReturnCode::TABLE_FULL,
    ReturnCode::BUSY,
    ReturnCode::LONG_BUSY_ORDER_1_SEC,
];

/// Codes that firmware answers until the test tells it otherwise.
const LASTING: [ReturnCode; 3] = [
    ReturnCode::HARDWARE,
    ReturnCode::NOT_ENOUGH_RESOURCES,
    ReturnCode::LONG_BUSY_ORDER_10_SEC,
];

fn is_busy(code: ReturnCode) -> bool {
    code == ReturnCode::BUSY || code.long_busy_ms().is_some()
}

/// Returns the calls of an undisturbed run.
fn script(what: What, max_mrs: u32) -> Vec<Opcode> {
    let guest = Guest::new(machine(large_pages(), max_mrs, &[0]));
    let mut watch = Watch::new(&guest, [0]);
    what.prepare(&mut watch);
    let before = guest.calls.borrow().len();
    what.act(&mut watch);
    assert!(what.is_done(&watch));
    let calls = guest.calls.borrow()[before..].to_vec();
    watch.recover();
    calls.into_iter().map(|(opcode, _)| opcode).collect()
}

/// Refuses the calls `calls` during a run. Returns whether the run had its effect all the same.
fn refused_run(what: What, max_mrs: u32, calls: RangeInclusive<u64>, code: ReturnCode) -> bool {
    let guest = Guest::new(machine(large_pages(), max_mrs, &[0]));
    let mut watch = Watch::new(&guest, [0]);
    what.prepare(&mut watch);
    guest.refuse(Some(Refusal {
        opcode: None,
        calls: calls.clone(),
        spare_free: false,
        code,
    }));
    what.act(&mut watch);
    assert!(guest.refused());
    guest.refuse(None);

    let done = what.is_done(&watch);
    if is_busy(code) && calls.end() - calls.start() < 50 {
        // Busy firmware needs nothing but patience.
        assert!(done && watch.adapter.are_all_up());
    }
    // Ports that are not to be reset carry traffic, with the old map or the new one.
    watch.traffic();
    watch.adapter.check(&watch.leaving);

    let lost = guest.not_freed.borrow().len();
    if lost == 0 {
        watch.recover();
        let refusals = &guest.machine.borrow().stats().refusals;
        // The adapter would refuse to free something twice, or something that was never there.
        let expected = |name: &String| max_mrs == 1 && name == "MrLimit";
        assert!(refusals.keys().all(expected), "{refusals:?}");
    } else {
        // Firmware holds the object until it is told to free everything. No memory is given away
        // meanwhile.
        assert!(what != What::Remove || !done);
        guest.machine.borrow_mut().may_leak = true;
        watch.step(Step::Reset);
        watch.traffic();
        watch.adapter.close();
        let live = guest.machine.borrow().stats().live.total();
        assert!(live <= lost as u64, "{live} objects, {lost} not freed");
    }
    done
}

fn every_call_fails(what: What, max_mrs: u32) {
    let script = script(what, max_mrs);
    let (mut done, mut runs) = (0, 0);
    for n in 1..=script.len() as u64 {
        let once = CODES.into_iter().map(|code| (n..=n, code));
        let lasting = LASTING.into_iter().map(|code| (n..=u64::MAX, code));
        let busy = (n..=n + 20, ReturnCode::BUSY);
        for (calls, code) in once.chain(lasting).chain([busy]) {
            let context = format!("{what:?}: calls {calls:?} answered {code}");
            let result = std::panic::catch_unwind(|| refused_run(what, max_mrs, calls, code));
            match result {
                Ok(result) => done += u32::from(result),
                Err(_) => panic!("{context}; undisturbed: {script:?}"),
            }
            runs += 1;
        }
    }
    assert!(0 < done && done < runs);
}

#[test]
fn when_memory_is_added() {
    every_call_fails(What::Add, 8);
}

#[test]
fn when_memory_is_removed() {
    every_call_fails(What::Remove, 8);
}

#[test]
fn when_memory_stays_after_all() {
    every_call_fails(What::Cancel, 8);
}

#[test]
fn without_room_for_a_second_region() {
    for what in [What::Add, What::Remove, What::Cancel] {
        every_call_fails(what, 1);
    }
}
