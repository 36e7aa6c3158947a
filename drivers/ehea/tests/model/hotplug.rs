// SPDX-License-Identifier: GPL-2.0

//! Memory that comes and goes: the policy with real maps and regions, against a naive account of
//! what must be mapped.

use std::collections::BTreeSet;

use ehea_core::abi::cb::adapter::{PageSize, PageSizes};
use ehea_core::abi::hcall::ReturnCode;
use ehea_core::bmap::{RealRange, SECTION_SIZE};
use ehea_core::mr::{Action, Event, Generation, MemoryRegion, Outcome, Policy, Rebuild};
use ehea_model::testkit::TestMachine;
use proptest::prelude::*;

use super::guest::{map_of, Guest, Map, Refusal};

/// Sections of a memory block.
const BLOCK_SECTIONS: u64 = 2;
const BLOCK: u64 = BLOCK_SECTIONS * SECTION_SIZE;
/// Memory blocks that there can be.
const BLOCKS: u64 = 12;

fn block_range(block: u64) -> RealRange {
    RealRange::new(block * BLOCK, BLOCK).unwrap()
}

/// What happens in a step.
#[derive(Clone, Debug)]
enum Step {
    /// A block is added and goes online.
    Online(u64),
    /// Buffers of a block don't translate, some in a row.
    Misses(u64, u32),
    /// The queued rebuild gets its turn; firmware may refuse it.
    Work(Option<ReturnCode>),
    /// A block begins to go offline; firmware may refuse the rebuild.
    GoingOffline(u64, Option<ReturnCode>),
    /// A block that was going offline is.
    Offline(u64),
    /// A block stays online, also one that nobody heard of.
    CancelOffline(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let block = 0..BLOCKS;
    let refusal = || {
        prop_oneof![
            3 => Just(None),
            1 => Just(Some(ReturnCode::NOT_ENOUGH_RESOURCES)),
            1 => Just(Some(ReturnCode::PARAMETER)),
        ]
    };
    prop_oneof![
        3 => block.clone().prop_map(Step::Online),
        4 => (block.clone(), 1u32..200).prop_map(|(b, n)| Step::Misses(b, n)),
        4 => refusal().prop_map(Step::Work),
        3 => (block.clone(), refusal()).prop_map(|(b, r)| Step::GoingOffline(b, r)),
        3 => block.clone().prop_map(Step::Offline),
        1 => block.prop_map(Step::CancelOffline),
    ]
}

/// A driver, and what an observer knows about it.
struct Driver<'a> {
    guest: &'a Guest,
    sizes: PageSizes,
    policy: Policy,
    map: Map,
    region: MemoryRegion<&'a Guest>,
    /// Blocks that are online.
    online: BTreeSet<u64>,
    /// Blocks that are on their way out.
    leaving: BTreeSet<u64>,
    /// Blocks in the map.
    mapped: BTreeSet<u64>,
    queued: bool,
}

impl<'a> Driver<'a> {
    fn new(guest: &'a Guest, blocks: u64) -> Self {
        let sizes = guest.machine.borrow().config().mr_page_sizes;
        let map = guest.map();
        let region =
            MemoryRegion::register(&guest.firmware(), &mut guest.list(), &map, sizes).unwrap();
        let online: BTreeSet<u64> = (0..blocks).collect();
        Self {
            guest,
            sizes,
            policy: Policy::new(),
            map,
            region,
            mapped: online.clone(),
            online,
            leaving: BTreeSet::new(),
            queued: false,
        }
    }

    fn hcalls(&self) -> usize {
        self.guest.calls.borrow().len()
    }

    fn event(&mut self, event: Event) -> Action {
        let before = self.hcalls();
        let action = self.policy.handle(event, &self.map).unwrap();
        assert_eq!(self.hcalls(), before);
        action
    }

    /// Does a rebuild, as the driver does: the new region first, then the old one is freed.
    fn rebuild(&mut self, rebuild: Rebuild, refusal: Option<ReturnCode>) -> Outcome {
        let memory: Vec<_> = self.online.iter().map(|b| (b * BLOCK, BLOCK)).collect();
        let map = map_of(&memory, rebuild.excluded());
        let before = (self.hcalls(), self.policy.generation());
        let outcome = if map == self.map {
            Outcome::Unchanged
        } else {
            self.guest.refuse(refusal.map(|code| Refusal {
                opcode: None,
                calls: 2..=2,
                code,
            }));
            let guest = self.guest;
            let region =
                MemoryRegion::register(&guest.firmware(), &mut guest.list(), &map, self.sizes);
            guest.refuse(None);
            match region {
                Ok(region) => {
                    self.region = region;
                    self.map = map;
                    self.mapped = &self.online - &self.leaving;
                    Outcome::Published
                }
                Err(_) => Outcome::Failed,
            }
        };
        let generation = rebuild.generation();
        self.policy.finish(rebuild, outcome);
        match outcome {
            Outcome::Published => {
                assert!(generation > before.1);
                assert_eq!(self.policy.generation(), generation);
            }
            Outcome::Unchanged => assert_eq!(self.hcalls(), before.0),
            Outcome::Failed => assert_eq!(self.policy.generation(), before.1),
        }
        outcome
    }

    /// Buffers in a block don't translate. Returns whether a rebuild was queued.
    fn misses(&mut self, block: u64, count: u32) -> bool {
        let mut queued = false;
        for n in 0..count {
            let range = RealRange::new(block * BLOCK + u64::from(n % 4096) * 4096, 2048).unwrap();
            match self.event(Event::Miss(range)) {
                Action::Nothing => (),
                Action::QueueRebuild => {
                    assert!(!self.queued, "queued twice");
                    assert!(!self.mapped.contains(&block), "it is mapped");
                    assert!(!self.leaving.contains(&block), "it is on its way out");
                    self.queued = true;
                    queued = true;
                }
                Action::RebuildNow => panic!("a rebuild in the packet path"),
            }
        }
        queued
    }

    fn work(&mut self, refusal: Option<ReturnCode>) {
        let rebuild = self.policy.begin_queued();
        assert_eq!(rebuild.is_some(), self.queued);
        self.queued = false;
        if let Some(rebuild) = rebuild {
            self.rebuild(rebuild, refusal);
        }
    }

    fn going_offline(&mut self, block: u64, refusal: Option<ReturnCode>) {
        let range = block_range(block);
        let before = self.hcalls();
        match self.event(Event::GoingOffline(range)) {
            Action::Nothing => {
                assert!(!self.mapped.contains(&block));
                self.leaving.insert(block);
                assert_eq!(self.hcalls(), before, "memory that is not mapped is free");
            }
            Action::QueueRebuild => panic!("too late"),
            Action::RebuildNow => {
                assert!(self.mapped.contains(&block));
                self.leaving.insert(block);
                let rebuild = self.policy.begin_removal(range, &self.map).unwrap();
                self.queued = false;
                if self.rebuild(rebuild, refusal) == Outcome::Failed {
                    // The notifier refuses, and the kernel tells everybody.
                    self.leaving.remove(&block);
                    assert_eq!(self.event(Event::CancelOffline(range)), Action::Nothing);
                }
            }
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Online(block) => {
                if self.online.insert(block) {
                    let range = block_range(block);
                    let mut machine = self.guest.machine.borrow_mut();
                    machine.add_ram(range.start(), range.len());
                    drop(machine);
                    assert_eq!(self.event(Event::Online(range)), Action::Nothing);
                }
            }
            Step::Misses(block, count) => {
                self.misses(block, count);
            }
            Step::Work(refusal) => self.work(refusal),
            Step::GoingOffline(block, refusal) => {
                // One at a time as the kernel does, not the last one, and not the first one, which
                // holds the page list.
                if block != 0
                    && self.online.contains(&block)
                    && self.leaving.is_empty()
                    && self.online.len() > 1
                {
                    self.going_offline(block, refusal);
                }
            }
            Step::Offline(block) => {
                if self.leaving.remove(&block) {
                    self.online.remove(&block);
                    let range = block_range(block);
                    assert_eq!(self.event(Event::Offline(range)), Action::Nothing);
                    let mut machine = self.guest.machine.borrow_mut();
                    machine.remove_ram(range.start(), range.len());
                }
            }
            Step::CancelOffline(block) => {
                self.leaving.remove(&block);
                let event = Event::CancelOffline(block_range(block));
                assert_eq!(self.event(event), Action::Nothing);
            }
        }
    }

    /// What the observer, the map and the adapter think is the same.
    fn check(&self) {
        assert!(self.mapped.is_subset(&self.online));
        assert!(self.mapped.is_disjoint(&self.leaving));
        assert_eq!(self.policy.is_queued(), self.queued);
        let expected: u64 = self.mapped.len() as u64 * BLOCK;
        assert_eq!(self.map.total_bytes(), expected);
        for block in 0..BLOCKS {
            let mapped = self.mapped.contains(&block);
            assert_eq!(self.map.intersects(&block_range(block)), mapped);
            let bus = self.map.translate(block * BLOCK + BLOCK - 100, 100);
            assert_eq!(bus.is_some(), mapped);
        }
        let stats = self.guest.machine.borrow().stats();
        let [mr] = &stats.mrs[..] else {
            panic!("{stats:?}")
        };
        assert_eq!(mr.handle, self.region.handle());
        assert_eq!(mr.bytes, expected);
        let runs: Vec<_> = self
            .map
            .runs()
            .iter()
            .map(|r| (r.real(), r.len()))
            .collect();
        assert_eq!(mr.runs, runs);
        assert_eq!(stats.removed_while_registered, 0);
        assert!(self.guest.not_freed.borrow().is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_sequence_of_events(
        blocks in 1..BLOCKS,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        // Large pages, for speed.
        let mut config = TestMachine::default_config();
        config.mr_page_sizes = PageSizes::default().with(PageSize::M16);
        let guest = Guest::new(TestMachine::with_ram(config, &[(0, blocks * BLOCK)]));
        let mut driver = Driver::new(&guest, blocks);
        for step in steps {
            driver.step(step);
            driver.check();
        }
        // Whatever happened before, memory that stays is mapped in the end.
        for block in driver.online.clone() {
            if !driver.leaving.contains(&block) && !driver.mapped.contains(&block) {
                // At most so many are ignored.
                let _ = driver.queued || (0..=1 << 16).any(|_| driver.misses(block, 1));
                driver.work(None);
                prop_assert!(driver.mapped.contains(&block));
                driver.check();
            }
        }
    }
}

/// The way of one block: added and used, then removed.
#[test]
fn one_rebuild_each_way() {
    let machine = TestMachine::with_ram(TestMachine::default_config(), &[(0, 2 * BLOCK)]);
    let guest = Guest::new(machine);
    let mut driver = Driver::new(&guest, 2);
    for round in 1..=5 {
        driver.step(Step::Online(3));
        let before = driver.hcalls();
        assert!(driver.misses(3, 1000));
        assert_eq!(driver.hcalls(), before);
        driver.work(None);
        // Allocate, three blocks of 32 MiB with 2 MiB each, free.
        assert_eq!(driver.hcalls() - before, 1 + 48 + 1);
        assert!(!driver.misses(3, 1000));

        let before = driver.hcalls();
        driver.step(Step::GoingOffline(3, None));
        assert_eq!(driver.hcalls() - before, 1 + 32 + 1);
        driver.step(Step::Offline(3));
        assert_eq!(driver.hcalls() - before, 1 + 32 + 1);
        driver.check();
        assert_eq!(driver.policy.generation().number(), 2 * round);
    }
    assert!(driver.policy.generation() > Generation::FIRST);
}
