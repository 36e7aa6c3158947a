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
pub(super) struct Snapshot {
    pub(super) generation: u64,
    pub(super) map: Arc<Map>,
    pub(super) page_size: u64,
    pub(super) register_calls: u64,
    pub(super) excluded: Exclusions,
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
