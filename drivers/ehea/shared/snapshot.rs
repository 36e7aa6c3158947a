// SPDX-License-Identifier: GPL-2.0

//! State of the memory map between changes, for users who do not wait for one.

use super::memory::{
    Map,
    Memory, //
};
use crate::mr::Exclusions;
use kernel::sync::Arc;

/// State of the memory map when nothing was done with it.
///
/// It owns the map, but not the region, so that it does not prevent the removal of memory.
#[derive(Clone)]
pub(crate) struct Snapshot {
    /// Number of the map; 0 if none is registered.
    pub(crate) generation: u64,
    pub(crate) map: Arc<Map>,
    /// Size in bytes of the pages with which the map is registered; 0 if it is not.
    pub(crate) page_size: u64,
    /// Number of calls that its registration took.
    pub(crate) register_calls: u64,
    /// Ranges that are going offline.
    pub(crate) excluded: Exclusions,
}

impl Snapshot {
    /// Returns the state of `memory`.
    pub(super) fn of(memory: &Memory) -> Self {
        let published = memory.published();
        let region = published.map(|generation| generation.region());
        Self {
            generation: published.map_or(0, |generation| generation.number().get()),
            map: memory.map().clone(),
            page_size: region.map_or(0, |region| region.page_size().bytes()),
            register_calls: region.map_or(0, |region| region.register_calls()),
            excluded: *memory.excluded(),
        }
    }
}
