// SPDX-License-Identifier: GPL-2.0

//! Memory map in use, which is one for all adapters.

use core::ops::Deref;

use super::obstacle::Obstacle;
use super::policy::{Exclusions, Policy};
use super::registration::{Backend, Registration};
use crate::bmap::{Busmap, RealRange, RunStore};

/// Memory of which maps are made.
pub trait Source {
    /// Memory of a map.
    type Runs: RunStore;
    /// Shared owner of a map.
    type Map: Deref<Target = Busmap<Self::Runs>> + Clone;
    /// Reason for a failure.
    type Error: From<Obstacle>;

    /// Makes a map of all memory that is online, except for the ranges in `excluded`.
    ///
    /// # Errors
    ///
    /// There is no memory for the map.
    fn walk(&mut self, excluded: &[RealRange]) -> Result<Self::Map, Self::Error>;
}

/// Memory map of all adapters. Each registers its region of it.
///
/// Its owner locks it as long as anything is done with it. A region is registered or freed under this lock
/// only.
#[derive(Debug)]
pub struct Memory<S: Source> {
    pub(super) policy: Policy,
    /// Map in use. Each adapter that has a region has that of this map.
    made: Option<S::Map>,
    /// Stands for the map while there is none.
    empty: S::Map,
    /// Memory of which maps are made.
    pub source: S,
}

impl<S: Source> Memory<S> {
    /// Returns the state before any map is made, given an empty one.
    pub fn new(source: S, empty: S::Map) -> Self {
        Self {
            policy: Policy::new(),
            made: None,
            empty,
            source,
        }
    }

    /// Returns the map in use, or an empty one if there is none.
    pub fn map(&self) -> &S::Map {
        self.made.as_ref().unwrap_or(&self.empty)
    }

    /// Returns the ranges that are going offline.
    pub fn excluded(&self) -> &Exclusions {
        self.policy.excluded()
    }

    /// Returns the map in use, if there is one.
    pub(super) fn made(&self) -> Option<&S::Map> {
        self.made.as_ref()
    }

    /// Sets the map to be used from now on.
    pub(super) fn set(&mut self, map: S::Map) {
        self.made = Some(map);
    }

    /// Returns the generation that an adapter uses. If there is none, because it is the first one or because
    /// the last rebuild lost it, a region is registered for the map in use. If there is no map either, it is
    /// made.
    ///
    /// # Errors
    ///
    /// Those of [`Source::walk`], [`Backend::register`] and [`Backend::share`].
    pub fn current<B>(
        &mut self,
        registration: &mut Registration<B>,
    ) -> Result<B::Generation, B::Error>
    where
        B: Backend<Map = S::Map, Error = S::Error>,
    {
        if let Some(generation) = registration.published() {
            return Ok(generation.clone());
        }
        let map = match &self.made {
            Some(map) => map.clone(),
            None => {
                let map = self.source.walk(self.policy.excluded().as_slice())?;
                self.made.insert(map).clone()
            }
        };
        registration.make(self.policy.generation(), &map)
    }
}
