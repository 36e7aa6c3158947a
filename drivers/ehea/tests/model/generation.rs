// SPDX-License-Identifier: GPL-2.0

//! A memory map with its region, and keys to it, like the driver's.

use std::rc::Rc;

use ehea_core::abi::cb::adapter::PageSizes;
use ehea_core::hcall::HcallError;
use ehea_core::mr::{self, Alive, AliveCount, MemoryRegion, RegisterError, SharedRegion};

use super::guest::{Guest, Map};

/// A memory map together with the region that is registered for it.
pub(crate) struct Generation<'a> {
    pub(crate) number: mr::MapNumber,
    pub(crate) map: Rc<Map>,
    pub(crate) region: Rc<MemoryRegion<&'a Guest>>,
    // Dropped after the region.
    _alive: Alive<Rc<AliveCount>>,
}

impl<'a> Generation<'a> {
    /// Registers a region for `map`.
    pub(crate) fn register(
        guest: &'a Guest,
        sizes: PageSizes,
        number: mr::MapNumber,
        map: impl Into<Rc<Map>>,
        alive: &Rc<AliveCount>,
    ) -> Result<Rc<Self>, RegisterError> {
        let map = map.into();
        let region = MemoryRegion::register(&guest.firmware(), &mut guest.list(), &map, sizes)?;
        Ok(Rc::new(Self {
            number,
            map,
            region: Rc::new(region),
            _alive: Alive::new(alive.clone()),
        }))
    }
}

type Key<'a> = SharedRegion<&'a Guest, Rc<MemoryRegion<&'a Guest>>>;

/// Keys by which the work requests of a queue pair refer to a generation.
pub(crate) struct Keys<'a> {
    pub(crate) send: Key<'a>,
    pub(crate) receive: Key<'a>,
    pub(crate) generation: Rc<Generation<'a>>,
}

impl<'a> Keys<'a> {
    /// Makes keys for the region of `generation`.
    pub(crate) fn new(generation: &Rc<Generation<'a>>) -> Result<Self, HcallError> {
        Ok(Self {
            send: SharedRegion::register(generation.region.clone())?,
            receive: SharedRegion::register(generation.region.clone())?,
            generation: generation.clone(),
        })
    }
}
