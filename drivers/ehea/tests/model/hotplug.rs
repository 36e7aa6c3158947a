// SPDX-License-Identifier: GPL-2.0

//! Memory that is added and removed in any order while firmware may refuse any call, compared with
//! a naive account of what must be mapped.

use std::collections::BTreeSet;

use ehea_core::abi::cb::adapter::{PageSize, PageSizes};
use ehea_core::abi::hcall::ReturnCode;
use ehea_core::mr::{MemoryEvent, Obstacle};
use ehea_core::queue::Frame;
use ehea_model::testkit::Frame as TestFrame;
use ehea_model::{Busy, Rough, Temper};
use proptest::prelude::*;

use super::adapter::{block_range, machine, tempered_machine, Adapter, Error, Member};
use super::guest::{Guest, Refusal};

/// Maximum number of memory blocks.
pub(crate) const BLOCKS: u64 = 8;

/// Returns the large page size, for speed.
pub(crate) fn large_pages() -> PageSizes {
    PageSizes::default().with(PageSize::M16)
}

/// An event of a test run.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A block is added and goes online.
    Online(u64),
    /// The kernel allocates buffers in a block (or, for `None`, in memory that stays), and sends
    /// and receives.
    Use(Option<u64>),
    /// The rebuild worker runs.
    Work,
    /// A block begins to go offline.
    GoingOffline(u64),
    /// A block that was going offline is offline.
    Offline(u64),
    /// A block stays online; it may be one that was never announced to go.
    CancelOffline(u64),
    /// The ports that need it are reset.
    Reset,
}

/// A driver, and what an observer knows about it.
pub(crate) struct Watch<'a> {
    pub(crate) adapter: Adapter<'a>,
    /// Numbers of the blocks that are about to go offline.
    pub(crate) leaving: BTreeSet<u64>,
    /// Block from which buffers come; `None` for memory that stays.
    source: Option<u64>,
    frames: u32,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(guest: &'a Guest, online: impl IntoIterator<Item = u64>) -> Self {
        Self {
            adapter: Adapter::new(guest, online),
            leaving: BTreeSet::new(),
            source: None,
            frames: 0,
        }
    }

    pub(crate) fn guest(&self) -> &'a Guest {
        self.adapter.guest
    }

    fn online(&mut self) -> &mut BTreeSet<u64> {
        &mut self.adapter.memory.source.online
    }

    /// Makes buffers come from `source` from now on.
    fn allocate_at(&mut self, source: Option<u64>) {
        self.source = source;
        for member in self.adapter.members() {
            if let Some(mut port) = member.port() {
                port.allocate_at(source.map(|block| block_range(block).start()));
            }
        }
    }

    /// Sends some frames through each port in each direction. They arrive unharmed, whatever is
    /// mapped.
    pub(crate) fn traffic(&mut self) {
        // A port that was closed in between does not remember the source.
        self.allocate_at(self.source);
        let mut missed = Vec::new();
        for member in self.adapter.members() {
            if member.is_up() {
                exchange_frames(self.adapter.guest, member, &mut self.frames);
                missed.extend(member.port().and_then(|port| port.missed.take()));
            }
        }
        for address in missed {
            self.adapter.miss(address);
        }
    }

    fn going_offline(&mut self, block: u64) {
        // Nothing more is allocated in this block.
        if self.source == Some(block) {
            self.allocate_at(None);
        }
        let range = block_range(block);
        let calls = self.guest().calls.borrow().len();
        let mapped = self.adapter.mapped().contains(&block);
        let published = self.adapter.memory.map().clone();
        match self.adapter.notify(MemoryEvent::GoingOffline(range)) {
            Ok(()) => {
                self.leaving.insert(block);
                assert!(!self.adapter.mapped().contains(&block));
            }
            Err(Error::Obstacle(Obstacle::TooManyRanges)) => panic!("too many ranges"),
            Err(_) => {
                // The kernel tells everybody.
                let result = self.adapter.notify(MemoryEvent::CancelOffline(range));
                assert!(result.is_ok());
                assert_eq!(self.adapter.mapped().contains(&block), {
                    let map = self.adapter.memory.map();
                    map.intersects(&range)
                });
            }
        }
        if !mapped && !published.is_empty() && self.adapter.are_all_up() {
            let now = self.guest().calls.borrow().len();
            assert_eq!(now, calls, "memory that is not mapped is free");
        }
    }

    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Online(block) => {
                if self.online().insert(block) {
                    let range = block_range(block);
                    let mut machine = self.guest().machine.borrow_mut();
                    machine.add_ram(range.start(), range.len());
                    drop(machine);
                    let calls = self.guest().calls.borrow().len();
                    assert!(self.adapter.notify(MemoryEvent::Online(range)).is_ok());
                    assert_eq!(self.guest().calls.borrow().len(), calls);
                }
            }
            Step::Use(source) => {
                let usable = |block| self.adapter.online().contains(&block);
                if source.is_none_or(|block| usable(block) && !self.leaving.contains(&block)) {
                    self.allocate_at(source);
                }
                self.traffic();
            }
            Step::Work => {
                let _ = self.adapter.work();
            }
            Step::GoingOffline(block) => {
                // One at a time, as the kernel does.
                if self.online().contains(&block) && self.leaving.is_empty() {
                    self.going_offline(block);
                }
            }
            Step::Offline(block) => {
                if self.leaving.remove(&block) {
                    self.online().remove(&block);
                    let range = block_range(block);
                    assert!(self.adapter.notify(MemoryEvent::Offline(range)).is_ok());
                    let mut machine = self.guest().machine.borrow_mut();
                    machine.remove_ram(range.start(), range.len());
                }
            }
            Step::CancelOffline(block) => {
                self.leaving.remove(&block);
                let event = MemoryEvent::CancelOffline(block_range(block));
                assert!(self.adapter.notify(event).is_ok());
            }
            Step::Reset => self.adapter.reset_ports(),
        }
        self.adapter.check(&self.leaving);
    }

    /// Lets firmware work again and checks that everything works in the end, whatever happened
    /// before: ports run, memory that stays gets mapped when it is used, and memory that shall
    /// leave may leave.
    pub(crate) fn recover(mut self) {
        self.step(Step::Work);
        self.step(Step::Reset);
        assert!(self.adapter.are_all_up());
        for block in self.leaving.clone() {
            self.step(Step::Offline(block));
        }
        for block in self.adapter.online().clone() {
            // After failures, some misses are ignored, but not for ever.
            for _ in 0..1 << 17 {
                if self.adapter.mapped().contains(&block) {
                    break;
                }
                self.adapter.miss(block_range(block).start());
                assert!(self.adapter.work().is_ok());
            }
            self.step(Step::Use(Some(block)));
            assert!(!self.adapter.queued, "{block} is not mapped");
        }
        for block in self.adapter.online().clone() {
            self.step(Step::GoingOffline(block));
            assert!(self.leaving.contains(&block));
            self.step(Step::Offline(block));
            self.step(Step::Use(None));
        }
        assert!(self.guest().not_freed.borrow().is_empty());
        self.adapter.close();
    }
}

fn exchange_frames(guest: &Guest, member: &Member<'_>, count: &mut u32) {
    let Some(mut port) = member.port() else {
        return;
    };
    let backend = usize::from(member.number) - 1;
    for len in [1500, 3000] {
        *count += 1;
        let frame = TestFrame::raw(TestFrame::PEER, len, *count);
        let what = Frame {
            len: len as u32,
            linear_len: len as u32,
            ..Frame::default()
        };
        assert_eq!(port.send(&frame, &[len], what), Ok(true));
        port.complete();
        assert_eq!(guest.machine.borrow_mut().take_sent(backend), [frame]);

        let frame = TestFrame::raw(member.mac(), len, *count);
        assert!(guest.machine.borrow_mut().inject(backend, &frame));
        let received = port.receive();
        assert_eq!(received.len(), 1);
        assert_eq!(received[0].1, frame);
    }
}

fn refusal() -> impl Strategy<Value = Refusal> {
    let code = prop_oneof![
        Just(ReturnCode::NOT_ENOUGH_RESOURCES),
        Just(ReturnCode::PARAMETER),
        Just(ReturnCode::HARDWARE),
        Just(ReturnCode::BUSY),
        Just(ReturnCode::LONG_BUSY_ORDER_1_SEC),
    ];
    (
        1u64..40,
        prop_oneof![Just(0u64), 0u64..20, Just(1 << 40)],
        code,
    )
        .prop_map(|(first, more, code)| Refusal {
            // An object that cannot be freed is lost. Other tests look at that.
            spare_free: true,
            opcode: None,
            calls: first..=first + more,
            code,
        })
}

fn step() -> impl Strategy<Value = Step> {
    let block = 0..BLOCKS;
    prop_oneof![
        3 => block.clone().prop_map(Step::Online),
        4 => block.clone().prop_map(|block| Step::Use(Some(block))),
        1 => Just(Step::Use(None)),
        4 => Just(Step::Work),
        3 => block.clone().prop_map(Step::GoingOffline),
        3 => block.clone().prop_map(Step::Offline),
        1 => block.prop_map(Step::CancelOffline),
        1 => Just(Step::Reset),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_sequence_of_events(
        blocks in 0..BLOCKS,
        max_mrs in prop_oneof![Just(8u32), Just(1)],
        steps in prop::collection::vec((step(), prop::option::weighted(0.3, refusal())), 1..50),
    ) {
        let blocks: Vec<u64> = (0..blocks).collect();
        let guest = Guest::new(machine(large_pages(), max_mrs, &blocks));
        let mut watch = Watch::new(&guest, blocks);
        for (step, refusal) in steps {
            // The opening of ports is not the subject of this test.
            guest.refuse(refusal.filter(|_| !matches!(step, Step::Reset)));
            watch.step(step);
            guest.refuse(None);
        }
        watch.recover();
    }

    /// Nothing that an adapter does by itself, within what it promises, makes a difference in the
    /// end.
    #[test]
    fn any_sequence_of_events_with_a_rough_adapter(
        seed in any::<u64>(),
        blocks in 0..BLOCKS,
        max_mrs in prop_oneof![Just(8u32), Just(1)],
        steps in prop::collection::vec(step(), 1..50),
    ) {
        let blocks: Vec<u64> = (0..blocks).collect();
        let temper = Temper::Rough(Rough { seed, busy: Busy::Anywhere });
        let guest = Guest::new(tempered_machine(large_pages(), max_mrs, &blocks, temper));
        let mut watch = Watch::new(&guest, blocks);
        for step in steps {
            watch.step(step);
        }
        watch.recover();
        let stats = guest.machine.borrow().stats();
        assert_eq!((stats.late_accesses, stats.removed_accesses), (0, 0));
    }
}

/// One block is added, used and removed: each change takes one rebuild.
#[test]
fn one_rebuild_each_way() {
    let guest = Guest::new(machine(large_pages(), 8, &[0]));
    let mut watch = Watch::new(&guest, [0]);
    for round in 1..=5 {
        let hcalls = |watch: &Watch<'_>| watch.guest().calls.borrow().len();
        watch.step(Step::Online(3));
        let before = hcalls(&watch);
        for _ in 0..5 {
            watch.step(Step::Use(Some(3)));
        }
        assert!(watch.adapter.queued);
        assert_eq!(hcalls(&watch), before, "traffic makes calls");
        watch.step(Step::Work);
        // A rebuild registers the region and the keys, disables and enables the queue pairs, and
        // frees the old keys and region.
        const REBUILD: usize = 2 + 2 * (2 + 6 + 2) + 1;
        assert_eq!(hcalls(&watch) - before, REBUILD);
        watch.step(Step::Use(Some(3)));
        assert!(!watch.adapter.queued);

        let before = hcalls(&watch);
        watch.step(Step::GoingOffline(3));
        assert_eq!(hcalls(&watch) - before, REBUILD);
        watch.step(Step::Offline(3));
        assert_eq!(hcalls(&watch) - before, REBUILD);
        let generation = watch.adapter.published().unwrap();
        assert_eq!(generation.number().get(), 2 * round);
    }
    watch.recover();
}

/// The same works without room for a second region.
#[test]
fn no_room_for_a_second_region() {
    let guest = Guest::new(machine(large_pages(), 1, &[0]));
    let mut watch = Watch::new(&guest, [0]);
    watch.step(Step::Online(1));
    watch.step(Step::Use(Some(1)));
    watch.step(Step::Work);
    watch.step(Step::Use(Some(1)));
    watch.step(Step::GoingOffline(0));
    watch.step(Step::Offline(0));
    assert_eq!(watch.adapter.broke_first(), 2);
    assert_eq!(guest.most_regions.get(), 1);
    watch.recover();
}
