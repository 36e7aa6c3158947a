// SPDX-License-Identifier: GPL-2.0

//! State of the memory map, as users see it.

use super::{
    counters::{
        Cost,
        Measurement, //
    },
    memory::Map,
    state::AdapterState, //
};
use crate::mr::Exclusions;
use kernel::sync::Arc;

/// State of the memory map at one time.
///
/// It owns the map, but not the region, so that it does not prevent the removal of memory.
pub(crate) struct MapState {
    /// Number of the map; 0 if none is registered.
    pub(crate) generation: u64,
    pub(crate) map: Arc<Map>,
    /// Size in bytes of the pages with which the map is registered; 0 if it is not.
    pub(crate) page_size: u64,
    /// Number of calls that its registration took.
    pub(crate) register_calls: u64,
    /// Number of memory regions that exist.
    pub(crate) regions: u32,
    /// Ranges that are going offline.
    pub(crate) excluded: Exclusions,
    /// Blackout of the last rebuild.
    pub(crate) blackout: Cost,
    /// Longest blackout since the driver was bound.
    pub(crate) longest_blackout: Cost,
}

impl AdapterState {
    /// Returns the state of the memory map in use. Waits for a rebuild that is under way.
    pub(crate) fn map_state(&self) -> MapState {
        let memory = self.memory.lock();
        let published = memory.published();
        let region = published.map(|generation| generation.region());
        MapState {
            generation: published.map_or(0, |generation| generation.number().get()),
            map: memory.map().clone(),
            page_size: region.map_or(0, |region| region.page_size().bytes()),
            register_calls: region.map_or(0, |region| region.register_calls()),
            regions: memory.regions(),
            excluded: *memory.excluded(),
            blackout: self.rebuilds.last_blackout.cost(),
            longest_blackout: self.rebuilds.longest_blackout.cost(),
        }
    }

    /// Begins the measurement of a queue pair's blackout, when it ceases to carry traffic.
    pub(crate) fn begin_blackout(&self) -> Measurement {
        Measurement::begin(self.firmware())
    }

    /// Ends the measurement of a blackout, when the queue pair carries traffic again.
    pub(crate) fn end_blackout(&self, blackout: Measurement) {
        let cost = blackout.end(self.firmware());
        self.rebuilds.last_blackout.record(&cost);
        self.rebuilds.longest_blackout.record(&cost);
    }
}
