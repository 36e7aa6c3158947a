// SPDX-License-Identifier: GPL-2.0

//! Memory map of all adapters of the module.

use super::{
    follower::{
        lock_soon,
        Follower, //
    },
    memory::{
        empty_map,
        Generation,
        Map,
        Memory,
        Ram, //
    }, //
};
use crate::{
    error::{
        Error,
        Result, //
    },
    kernel_ext::net::stats::Counter,
    mr::{
        Exclusions,
        Failure,
        MemoryEvent,
        Replaced, //
    }, //
};
use core::ops::{
    Deref,
    DerefMut, //
};
use kernel::{
    device,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex,
        MutexGuard, //
    }, //
};

/// Failure to change the memory map.
pub(super) struct Refusal {
    pub(super) error: Error,
    /// Adapter that has failed; `None` if it concerns all of them.
    follower: Option<Arc<Follower>>,
}

/// Result of something that changes the memory map.
pub(super) type Followed = core::result::Result<Replaced, Refusal>;

impl Refusal {
    /// Returns the device of the adapter that has failed.
    pub(super) fn dev(&self) -> Option<&device::Device> {
        self.follower.as_ref().map(|follower| follower.dev())
    }
}

/// Memory map, and the adapters that follow it.
pub(super) struct Followers {
    memory: Memory,
    list: KVec<Arc<Follower>>,
}

impl Followers {
    fn refusal(&self, failure: Failure<Error>) -> Refusal {
        let follower = failure.adapter.and_then(|index| self.list.get(index));
        Refusal {
            error: failure.error,
            follower: follower.cloned(),
        }
    }

    /// Maps the memory at real address `address`, which a buffer has missed, unless it is mapped or is not to be
    /// mapped now.
    pub(super) fn map_missed(&mut self, address: u64) -> Followed {
        let result = self.memory.map_missed(&self.list, address);
        result.map_err(|failure| self.refusal(failure))
    }

    /// Maps the memory at real address `address`, which somebody waits for, unless it is mapped or is not to be
    /// mapped now.
    pub(super) fn map_requested(&mut self, address: u64) -> Followed {
        let result = self.memory.map_requested(&self.list, address);
        result.map_err(|failure| self.refusal(failure))
    }

    /// Follows an event about memory.
    pub(super) fn follow(&mut self, event: MemoryEvent) -> Followed {
        let result = self.memory.follow(&self.list, event);
        result.map_err(|failure| self.refusal(failure))
    }

    /// Counts a removal of memory that was refused, for all adapters.
    pub(super) fn count_refused(&self) {
        for follower in &self.list {
            follower.rebuilds().refused.inc();
        }
    }
}

/// Memory map of all adapters of the module.
///
/// Memory is walked for all of them at once. Each registers its region of the map.
#[pin_data]
pub(crate) struct MemoryMap {
    #[pin]
    followers: Mutex<Followers>,
    // What users see of ranges that are going offline. Locked for a moment only.
    #[pin]
    excluded: Mutex<Exclusions>,
    walks: Arc<Counter>,
    empty: Arc<Map>,
}

impl MemoryMap {
    /// Returns the state before any map is made, without adapters.
    pub(super) fn new() -> Result<Arc<Self>> {
        let walks = Arc::new(Counter::new(), GFP_KERNEL)?;
        let empty = empty_map()?;
        let memory = Memory::new(Ram(walks.clone()), empty.clone());
        Ok(Arc::pin_init(
            pin_init!(Self {
                followers <- new_mutex!(Followers {
                    memory,
                    list: KVec::new(),
                }),
                excluded <- new_mutex!(Exclusions::default()),
                walks,
                empty,
            }),
            GFP_KERNEL,
        )?)
    }

    /// Locks the map, to do something with it.
    pub(super) fn lock(&self) -> LockedMap<'_> {
        LockedMap {
            followers: self.followers.lock(),
            map: self,
        }
    }

    /// Adds an adapter. It follows the map from now on.
    pub(super) fn join(&self, follower: &Arc<Follower>) -> Result {
        Ok(self.lock().list.push(follower.clone(), GFP_KERNEL)?)
    }

    /// Removes an adapter, which has no ports any more.
    pub(super) fn leave(&self, follower: &Arc<Follower>) {
        self.lock()
            .list
            .retain(|other| !Arc::ptr_eq(other, follower));
    }

    /// Makes a region for an adapter, if there is none.
    pub(super) fn register(&self, follower: &Follower) -> Result {
        let mut map = self.lock();
        map.memory.current(&mut follower.lock())?;
        Ok(())
    }

    /// Calls `f` with the generation that an adapter uses, which stays in use until `f` returns. The region is made
    /// if there is none. Returns `None` if others take long with the map, or with the adapter's region.
    pub(super) fn with_generation<T>(
        &self,
        follower: &Follower,
        f: impl FnOnce(&Arc<Generation>) -> Result<T>,
    ) -> Option<Result<T>> {
        {
            let registration = follower.lock_soon()?;
            if let Some(generation) = registration.published() {
                return Some(f(generation));
            }
        }
        // Regions are made under the lock of the map only, which comes first.
        let mut map = LockedMap {
            followers: lock_soon(&self.followers)?,
            map: self,
        };
        let mut registration = follower.lock_soon()?;
        let generation = map.memory.current(&mut registration);
        drop(map);
        Some(generation.and_then(|generation| f(&generation)))
    }

    /// Returns the ranges that are going offline. During a rebuild, they are those from before.
    pub(super) fn excluded(&self) -> Exclusions {
        *self.excluded.lock()
    }

    /// Returns the number of walks of memory.
    pub(super) fn walks(&self) -> u64 {
        self.walks.get()
    }

    /// Returns an empty map.
    pub(super) fn empty(&self) -> &Arc<Map> {
        &self.empty
    }
}

/// Memory map, locked. Users see what was done with it when this is dropped.
pub(super) struct LockedMap<'a> {
    followers: MutexGuard<'a, Followers>,
    map: &'a MemoryMap,
}

impl Deref for LockedMap<'_> {
    type Target = Followers;

    fn deref(&self) -> &Followers {
        &self.followers
    }
}

impl DerefMut for LockedMap<'_> {
    fn deref_mut(&mut self) -> &mut Followers {
        &mut self.followers
    }
}

impl Drop for LockedMap<'_> {
    fn drop(&mut self) {
        *self.map.excluded.lock() = *self.followers.memory.excluded();
    }
}
