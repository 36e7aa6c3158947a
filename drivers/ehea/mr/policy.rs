// SPDX-License-Identifier: GPL-2.0

//! Policy for the memory region when memory comes or goes.
//!
//! - Memory that was added is mapped lazily: the first buffer in it that does not translate (a
//!   *miss*) queues one rebuild of busmap and memory region, however many misses follow.
//! - Memory that is about to be removed is unmapped at once, in the memory notifier, so that
//!   firmware can take it. If that fails, the notifier refuses the removal.
//! - A range that the map does not contain costs no hypercall.
//!
//! [`Policy`] only decides. Building, registering and publishing are up to the caller:
//!
//! 1. It feeds every event to [`Policy::handle`] and follows the [`Action`].
//! 2. To rebuild, it takes a [`Rebuild`] from [`Policy::begin_removal`] or
//!    [`Policy::begin_queued`], walks memory, leaves out [`Rebuild::excluded`], registers, and
//!    publishes the new map.
//! 3. It reports the result to [`Policy::finish`].
//!
//! The methods neither sleep nor allocate, so the policy can be protected by a spin lock. From
//! `begin_…` to `finish` the caller prevents other rebuilds. It need not lock the policy for that
//! long: events may arrive in the meantime.

use crate::bmap::{Busmap, RealRange, RunStore};

/// Maximum number of ranges that can go offline at the same time.
pub const MAX_EXCLUSIONS: usize = 8;

/// Number of misses that are ignored after the first fruitless rebuild. Each further one doubles
/// it.
const MISSES_IGNORED: u32 = 64;
/// Maximum number of times that it is doubled.
const MAX_DOUBLINGS: u32 = 10;

/// Number of a busmap and its memory region. Each new pair has a higher one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MapNumber(u64);

impl MapNumber {
    /// Returns the next number.
    const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// Returns the number, counted from 0.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Refusal, because more than [`MAX_EXCLUSIONS`] ranges would be going offline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyRanges;

/// Ranges, rounded to whole sections, that are going offline and must not be mapped.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exclusions {
    ranges: [RealRange; MAX_EXCLUSIONS],
}

impl Exclusions {
    /// Returns all slots: the ranges, and [`RealRange::EMPTY`] in free slots. Empty ranges exclude
    /// nothing.
    pub fn as_slice(&self) -> &[RealRange] {
        &self.ranges
    }

    /// Checks whether any address of `range` is excluded.
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

    /// Removes `range`. If that would split a range and there is no room for both parts, the range
    /// stays. Its memory is not mapped then, which is safe.
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

/// Event about memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryEvent {
    /// The range is about to go offline. The answer decides whether it may.
    GoingOffline(RealRange),
    /// The range stays online after all. The event may come without a [`MemoryEvent::GoingOffline`]
    /// before it.
    CancelOffline(RealRange),
    /// The range is offline.
    Offline(RealRange),
    /// The range is online.
    Online(RealRange),
    /// A buffer in the range has no adapter address. Something else takes its place.
    Miss(RealRange),
    /// The range has no adapter address, and somebody waits for one.
    Request(RealRange),
}

/// Answer to a [`MemoryEvent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Rebuild the map before the handler of the event returns; see [`Policy::begin_removal`].
    RebuildNow,
    /// Queue a rebuild of the map; see [`Policy::begin_queued`].
    QueueRebuild,
}

/// Effect of a rebuild on the map that was in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// The map is still in use, because the new one is the same, or because there was none. No
    /// hypercall was made.
    Unchanged,
    /// Another map has taken its place.
    Published,
}

/// Rebuild that was begun. It ends with [`Policy::finish`].
#[derive(Debug)]
#[must_use = "misses are ignored until the rebuild is finished"]
pub struct Rebuild {
    generation: MapNumber,
    excluded: Exclusions,
    /// Range that goes offline, if that is the reason.
    removal: Option<RealRange>,
}

impl Rebuild {
    /// Returns the number of the new map and region.
    pub fn generation(&self) -> MapNumber {
        self.generation
    }

    /// Returns the ranges to be left out of the map, for [`crate::bmap::Builder::new`].
    pub fn excluded(&self) -> &[RealRange] {
        self.excluded.as_slice()
    }

    /// Checks whether the rebuild is for memory that goes away.
    pub fn is_removal(&self) -> bool {
        self.removal.is_some()
    }
}

/// State from which decisions are made.
#[derive(Debug, Default)]
pub struct Policy {
    excluded: Exclusions,
    generation: MapNumber,
    /// True if a rebuild was requested with [`Action::QueueRebuild`] and has not begun.
    queued: bool,
    /// True if a rebuild has begun and not finished.
    running: bool,
    /// Number of misses that are still to be ignored.
    ignore: u32,
    /// Number of fruitless rebuilds in a row.
    fruitless: u32,
}

impl Policy {
    /// Returns the policy for a map that was just built, with the first number.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the number of the published map.
    pub fn generation(&self) -> MapNumber {
        self.generation
    }

    /// Returns the ranges that are going offline.
    pub fn excluded(&self) -> &Exclusions {
        &self.excluded
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
            MemoryEvent::Request(range) => Ok(self.request(&range, map)),
        }
    }

    /// Returns the action that gets `range` out of the map. A running rebuild may be about to
    /// publish a map with the range, so another rebuild has to follow it.
    fn unmap<R: RunStore>(&self, range: &RealRange, map: &Busmap<R>) -> Action {
        if self.running || map.intersects(range) {
            Action::RebuildNow
        } else {
            Action::Nothing
        }
    }

    /// Returns the action for a miss, some of which are ignored.
    fn miss<R: RunStore>(&mut self, range: &RealRange, map: &Busmap<R>) -> Action {
        if self.ignore > 0 && self.is_wanted(range, map) {
            self.ignore = self.ignore.saturating_sub(1);
            return Action::Nothing;
        }
        self.request(range, map)
    }

    /// Returns the action for a request.
    fn request<R: RunStore>(&mut self, range: &RealRange, map: &Busmap<R>) -> Action {
        if !self.is_wanted(range, map) {
            return Action::Nothing;
        }
        self.queued = true;
        Action::QueueRebuild
    }

    /// Checks whether a rebuild for `range` would be worth it. None is queued while another one is queued
    /// or running. A buffer that is not in the new map either will miss again.
    fn is_wanted<R: RunStore>(&self, range: &RealRange, map: &Busmap<R>) -> bool {
        !self.queued
            && !self.running
            && !self.excluded.intersects(range)
            && map.translate(range.start(), range.len()).is_none()
    }

    /// Forgets fruitless rebuilds, because memory has changed and the next miss may be worth a
    /// rebuild.
    fn forgive(&mut self) {
        self.ignore = 0;
        self.fruitless = 0;
    }

    /// Begins the rebuild that [`Action::QueueRebuild`] requested. Returns `None` if another
    /// rebuild has made it superfluous.
    pub fn begin_queued(&mut self) -> Option<Rebuild> {
        self.queued.then(|| self.begin(None))
    }

    /// Begins the rebuild that [`Action::RebuildNow`] requested for the `range` of the event. `map`
    /// is the published map. No other rebuild may run. Returns `None` if the map does not contain
    /// the range.
    pub fn begin_removal<R: RunStore>(
        &mut self,
        range: RealRange,
        map: &Busmap<R>,
    ) -> Option<Rebuild> {
        let range = range.whole_sections();
        map.intersects(&range).then(|| self.begin(Some(range)))
    }

    /// Begins a rebuild. Every rebuild starts with a fresh walk of memory, so it also does the work
    /// of a queued one.
    fn begin(&mut self, removal: Option<RealRange>) -> Rebuild {
        self.queued = false;
        self.running = true;
        Rebuild {
            generation: self.generation.next(),
            excluded: self.excluded,
            removal,
        }
    }

    /// Ends a rebuild with its outcome, or with `None` if it has failed.
    ///
    /// If a rebuild for [`MemoryEvent::GoingOffline`] fails, the range counts as staying, and the
    /// caller must refuse the event. After a fruitless rebuild, a number of misses is ignored
    /// before the next one is queued. The number grows with each repetition, until memory changes.
    /// Without it, buffers in memory that must not be mapped would cause rebuilds for ever.
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
