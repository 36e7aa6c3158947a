// SPDX-License-Identifier: GPL-2.0

//! Memory map in use, and the means by which another one is made.

use core::fmt;
use core::ops::Deref;

use super::alive::AliveCount;
use super::generation::Generation;
use super::policy::{Exclusions, MapNumber, Policy, Rebuild, Replaced};
use crate::abi::hcall::ReturnCode;
use crate::bmap::{Busmap, RealRange, RunStore};

/// Reason for which the memory map cannot be changed, or memory cannot be removed, although firmware
/// has refused nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// A port uses a region other than that of the map in use. There are never more than two.
    SecondRegion,
    /// The adapter may still reach memory that is not in the map.
    InReach,
    /// More ranges are going offline than can be remembered.
    TooManyRanges,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SecondRegion => "a port uses another memory region",
            Self::InReach => "the adapter may still reach it",
            Self::TooManyRanges => "too much memory is about to be removed",
        })
    }
}

/// Means by which memory maps are made and registered, and observer of what is done with them.
pub trait Backend {
    /// Memory of a map.
    type Runs: RunStore;
    /// Shared owner of a map.
    type Map: Deref<Target = Busmap<Self::Runs>> + Clone;
    /// Shared owner of a memory region.
    type Region;
    /// Shared owner of the number of generations.
    type Count: Deref<Target = AliveCount> + Clone;
    /// Shared owner of a map with its region.
    type Generation: Deref<Target = GenerationOf<Self>> + Clone;
    /// Reason for a failure.
    type Error: From<Obstacle>;

    /// Makes a map of all memory that is online, except for the ranges in `excluded`.
    ///
    /// # Errors
    ///
    /// There is no memory for the map.
    fn walk(&mut self, excluded: &[RealRange]) -> Result<Self::Map, Self::Error>;

    /// Registers a region for `map`.
    ///
    /// # Errors
    ///
    /// Firmware refuses, or there is no memory.
    fn register(&mut self, map: &Self::Map) -> Result<Self::Region, Self::Error>;

    /// Makes a generation one that can be shared.
    ///
    /// # Errors
    ///
    /// There is no memory. The generation is dropped then.
    fn share(&mut self, generation: GenerationOf<Self>) -> Result<Self::Generation, Self::Error>;

    /// Returns the answer of firmware, if that is what went wrong.
    fn status(error: &Self::Error) -> Option<ReturnCode>;

    /// Asks firmware again to free what it has refused to free. Returns whether anything is left.
    fn has_leftovers(&mut self) -> bool;

    /// Notes that a map is in use where there was none, outside of a rebuild.
    fn made(&mut self, generation: &Self::Generation);

    /// Notes that a rebuild begins.
    fn rebuild_begins(&mut self, rebuild: &Rebuild);

    /// Notes that the map turned out to be another one, and that a region for it is about to be
    /// registered.
    fn replacement_begins(&mut self);

    /// Notes that the region of the old map must be freed before that of the new one can be registered.
    fn breaks_first(&mut self);

    /// Notes that a rebuild has ended, with `published` in use now. The outcome is `None` if it failed.
    fn rebuild_ends(
        &mut self,
        rebuild: &Rebuild,
        outcome: Option<Replaced>,
        published: Option<&Self::Generation>,
    );
}

/// Generation of a backend.
pub type GenerationOf<B> =
    Generation<<B as Backend>::Map, <B as Backend>::Region, <B as Backend>::Count>;

/// Memory map of an adapter.
///
/// Its owner locks it as long as anything is done with it. The lock decides which map a queue pair is
/// opened with or moved to.
#[derive(Debug)]
pub struct Memory<B: Backend> {
    pub(super) policy: Policy,
    published: Option<B::Generation>,
    /// Stands for the map while there is none.
    empty: B::Map,
    /// Number of generations: the one in use, and those that a queue pair has not given up.
    alive: B::Count,
    /// Means by which maps are made. Dropped after the generation.
    pub backend: B,
}

impl<B: Backend> Memory<B> {
    /// Returns the state before anything is registered, given an empty map, and `alive` at 0.
    pub fn new(backend: B, empty: B::Map, alive: B::Count) -> Self {
        Self {
            policy: Policy::new(),
            published: None,
            empty,
            alive,
            backend,
        }
    }

    /// Returns the generation in use, if there is one.
    pub fn published(&self) -> Option<&B::Generation> {
        self.published.as_ref()
    }

    /// Returns the map in use, or an empty one if there is none.
    pub fn map(&self) -> &B::Map {
        self.published
            .as_ref()
            .map_or(&self.empty, |generation| generation.map())
    }

    /// Returns the ranges that are going offline.
    pub fn excluded(&self) -> &Exclusions {
        self.policy.excluded()
    }

    /// Returns the owner of the number of generations, and thus of regions, that exist.
    pub fn alive(&self) -> &B::Count {
        &self.alive
    }

    /// Checks whether no map but the one in use has a region.
    pub fn is_only(&self) -> bool {
        self.alive.get() == u32::from(self.published.is_some())
    }

    /// Returns the generation in use. If there is none, because it is the first one or because the last
    /// rebuild lost it, it is made.
    ///
    /// # Errors
    ///
    /// Those of [`Backend::walk`], [`Backend::register`] and [`Backend::share`].
    pub fn current(&mut self) -> Result<B::Generation, B::Error> {
        if let Some(generation) = &self.published {
            return Ok(generation.clone());
        }
        let map = self.backend.walk(self.policy.excluded().as_slice())?;
        let generation = self.register(self.policy.generation(), &map)?;
        self.publish(Some(generation.clone()));
        self.backend.made(&generation);
        Ok(generation)
    }

    /// Registers a region for `map`.
    pub(super) fn register(
        &mut self,
        number: MapNumber,
        map: &B::Map,
    ) -> Result<B::Generation, B::Error> {
        let region = self.backend.register(map)?;
        let generation = Generation::new(number, map.clone(), region, self.alive.clone());
        self.backend.share(generation)
    }

    /// Sets the generation to be used from now on.
    pub(super) fn publish(&mut self, generation: Option<B::Generation>) {
        self.published = generation;
    }
}
