// SPDX-License-Identifier: GPL-2.0

//! What to do with the memory region when memory comes or goes.
//!
//! - Memory that was added is mapped lazily: the first buffer in it that does not translate (a
//!   *miss*) queues one rebuild of busmap and memory region, however many misses follow.
//! - Memory that is about to be removed is unmapped at once, in the memory notifier, so that
//!   firmware can take it. If that fails, the notifier refuses the removal.
//! - A range that the map does not contain costs no hypercall.
//!
//! [`Policy`] only decides; building, registering and publishing are up to the caller:
//!
//! 1. It feeds every event to [`Policy::handle`] and follows the [`Action`].
//! 2. To rebuild, it takes a [`Rebuild`] from [`Policy::begin_removal`] or
//!    [`Policy::begin_queued`], walks memory, leaves out [`Rebuild::excluded`], registers, and
//!    publishes the new map.
//! 3. It reports the result to [`Policy::finish`].
//!
//! The methods neither sleep nor allocate. The policy can live under a spin lock that the packet
//! path takes on misses, too. From `begin_…` to `finish` the caller holds a lock of its own against
//! other rebuilds, but not that of the policy: events may arrive in the meantime.

use crate::bmap::{Busmap, RealRange, RunStore};

/// How many ranges can be on their way out at the same time.
pub const MAX_EXCLUSIONS: usize = 8;

/// Misses that are ignored after the first fruitless rebuild; doubled by each further one.
const MISSES_IGNORED: u32 = 64;
/// How often that number is doubled at most.
const MAX_DOUBLINGS: u32 = 10;

/// The number of a busmap and its memory region. Each new pair has a higher one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MapNumber(u64);

impl MapNumber {
    /// The generation before the first rebuild.
    pub const FIRST: Self = Self(0);

    /// The one after this.
    const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// The number, counted from 0.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// There are more than [`MAX_EXCLUSIONS`] ranges going offline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyRanges;

/// Ranges, rounded to whole sections, that are going offline and must not be mapped.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exclusions {
    ranges: [RealRange; MAX_EXCLUSIONS],
}

impl Exclusions {
    /// All slots: the ranges, and [`RealRange::EMPTY`] in free ones. Empty ranges exclude nothing.
    pub fn as_slice(&self) -> &[RealRange] {
        &self.ranges
    }

    /// Whether any address of `range` is excluded.
    pub fn intersects(&self, range: &RealRange) -> bool {
        self.ranges.iter().any(|other| other.intersects(range))
    }

    /// Adds `range`.
    fn add(&mut self, range: RealRange) -> Result<(), TooManyRanges> {
        if self.ranges.iter().any(|other| other.contains(&range)) {
            return Ok(());
        }
        let free = self.ranges.iter_mut().find(|slot| slot.is_empty());
        *free.ok_or(TooManyRanges)? = range;
        Ok(())
    }

    /// Takes `range` out. If that would split a range and there is no room for both parts, the
    /// range stays: its memory is not mapped, which is safe.
    fn remove(&mut self, range: &RealRange) {
        let mut rest = Self::default();
        for old in &self.ranges {
            let [below, above] = old.without(range);
            if rest.add(below).is_err() || rest.add(above).is_err() {
                return;
            }
        }
        *self = rest;
    }
}

/// What happened to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryEvent {
    /// The range is about to go offline; the answer decides whether it may.
    GoingOffline(RealRange),
    /// The range stays online after all. May come without a [`MemoryEvent::GoingOffline`] before.
    CancelOffline(RealRange),
    /// The range is offline.
    Offline(RealRange),
    /// The range is online.
    Online(RealRange),
    /// A buffer at that range has no bus address.
    Miss(RealRange),
}

/// What to do about an [`MemoryEvent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Rebuild before the event's handler returns; see [`Policy::begin_removal`].
    RebuildNow,
    /// Queue a rebuild; see [`Policy::begin_queued`].
    QueueRebuild,
}

/// What a rebuild has done to the map that was in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// It still is, because the new one is the same, or because there was none. Firmware was not
    /// bothered.
    Unchanged,
    /// Another one took its place.
    Published,
}

/// A rebuild that was begun. To be given back to [`Policy::finish`].
#[derive(Debug)]
#[must_use = "misses are ignored until the rebuild is finished"]
pub struct Rebuild {
    generation: MapNumber,
    excluded: Exclusions,
    /// The range that goes offline, if that is why.
    removal: Option<RealRange>,
}

impl Rebuild {
    /// The number of the new map and region.
    pub fn generation(&self) -> MapNumber {
        self.generation
    }

    /// What to leave out of the map, for [`crate::bmap::Builder::new`].
    pub fn excluded(&self) -> &[RealRange] {
        self.excluded.as_slice()
    }

    /// Whether the rebuild is for memory that goes away.
    pub fn is_removal(&self) -> bool {
        self.removal.is_some()
    }
}

/// The state behind the decisions.
#[derive(Debug, Default)]
pub struct Policy {
    excluded: Exclusions,
    generation: MapNumber,
    /// A rebuild was asked for with [`Action::QueueRebuild`] and has not begun.
    queued: bool,
    /// Rebuilds that have begun and not finished.
    running: bool,
    /// Misses still to be ignored.
    ignore: u32,
    /// Fruitless rebuilds in a row.
    fruitless: u32,
}

impl Policy {
    /// The policy of a map that was just built, with [`MapNumber::FIRST`].
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of the published map.
    pub fn generation(&self) -> MapNumber {
        self.generation
    }

    /// The ranges that are going offline.
    pub fn excluded(&self) -> &Exclusions {
        &self.excluded
    }

    /// Whether a rebuild is queued and has not begun.
    pub fn is_queued(&self) -> bool {
        self.queued
    }

    /// Decides what to do about `event`, given the published map.
    ///
    /// # Errors
    ///
    /// [`TooManyRanges`]: the range must not go offline.
    pub fn handle<R: RunStore>(
        &mut self,
        event: MemoryEvent,
        map: &Busmap<R>,
    ) -> Result<Action, TooManyRanges> {
        match event {
            MemoryEvent::GoingOffline(range) => {
                let range = range.whole_sections();
                self.excluded.add(range)?;
                Ok(self.unmap(&range, map))
            }
            MemoryEvent::Offline(range) => {
                // The range is still mapped if it began to go offline before the driver listened.
                let range = range.whole_sections();
                self.excluded.remove(&range);
                Ok(self.unmap(&range, map))
            }
            MemoryEvent::CancelOffline(range) => {
                self.excluded.remove(&range.whole_sections());
                self.forgive();
                Ok(Action::Nothing)
            }
            MemoryEvent::Online(_) => {
                self.forgive();
                Ok(Action::Nothing)
            }
            MemoryEvent::Miss(range) => Ok(self.miss(&range, map)),
        }
    }

    /// What to do to get `range` out of the map. A running rebuild may be about to publish a map
    /// with the range, so it has to be waited for.
    fn unmap<R: RunStore>(&self, range: &RealRange, map: &Busmap<R>) -> Action {
        if self.running || map.intersects(range) {
            Action::RebuildNow
        } else {
            Action::Nothing
        }
    }

    /// What to do about a miss. While one rebuild is queued or running, more would be no help: who
    /// still misses afterwards comes back.
    fn miss<R: RunStore>(&mut self, range: &RealRange, map: &Busmap<R>) -> Action {
        if self.queued
            || self.running
            || self.excluded.intersects(range)
            || map.translate(range.start(), range.len()).is_some()
        {
            return Action::Nothing;
        }
        if self.ignore > 0 {
            self.ignore = self.ignore.saturating_sub(1);
            return Action::Nothing;
        }
        self.queued = true;
        Action::QueueRebuild
    }

    /// Memory changed: the next miss may be worth a rebuild again.
    fn forgive(&mut self) {
        self.ignore = 0;
        self.fruitless = 0;
    }

    /// Begins the rebuild that [`Action::QueueRebuild`] asked for. None if another rebuild has made
    /// it superfluous.
    pub fn begin_queued(&mut self) -> Option<Rebuild> {
        self.queued.then(|| self.begin(None))
    }

    /// Begins the rebuild that [`Action::RebuildNow`] asked for, about the `range` of the event,
    /// given the map that is published now, when no other rebuild runs. None if the map does not
    /// contain the range, or no longer.
    pub fn begin_removal<R: RunStore>(
        &mut self,
        range: RealRange,
        map: &Busmap<R>,
    ) -> Option<Rebuild> {
        let range = range.whole_sections();
        map.intersects(&range).then(|| self.begin(Some(range)))
    }

    /// Every rebuild starts with a fresh walk of memory, so that it covers a queued one.
    fn begin(&mut self, removal: Option<RealRange>) -> Rebuild {
        self.queued = false;
        self.running = true;
        Rebuild {
            generation: self.generation.next(),
            excluded: self.excluded,
            removal,
        }
    }

    /// Takes note of how a rebuild ended.
    ///
    /// `None` stands for one that failed. After such a rebuild for [`MemoryEvent::GoingOffline`] the range counts as staying, and the
    /// caller must refuse the event. After a rebuild that brought nothing, a number of misses is
    /// ignored before the next is queued, the more the more often it happens, until memory changes:
    /// buffers in memory that is not to be mapped would otherwise cause rebuilds for ever.
    pub fn finish(&mut self, rebuild: Rebuild, outcome: Option<Replaced>) {
        self.running = false;
        match outcome {
            Some(Replaced::Published) => {
                self.generation = rebuild.generation;
                self.forgive();
            }
            Some(Replaced::Unchanged) | None => {
                if let Some(range) = rebuild.removal {
                    self.excluded.remove(&range);
                }
                self.ignore = MISSES_IGNORED << self.fruitless.min(MAX_DOUBLINGS);
                self.fruitless = self.fruitless.saturating_add(1);
            }
        }
    }
}
