// SPDX-License-Identifier: GPL-2.0

//! State of the memory map, as users see it.

use super::{
    counters::{
        Cost,
        Measurement, //
    },
    snapshot::Snapshot,
    state::AdapterState, //
};
use crate::mr::Exclusions;
use core::ops::Deref;

/// State of the memory map, as users see it.
pub(crate) struct MapState {
    snapshot: Snapshot,
    /// Ranges that are going offline.
    pub(crate) excluded: Exclusions,
    /// Number of walks of memory, which are for all adapters.
    pub(crate) walks: u64,
    /// Number of memory regions that exist.
    pub(crate) regions: u32,
    /// Blackout of the last rebuild.
    pub(crate) blackout: Cost,
    /// Longest blackout since the driver was bound.
    pub(crate) longest_blackout: Cost,
}

impl Deref for MapState {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}

impl AdapterState {
    /// Returns the state of the memory map. During a rebuild, it is that from before, except for the numbers of
    /// regions and walks. Nothing is waited for.
    pub(crate) fn map_state(&self) -> MapState {
        MapState {
            snapshot: self.follower().snapshot(),
            excluded: self.map().excluded(),
            walks: self.map().walks(),
            regions: self.follower().regions(),
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
