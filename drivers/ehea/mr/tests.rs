// SPDX-License-Identifier: GPL-2.0

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::format;
use std::string::ToString as _;
use std::vec::Vec;

use super::pages::next_count;
use super::*;
use crate::abi::hcall::{Opcode, QueueSelect, RegisterRpages, Regs, ReturnCode};

/// Gives prepared answers and takes note of calls.
#[derive(Default)]
struct Script {
    answers: RefCell<VecDeque<ReturnCode>>,
    calls: RefCell<Vec<(Opcode, Regs)>>,
    slept_ms: Cell<u64>,
    not_freed: RefCell<Vec<HcallError>>,
}

impl Script {
    fn new(answers: impl IntoIterator<Item = ReturnCode>) -> Self {
        Self {
            answers: RefCell::new(answers.into_iter().collect()),
            ..Self::default()
        }
    }
}

impl Hypervisor for Script {
    fn call(&self, opcode: Opcode, regs: Regs) -> (ReturnCode, Regs) {
        self.calls.borrow_mut().push((opcode, regs));
        let mut answers = self.answers.borrow_mut();
        // The last answer is repeated.
        let code = match answers.len() {
            1 => answers[0],
            _ => answers.pop_front().unwrap(),
        };
        (code, [42; 9])
    }

    fn sleep_ms(&self, ms: u32) {
        self.slept_ms.set(self.slept_ms.get() + u64::from(ms));
    }

    fn not_freed(&self, _resource: u64, error: &HcallError) {
        self.not_freed.borrow_mut().push(*error);
    }
}

const ARGS: Regs = [1, 2, 3, 4, 5, 6, 7, 8, 9];

#[test]
fn busy_firmware_gets_the_same_call_again() {
    let script = Script::new([
        ReturnCode::LONG_BUSY_ORDER_10_MSEC,
        ReturnCode::BUSY,
        ReturnCode::LONG_BUSY_ORDER_1_SEC,
        ReturnCode::SUCCESS,
    ]);
    let firmware = Firmware::new(&script, 1);
    assert_eq!(
        firmware.call(Opcode::QUERY_HEA, ARGS, "adapter"),
        Ok([42; 9])
    );
    assert_eq!(*script.calls.borrow(), [(Opcode::QUERY_HEA, ARGS); 4]);
    assert_eq!(script.slept_ms.get(), 10 + 1 + 1000);
}

#[test]
fn patience_ends() {
    for code in [
        ReturnCode::BUSY,
        ReturnCode::LONG_BUSY_ORDER_1_MSEC,
        ReturnCode::LONG_BUSY_ORDER_10_SEC,
        ReturnCode::LONG_BUSY_ORDER_100_SEC,
    ] {
        let script = Script::new([code]);
        let error = Firmware::new(&script, 1).call(Opcode::QUERY_HEA, ARGS, "adapter");
        assert_eq!(error.unwrap_err().code, code);
        assert_eq!(script.slept_ms.get(), u64::from(BUSY_TIMEOUT_MS));
    }
}

#[test]
fn other_answers_are_failures() {
    for code in [
        ReturnCode::PAGE_REGISTERED,
        ReturnCode::AUTHORITY,
        ReturnCode(9906),
        ReturnCode(9899),
        ReturnCode(-9900),
        ReturnCode(i64::MIN),
    ] {
        let script = Script::new([code]);
        let error = Firmware::new(&script, 1).call(Opcode::QUERY_HEA, ARGS, "adapter");
        assert_eq!(error.unwrap_err().code, code);
        assert_eq!(script.calls.borrow().len(), 1);
        assert_eq!(script.slept_ms.get(), 0);
    }
}

#[test]
fn errors_name_call_and_code() {
    let error = HcallError {
        opcode: Opcode::ALLOC_HEA_RESOURCE,
        code: ReturnCode::NOT_ENOUGH_RESOURCES,
        what: "memory region",
    };
    assert_eq!(
        error.to_string(),
        "H_ALLOC_HEA_RESOURCE (memory region) failed: H_NOT_ENOUGH_RESOURCES (-44)"
    );
    assert_eq!(RegisterError::from(error).to_string(), format!("{error}"));
}

#[test]
fn queue_pages_one_by_one() {
    let more = ReturnCode::PAGE_REGISTERED;
    let script = Script::new([more, more, ReturnCode::SUCCESS]);
    let pages = [0x1000, 0x5000, 0x2000];
    Firmware::new(&script, 7)
        .register_queue(9, QueueSelect::Rq2, pages.into_iter(), "RQ2")
        .unwrap();
    let calls: Vec<_> = script
        .calls
        .borrow()
        .iter()
        .map(|(_, regs)| RegisterRpages::unpack(regs))
        .collect();
    assert_eq!(
        calls,
        pages.map(|address| RegisterRpages {
            adapter: 7,
            page_size: 0,
            queue: QueueSelect::Rq2,
            resource: 9,
            address,
            count: 1,
        })
    );
}

/// The two good answers in the wrong place, and others, on each call.
#[test]
fn queue_pages_need_the_exact_answer() {
    for wrong in 0..3 {
        for code in [
            ReturnCode::SUCCESS,
            ReturnCode::PAGE_REGISTERED,
            ReturnCode::PARAMETER,
            ReturnCode(2),
        ] {
            let more = ReturnCode::PAGE_REGISTERED;
            let mut answers = [more, more, ReturnCode::SUCCESS];
            let expected = answers[wrong];
            answers[wrong] = code;
            let script = Script::new(answers);
            let result = Firmware::new(&script, 7).register_queue(
                9,
                QueueSelect::Sq,
                [1, 2, 3].into_iter(),
                "EQ",
            );
            assert_eq!(result.is_ok(), code == expected, "{code} to call {wrong}");
            if let Err(error) = result {
                assert_eq!(error.code, code);
                assert_eq!(script.calls.borrow().len(), wrong + 1);
            }
        }
    }
}

#[test]
fn no_call_for_a_single_page_behind_others() {
    for total in (1..3000).chain([1 << 20, (1 << 20) + 1]) {
        let mut left = total;
        let mut calls = 0;
        while left > 0 {
            let count = next_count(left);
            assert!(count <= 512 && count <= left);
            assert!(count > 1 || total == 1, "a single page of {total}");
            left -= count;
            calls += 1;
        }
        assert_eq!(calls, total.div_ceil(512));
    }
}

mod policy {
    use super::*;
    use crate::bmap::{Builder, Busmap, OutOfMemory, RealRange, Run, RunStore, SECTION_SIZE};

    #[derive(Default)]
    struct Store(Vec<Run>);

    impl RunStore for Store {
        fn try_push(&mut self, run: Run) -> Result<(), OutOfMemory> {
            self.0.push(run);
            Ok(())
        }

        fn as_slice(&self) -> &[Run] {
            &self.0
        }
    }

    fn sections(first: u64, count: u64) -> RealRange {
        RealRange::new(first * SECTION_SIZE, count * SECTION_SIZE).unwrap()
    }

    fn map(ranges: &[RealRange], excluded: &[RealRange]) -> Busmap<Store> {
        let mut builder = Builder::new(Store::default(), excluded);
        for range in ranges {
            builder.add(range.start(), range.len()).unwrap();
        }
        builder.finish().unwrap()
    }

    fn miss(section: u64) -> Event {
        Event::Miss(RealRange::new(section * SECTION_SIZE + 100, 2048).unwrap())
    }

    #[test]
    fn one_rebuild_for_many_misses() {
        let map = map(&[sections(0, 4)], &[]);
        let mut policy = Policy::new();
        assert_eq!(
            policy.handle(Event::Online(sections(4, 2)), &map),
            Ok(Action::Nothing)
        );
        assert!(policy.begin_queued().is_none());
        assert_eq!(policy.handle(miss(4), &map), Ok(Action::QueueRebuild));
        for _ in 0..1000 {
            assert_eq!(policy.handle(miss(5), &map), Ok(Action::Nothing));
        }
        let rebuild = policy.begin_queued().unwrap();
        assert!(!rebuild.is_removal());
        assert!(policy.begin_queued().is_none());
        assert_eq!(policy.handle(miss(5), &map), Ok(Action::Nothing));
        let map = super::policy::map(&[sections(0, 6)], rebuild.excluded());
        policy.finish(rebuild, Outcome::Published);
        assert_eq!(policy.generation().number(), 1);
        // Late misses, of buffers that the new map knows.
        assert_eq!(policy.handle(miss(5), &map), Ok(Action::Nothing));
        // And one that it doesn't know.
        assert_eq!(policy.handle(miss(6), &map), Ok(Action::QueueRebuild));
    }

    #[test]
    fn removal_of_mapped_memory() {
        let old = map(&[sections(0, 6)], &[]);
        let mut policy = Policy::new();
        let range = sections(4, 2);
        assert_eq!(
            policy.handle(Event::GoingOffline(range), &old),
            Ok(Action::RebuildNow)
        );
        let rebuild = policy.begin_removal(range, &old).unwrap();
        assert!(rebuild.is_removal());
        let new = map(&[sections(0, 6)], rebuild.excluded());
        assert!(!new.intersects(&range));
        policy.finish(rebuild, Outcome::Published);
        // Until the memory is gone, buffers in it are copied and nothing else.
        for _ in 0..1000 {
            assert_eq!(policy.handle(miss(4), &new), Ok(Action::Nothing));
        }
        assert_eq!(
            policy.handle(Event::Offline(range), &new),
            Ok(Action::Nothing)
        );
        assert_eq!(
            policy.handle(Event::Online(range), &new),
            Ok(Action::Nothing)
        );
        assert_eq!(policy.handle(miss(4), &new), Ok(Action::QueueRebuild));
    }

    #[test]
    fn cancelled_removal_is_mapped_again_lazily() {
        let old = map(&[sections(0, 6)], &[]);
        let mut policy = Policy::new();
        let range = sections(4, 2);
        policy.handle(Event::GoingOffline(range), &old).unwrap();
        let rebuild = policy.begin_removal(range, &old).unwrap();
        let new = map(&[sections(0, 6)], rebuild.excluded());
        policy.finish(rebuild, Outcome::Published);
        assert_eq!(
            policy.handle(Event::CancelOffline(range), &new),
            Ok(Action::Nothing)
        );
        assert_eq!(policy.handle(miss(4), &new), Ok(Action::QueueRebuild));
        let rebuild = policy.begin_queued().unwrap();
        assert!(map(&[sections(0, 6)], rebuild.excluded()) == old);
        policy.finish(rebuild, Outcome::Published);
        assert_eq!(policy.generation().number(), 2);
    }

    #[test]
    fn unmapped_memory_costs_nothing() {
        let map = map(&[sections(0, 4)], &[]);
        let mut policy = Policy::new();
        let range = sections(4, 2);
        for event in [
            Event::GoingOffline(range),
            Event::Offline(range),
            Event::Online(range),
            Event::GoingOffline(range),
            Event::CancelOffline(range),
        ] {
            assert_eq!(policy.handle(event, &map), Ok(Action::Nothing));
        }
        // Not even one that nobody announced.
        assert_eq!(
            policy.handle(Event::CancelOffline(sections(9, 1)), &map),
            Ok(Action::Nothing)
        );
    }

    #[test]
    fn failed_removal_keeps_the_old_map() {
        let map = map(&[sections(0, 6)], &[]);
        let mut policy = Policy::new();
        let range = sections(4, 2);
        policy.handle(Event::GoingOffline(range), &map).unwrap();
        let rebuild = policy.begin_removal(range, &map).unwrap();
        policy.finish(rebuild, Outcome::Failed);
        assert!(!policy.excluded().intersects(&range));
        assert_eq!(policy.generation(), Generation::FIRST);
        // The kernel tells everybody.
        assert_eq!(
            policy.handle(Event::CancelOffline(range), &map),
            Ok(Action::Nothing)
        );
        // A second attempt is possible.
        assert_eq!(
            policy.handle(Event::GoingOffline(range), &map),
            Ok(Action::RebuildNow)
        );
    }

    /// A rebuild that began before may be about to publish the range.
    #[test]
    fn removal_waits_for_a_running_rebuild() {
        let old = map(&[sections(0, 4)], &[]);
        let mut policy = Policy::new();
        let range = sections(4, 1);
        policy.handle(miss(4), &old).unwrap();
        let rebuild = policy.begin_queued().unwrap();
        assert_eq!(
            policy.handle(Event::GoingOffline(range), &old),
            Ok(Action::RebuildNow)
        );
        // It did publish it.
        let new = map(&[sections(0, 5)], rebuild.excluded());
        policy.finish(rebuild, Outcome::Published);
        assert!(policy.begin_removal(range, &new).is_some());
        // Or it did not.
        assert!(policy.begin_removal(range, &old).is_none());
    }

    /// Memory that began to go offline before the driver was loaded.
    #[test]
    fn unannounced_removal() {
        let map = map(&[sections(0, 6)], &[]);
        let mut policy = Policy::new();
        let range = sections(5, 1);
        assert_eq!(
            policy.handle(Event::Offline(range), &map),
            Ok(Action::RebuildNow)
        );
        assert!(policy.begin_removal(range, &map).is_some());
    }

    /// Buffers that no rebuild can map must not cause rebuilds for ever.
    #[test]
    fn fruitless_rebuilds_become_rare() {
        let map = map(&[sections(0, 4)], &[]);
        for outcome in [Outcome::Unchanged, Outcome::Failed] {
            let mut policy = Policy::new();
            let mut rebuilds = 0;
            for _ in 0..1_000_000 {
                if policy.handle(miss(9), &map) == Ok(Action::QueueRebuild) {
                    let rebuild = policy.begin_queued().unwrap();
                    policy.finish(rebuild, outcome);
                    rebuilds += 1;
                }
            }
            assert!((2..40).contains(&rebuilds), "{rebuilds}");
            policy.handle(Event::Online(sections(9, 1)), &map).unwrap();
            assert_eq!(policy.handle(miss(9), &map), Ok(Action::QueueRebuild));
        }
    }

    #[test]
    fn too_many_ranges_are_refused() {
        let map = map(&[sections(0, 100)], &[]);
        let mut policy = Policy::new();
        for n in 0..MAX_EXCLUSIONS as u64 {
            assert!(policy
                .handle(Event::GoingOffline(sections(2 * n, 1)), &map)
                .is_ok());
        }
        // One that is known already is no more.
        assert!(policy
            .handle(Event::GoingOffline(sections(0, 1)), &map)
            .is_ok());
        let more = Event::GoingOffline(sections(90, 1));
        assert_eq!(policy.handle(more, &map), Err(TooManyRanges));
        policy
            .handle(Event::CancelOffline(sections(4, 1)), &map)
            .unwrap();
        assert!(policy.handle(more, &map).is_ok());
    }

    /// A memory block that carries its own memory map goes offline without those pages.
    #[test]
    fn partial_sections_count_whole() {
        let old = map(&[sections(0, 4)], &[]);
        let mut policy = Policy::new();
        let range = RealRange::new(2 * SECTION_SIZE + 0x10000, SECTION_SIZE - 0x10000).unwrap();
        assert_eq!(
            policy.handle(Event::GoingOffline(range), &old),
            Ok(Action::RebuildNow)
        );
        let rebuild = policy.begin_removal(range, &old).unwrap();
        let new = map(&[sections(0, 4)], rebuild.excluded());
        assert_eq!(new.sections(), 3);
        policy.finish(rebuild, Outcome::Published);
        assert_eq!(
            policy.handle(Event::Offline(range), &new),
            Ok(Action::Nothing)
        );
        assert!(!policy.excluded().intersects(&sections(0, 4)));
    }
}
