// SPDX-License-Identifier: GPL-2.0

//! State of the memory map, as users see it.

use super::{
    counters::{
        Cost,
        Measurement, //
    },
    memory::Memory,
    snapshot::Snapshot,
    state::AdapterState, //
};
use core::ops::{
    Deref,
    DerefMut, //
};
use kernel::{
    sync::MutexGuard,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// Number of attempts to lock the memory map, and interval, for those who do not wait for a rebuild.
const LOCK_ATTEMPTS: u32 = 100;
const LOCK_INTERVAL: Delta = Delta::from_millis(1);

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
    snapshot: Snapshot,
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
    /// Locks the memory map, to do something with it.
    pub(super) fn lock_memory(&self) -> LockedMemory<'_> {
        LockedMemory {
            memory: self.memory.lock(),
            state: self,
        }
    }

    /// Locks the memory map as [`AdapterState::lock_memory`] does, unless others take long with it.
    pub(super) fn lock_memory_soon(&self) -> Option<LockedMemory<'_>> {
        for _ in 0..LOCK_ATTEMPTS {
            if let Some(memory) = self.memory.try_lock() {
                let state = self;
                return Some(LockedMemory { memory, state });
            }
            fsleep(LOCK_INTERVAL);
        }
        None
    }

    /// Returns the state of the memory map. During a rebuild, it is that from before, except for the number of
    /// regions. Nothing is waited for.
    pub(crate) fn map_state(&self) -> MapState {
        MapState {
            snapshot: self.snapshot.lock().clone(),
            regions: self.alive.get(),
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
