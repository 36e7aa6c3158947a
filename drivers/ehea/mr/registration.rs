// SPDX-License-Identifier: GPL-2.0

//! Registration of the memory map with an adapter, and the means for it.

use core::ops::Deref;

use super::alive::AliveCount;
use super::generation::Generation;
use super::obstacle::Obstacle;
use super::policy::{MapNumber, Rebuild, Replaced};
use crate::abi::hcall::ReturnCode;

/// Means by which memory maps are registered with an adapter, and observer of what is done with them.
pub trait Backend {
    /// Shared owner of a map.
    type Map: Clone;
    /// Shared owner of a memory region.
    type Region;
    /// Shared owner of the number of generations.
    type Count: Deref<Target = AliveCount> + Clone;
    /// Shared owner of a map with its region.
    type Generation: Deref<Target = GenerationOf<Self>> + Clone;
    /// Reason for a failure.
    type Error: From<Obstacle>;

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

    /// Notes that a rebuild begins in which the adapter takes part.
    fn rebuild_begins(&mut self, rebuild: &Rebuild);

    /// Notes that the map turned out to be another one, and that a region for it is about to be
    /// registered.
    fn replacement_begins(&mut self);

    /// Notes that the region of the old map must be freed before that of the new one can be registered.
    fn breaks_first(&mut self);

    /// Notes that a rebuild has ended for all adapters, with `published` in use now. The outcome is `None` if
    /// it failed.
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

/// Stage of an adapter in the replacement of the memory map.
pub(super) enum Stage<B: Backend> {
    /// It uses the map that it used before.
    Idle,
    /// The new map has a region, which no port uses yet.
    Registered(B::Generation),
    /// There is no room for a second region.
    NoRoom,
    /// The new map is in use. The old one still has its region.
    Moved(B::Generation),
    /// The new map is in use. Its region has taken the place of that of the old map.
    Remade(MapNumber, B::Map),
}

/// Registration of the memory map with an adapter.
///
/// Its owner locks it as long as anything is done with it. The lock decides which map a queue pair is
/// opened with or moved to.
pub struct Registration<B: Backend> {
    pub(super) published: Option<B::Generation>,
    pub(super) stage: Stage<B>,
    /// True if the adapter takes part in the rebuild that is under way.
    takes_part: bool,
    /// Number of generations: the one in use, and those that a queue pair has not given up.
    alive: B::Count,
    /// Means by which the map is registered. Dropped after the generation.
    pub backend: B,
}

impl<B: Backend> Registration<B> {
    /// Returns the state before anything is registered, given `alive` at 0.
    pub fn new(backend: B, alive: B::Count) -> Self {
        Self {
            published: None,
            stage: Stage::Idle,
            takes_part: false,
            alive,
            backend,
        }
    }

    /// Returns the generation in use, if there is one.
    pub fn published(&self) -> Option<&B::Generation> {
        self.published.as_ref()
    }

    /// Returns the owner of the number of generations, and thus of regions, that exist.
    pub fn alive(&self) -> &B::Count {
        &self.alive
    }

    /// Checks whether no map but the one in use has a region.
    pub fn is_only(&self) -> bool {
        self.alive.get() == u32::from(self.published.is_some())
    }

    /// Registers a region for `map` where there is none, and uses it.
    pub(super) fn make(
        &mut self,
        number: MapNumber,
        map: &B::Map,
    ) -> Result<B::Generation, B::Error> {
        let generation = self.register(number, map)?;
        self.published = Some(generation.clone());
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

    /// Begins a rebuild, in which the adapter takes part if it has a region.
    pub(super) fn begin(&mut self, rebuild: &Rebuild) {
        self.takes_part = self.published.is_some();
        if self.takes_part {
            self.backend.rebuild_begins(rebuild);
        }
    }

    /// Ends a rebuild.
    pub(super) fn end(&mut self, rebuild: &Rebuild, outcome: Option<Replaced>) {
        if self.takes_part {
            self.backend
                .rebuild_ends(rebuild, outcome, self.published.as_ref());
        }
    }
}
