// SPDX-License-Identifier: GPL-2.0

//! Memory maps of the test machine with their regions, and keys to them.

use std::rc::Rc;

use ehea_core::abi::cb::adapter::PageSizes;
use ehea_core::mr::{self, AliveCount, MemoryRegion, RegisterError};

use super::guest::{Guest, Map};

/// Shared owner of a region.
pub(crate) type Region<'a> = Rc<MemoryRegion<&'a Guest>>;
/// A memory map together with the region that is registered for it.
pub(crate) type Generation<'a> = mr::Generation<Rc<Map>, Region<'a>, Rc<AliveCount>>;
/// Keys by which the work requests of a queue pair refer to a generation.
pub(crate) type Keys<'a> = mr::Keys<&'a Guest, Region<'a>, Rc<Generation<'a>>>;

/// Registers a region for `map`.
pub(crate) fn register<'a>(
    guest: &'a Guest,
    sizes: PageSizes,
    map: &Map,
) -> Result<Region<'a>, RegisterError> {
    MemoryRegion::register(&guest.firmware(), &mut guest.list(), map, sizes).map(Rc::new)
}
