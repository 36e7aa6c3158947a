// SPDX-License-Identifier: GPL-2.0

mod together;
mod world;

use std::format;
use std::string::ToString as _;
use std::vec::Vec;

use super::*;
use crate::abi::hcall::{Opcode, ReturnCode};
use crate::bmap::{Builder, Busmap, OutOfMemory, RealRange, Run, RunStore, SECTION_SIZE};
use crate::hcall::HcallError;

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

fn miss(section: u64) -> MemoryEvent {
    MemoryEvent::Miss(RealRange::new(section * SECTION_SIZE + 100, 2048).unwrap())
}

#[test]
fn one_rebuild_for_many_misses() {
    let map = map(&[sections(0, 4)], &[]);
    let mut policy = Policy::new();
    assert_eq!(
        policy.handle(MemoryEvent::Online(sections(4, 2)), &map),
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
    let map = self::map(&[sections(0, 6)], rebuild.excluded());
    policy.finish(rebuild, Some(Replaced::Published));
    assert_eq!(policy.generation().get(), 1);
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
        policy.handle(MemoryEvent::GoingOffline(range), &old),
        Ok(Action::RebuildNow)
    );
    let rebuild = policy.begin_removal(range, &old).unwrap();
    assert!(rebuild.is_removal());
    let new = map(&[sections(0, 6)], rebuild.excluded());
    assert!(!new.intersects(&range));
    policy.finish(rebuild, Some(Replaced::Published));
    // Until the memory is gone, buffers in it are copied and nothing else.
    for _ in 0..1000 {
        assert_eq!(policy.handle(miss(4), &new), Ok(Action::Nothing));
    }
    assert_eq!(
        policy.handle(MemoryEvent::Offline(range), &new),
        Ok(Action::Nothing)
    );
    assert_eq!(
        policy.handle(MemoryEvent::Online(range), &new),
        Ok(Action::Nothing)
    );
    assert_eq!(policy.handle(miss(4), &new), Ok(Action::QueueRebuild));
}

#[test]
fn cancelled_removal_is_mapped_again_lazily() {
    let old = map(&[sections(0, 6)], &[]);
    let mut policy = Policy::new();
    let range = sections(4, 2);
    policy
        .handle(MemoryEvent::GoingOffline(range), &old)
        .unwrap();
    let rebuild = policy.begin_removal(range, &old).unwrap();
    let new = map(&[sections(0, 6)], rebuild.excluded());
    policy.finish(rebuild, Some(Replaced::Published));
    assert_eq!(
        policy.handle(MemoryEvent::CancelOffline(range), &new),
        Ok(Action::Nothing)
    );
    assert_eq!(policy.handle(miss(4), &new), Ok(Action::QueueRebuild));
    let rebuild = policy.begin_queued().unwrap();
    assert!(map(&[sections(0, 6)], rebuild.excluded()) == old);
    policy.finish(rebuild, Some(Replaced::Published));
    assert_eq!(policy.generation().get(), 2);
}

#[test]
fn unmapped_memory_costs_nothing() {
    let map = map(&[sections(0, 4)], &[]);
    let mut policy = Policy::new();
    let range = sections(4, 2);
    for event in [
        MemoryEvent::GoingOffline(range),
        MemoryEvent::Offline(range),
        MemoryEvent::Online(range),
        MemoryEvent::GoingOffline(range),
        MemoryEvent::CancelOffline(range),
    ] {
        assert_eq!(policy.handle(event, &map), Ok(Action::Nothing));
    }
    // Not even one that nobody announced.
    assert_eq!(
        policy.handle(MemoryEvent::CancelOffline(sections(9, 1)), &map),
        Ok(Action::Nothing)
    );
}

#[test]
fn failed_removal_keeps_the_old_map() {
    let map = map(&[sections(0, 6)], &[]);
    let mut policy = Policy::new();
    let range = sections(4, 2);
    policy
        .handle(MemoryEvent::GoingOffline(range), &map)
        .unwrap();
    let rebuild = policy.begin_removal(range, &map).unwrap();
    policy.finish(rebuild, None);
    assert!(!policy.excluded().intersects(&range));
    assert_eq!(policy.generation(), MapNumber::default());
    // The kernel tells everybody.
    assert_eq!(
        policy.handle(MemoryEvent::CancelOffline(range), &map),
        Ok(Action::Nothing)
    );
    // A second attempt is possible.
    assert_eq!(
        policy.handle(MemoryEvent::GoingOffline(range), &map),
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
        policy.handle(MemoryEvent::GoingOffline(range), &old),
        Ok(Action::RebuildNow)
    );
    // It did publish it.
    let new = map(&[sections(0, 5)], rebuild.excluded());
    policy.finish(rebuild, Some(Replaced::Published));
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
        policy.handle(MemoryEvent::Offline(range), &map),
        Ok(Action::RebuildNow)
    );
    assert!(policy.begin_removal(range, &map).is_some());
}

/// Buffers that no rebuild can map must not cause rebuilds for ever.
#[test]
fn fruitless_rebuilds_become_rare() {
    let map = map(&[sections(0, 4)], &[]);
    for outcome in [Some(Replaced::Unchanged), None] {
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
        policy
            .handle(MemoryEvent::Online(sections(9, 1)), &map)
            .unwrap();
        assert_eq!(policy.handle(miss(9), &map), Ok(Action::QueueRebuild));
    }
}

#[test]
fn too_many_ranges_are_refused() {
    let map = map(&[sections(0, 100)], &[]);
    let mut policy = Policy::new();
    for n in 0..MAX_EXCLUSIONS as u64 {
        assert!(policy
            .handle(MemoryEvent::GoingOffline(sections(2 * n, 1)), &map)
            .is_ok());
    }
    // One that is known already is no more.
    assert!(policy
        .handle(MemoryEvent::GoingOffline(sections(0, 1)), &map)
        .is_ok());
    let more = MemoryEvent::GoingOffline(sections(90, 1));
    assert_eq!(policy.handle(more, &map), Err(TooManyRanges));
    policy
        .handle(MemoryEvent::CancelOffline(sections(4, 1)), &map)
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
        policy.handle(MemoryEvent::GoingOffline(range), &old),
        Ok(Action::RebuildNow)
    );
    let rebuild = policy.begin_removal(range, &old).unwrap();
    let new = map(&[sections(0, 4)], rebuild.excluded());
    assert_eq!(new.sections(), 3);
    policy.finish(rebuild, Some(Replaced::Published));
    assert_eq!(
        policy.handle(MemoryEvent::Offline(range), &new),
        Ok(Action::Nothing)
    );
    assert!(!policy.excluded().intersects(&sections(0, 4)));
}

#[test]
fn a_refused_registration_names_the_call() {
    let error = HcallError {
        opcode: Opcode::ALLOC_HEA_RESOURCE,
        code: ReturnCode::NOT_ENOUGH_RESOURCES,
        what: "memory region",
    };
    assert_eq!(RegisterError::from(error).to_string(), format!("{error}"));
}

#[test]
fn requests_are_not_put_off() {
    let map = map(&[sections(0, 4)], &[]);
    let mut policy = Policy::new();
    assert_eq!(policy.handle(miss(4), &map), Ok(Action::QueueRebuild));
    let rebuild = policy.begin_queued().unwrap();
    policy.finish(rebuild, None);
    assert_eq!(policy.handle(miss(4), &map), Ok(Action::Nothing));
    let request = |section| match miss(section) {
        MemoryEvent::Miss(range) => MemoryEvent::Request(range),
        _ => unreachable!(),
    };
    assert_eq!(policy.handle(request(3), &map), Ok(Action::Nothing));
    assert_eq!(policy.handle(request(4), &map), Ok(Action::QueueRebuild));
    let rebuild = policy.begin_queued().unwrap();
    policy.finish(rebuild, None);
    // Nor is what goes offline mapped for one.
    policy
        .handle(MemoryEvent::GoingOffline(sections(4, 1)), &map)
        .unwrap();
    assert_eq!(policy.handle(request(4), &map), Ok(Action::Nothing));
}
