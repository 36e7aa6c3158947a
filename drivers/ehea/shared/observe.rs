// SPDX-License-Identifier: GPL-2.0

//! State of the memory map, as users see it.

use super::{
    counters::{
        Cost,
        Measurement, //
    },
    memory::{
        Map,
        Memory, //
    },
    snapshot::Snapshot,
    state::AdapterState, //
};
use crate::mr::Exclusions;
use core::ops::{
    Deref,
    DerefMut, //
};
use kernel::sync::{
    Arc,
    MutexGuard, //
};

/// Memory map, locked. Users see what was done with it when this is dropped.
pub(super) struct LockedMemory<'a> {
    memory: MutexGuard<'a, Memory>,
    state: &'a AdapterState,
}

impl Deref for LockedMemory<'_> {
    type Target = Memory;

    fn deref(&self) -> &Memory {
        &self.memory
    }
}

impl DerefMut for LockedMemory<'_> {
    fn deref_mut(&mut self) -> &mut Memory {
        &mut self.memory
    }
}

impl Drop for LockedMemory<'_> {
    fn drop(&mut self) {
        let now = Snapshot::of(&self.memory);
        let before = core::mem::replace(&mut *self.state.snapshot.lock(), now);
        // Freed here, not under the lock.
        drop(before);
    }
}

/// State of the memory map, as users see it.
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
    /// Locks the memory map, to do something with it.
    pub(super) fn lock_memory(&self) -> LockedMemory<'_> {
        LockedMemory {
            memory: self.memory.lock(),
            state: self,
        }
    }

    /// Returns the state of the memory map. During a rebuild, it is that from before, except for the number of
    /// regions. Nothing is waited for.
    pub(crate) fn map_state(&self) -> MapState {
        let snapshot = self.snapshot.lock().clone();
        MapState {
            generation: snapshot.generation,
            map: snapshot.map,
            page_size: snapshot.page_size,
            register_calls: snapshot.register_calls,
            regions: self.alive.get(),
            excluded: snapshot.excluded,
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
