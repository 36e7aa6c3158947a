// SPDX-License-Identifier: GPL-2.0

//! Memory map with its region, and keys by which work requests refer to it.

use core::ops::Deref;

use super::alive::{Alive, AliveCount};
use super::policy::MapNumber;
use super::region::{MemoryRegion, SharedRegion};
use crate::hcall::{HcallError, Hypervisor};

/// Memory map together with the region that is registered for it. It never changes.
///
/// `M` is a shared owner of the map, `R` one of the region, `C` one of the number of generations. The
/// region is freed when the last owner of the generation drops it, which must be in process context.
#[derive(Debug)]
pub struct Generation<M, R, C: Deref<Target = AliveCount>> {
    number: MapNumber,
    map: M,
    region: R,
    // Dropped after the region.
    _alive: Alive<C>,
}

impl<M, R, C: Deref<Target = AliveCount>> Generation<M, R, C> {
    /// Returns the generation of `map`, for which `region` is registered, and counts it.
    pub fn new(number: MapNumber, map: M, region: R, alive: C) -> Self {
        Self {
            number,
            map,
            region,
            _alive: Alive::new(alive),
        }
    }

    /// Returns the number of the generation.
    pub fn number(&self) -> MapNumber {
        self.number
    }

    /// Returns the map.
    pub fn map(&self) -> &M {
        &self.map
    }

    /// Returns the region.
    pub fn region(&self) -> &R {
        &self.region
    }
}

/// Memory map, and the key by which work requests refer to its region.
#[derive(Clone, Debug)]
pub struct Translation<M> {
    /// Shared owner of the map.
    pub map: M,
    /// Key in each work request.
    pub key: u32,
}

/// Keys by which the work requests of a queue pair refer to a generation. `G` is a shared owner of the
/// generation, `R` one of its region.
///
/// Dropping them frees them, in process context.
#[derive(Debug)]
pub struct Keys<H: Hypervisor, R: Deref<Target = MemoryRegion<H>>, G> {
    send: SharedRegion<H, R>,
    receive: SharedRegion<H, R>,
    generation: G,
}

impl<H, M, R, C, G> Keys<H, R, G>
where
    H: Hypervisor,
    M: Clone,
    R: Deref<Target = MemoryRegion<H>> + Clone,
    C: Deref<Target = AliveCount>,
    G: Deref<Target = Generation<M, R, C>> + Clone,
{
    /// Makes keys for the region of `generation`.
    ///
    /// # Errors
    ///
    /// Those of [`SharedRegion::register`]. Nothing stays allocated then.
    pub fn new(generation: &G) -> Result<Self, HcallError> {
        Ok(Self {
            send: SharedRegion::register(generation.region.clone())?,
            receive: SharedRegion::register(generation.region.clone())?,
            generation: generation.clone(),
        })
    }

    /// Returns the map and the key for work requests that send.
    pub fn send(&self) -> Translation<M> {
        Translation {
            map: self.generation.map.clone(),
            key: self.send.lkey(),
        }
    }

    /// Returns the map and the key for work requests that receive.
    pub fn receive(&self) -> Translation<M> {
        Translation {
            map: self.generation.map.clone(),
            key: self.receive.lkey(),
        }
    }

    /// Returns the generation that the keys refer to.
    pub fn generation(&self) -> &G {
        &self.generation
    }
}
