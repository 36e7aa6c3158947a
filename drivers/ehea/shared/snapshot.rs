// SPDX-License-Identifier: GPL-2.0

//! State of an adapter's memory map between changes, for users who do not wait for one.

use super::memory::{
    Map,
    Registration, //
};
use kernel::sync::Arc;

/// State of an adapter's memory map when nothing was done with it.
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
}

impl Snapshot {
    /// Returns the state of `registration`, where `empty` stands for no map.
    pub(super) fn of(registration: &Registration, empty: &Arc<Map>) -> Self {
        let published = registration.published();
        let region = published.map(|generation| generation.region());
        Self {
            generation: published.map_or(0, |generation| generation.number().get()),
            map: published
                .map_or(empty, |generation| generation.map())
                .clone(),
            page_size: region.map_or(0, |region| region.page_size().bytes()),
            register_calls: region.map_or(0, |region| region.register_calls()),
        }
    }
}
