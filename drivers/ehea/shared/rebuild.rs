// SPDX-License-Identifier: GPL-2.0

//! Occasions on which the memory map is rebuilt.
//!
//! [`mr::Memory`](crate::mr::Memory) decides what is done then, and in which order.

use super::{
    follower::Follower,
    map::{
        Followed,
        MemoryMap,
        Refusal, //
    },
    state::AdapterState, //
};
use crate::{
    bmap::RealRange,
    error::Result,
    kernel_ext::{
        common::{
            Common,
            User, //
        },
        memory::Range,
        memory_hotplug::{
            self,
            Event,
            MemoryNotifier, //
        }, //
    },
    mr::{
        MemoryEvent,
        Replaced, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

impl AdapterState {
    /// Rebuilds the map if the buffer that was reported last is still not in it. Returns its address with the
    /// reason if that has failed.
    pub(super) fn rebuild_for_miss(&self) -> Option<(u64, Refusal)> {
        self.missed.take(|address| {
            let result = self.map().lock().map_missed(address);
            result.err().map(|refusal| (address, refusal))
        })?
    }

    /// Maps the memory at real address `address`, which somebody waits for, unless it is mapped, or is not
    /// to be mapped now.
    pub(crate) fn map_requested(&self, address: u64) -> Result {
        let result = self.map().lock().map_requested(address);
        result.map(drop).map_err(|refusal| refusal.error)
    }

    /// Moves a port that was just added to the map in use. It has missed any rebuild that was done
    /// before it was added.
    pub(super) fn member_added(&self) {
        self.follower().lock().settle(self.members());
    }
}

impl MemoryMap {
    /// Follows a notification about `range`.
    fn memory_event(&self, event: Event, range: Range) -> Followed {
        let Some(range) = RealRange::new(range.base, range.len) else {
            return Ok(Replaced::Unchanged);
        };
        let event = match event {
            Event::GoingOffline => MemoryEvent::GoingOffline(range),
            Event::CancelOffline => MemoryEvent::CancelOffline(range),
            Event::Offline => MemoryEvent::Offline(range),
            Event::Online => MemoryEvent::Online(range),
            Event::GoingOnline | Event::CancelOnline => return Ok(Replaced::Unchanged),
        };
        let mut map = self.lock();
        let result = map.follow(event);
        if result.is_err() {
            map.count_refused();
        }
        result
    }
}

/// Receiver of memory hotplug notifications.
///
/// It is called with the memory hotplug lock, so it does not take RTNL. It allocates memory, but
/// none while queue pairs pause: to free memory, the kernel may have to write pages over this very
/// network.
struct Hotplug {
    map: Arc<MemoryMap>,
}

impl memory_hotplug::Handler for Hotplug {
    fn notify(&self, event: Event, range: Range) -> kernel::error::Result {
        let followed = self.map.memory_event(event, range);
        followed.map(drop).map_err(|refusal| {
            let Range { base, len } = range;
            let error = refusal.error;
            match refusal.dev() {
                Some(dev) => dev_err!(
                    dev,
                    "memory at {:#x}, {:#x} bytes, can't be removed: {}\n",
                    base,
                    len,
                    error
                ),
                None => pr_err!(
                    "memory at {:#x}, {:#x} bytes, can't be removed: {}\n",
                    base,
                    len,
                    error
                ),
            }
            error.to_errno()
        })
    }
}

/// Memory map and memory notifier of the module, which are there as long as there are adapters.
static MEMORY: Common<MemoryNotifier<Hotplug>> = Common::new();

/// User of the module's memory map, which follows memory hotplug meanwhile.
pub(crate) struct MapUser(User<MemoryNotifier<Hotplug>>);

impl MapUser {
    /// Makes a user of the map. The first one makes the map and begins to listen. Process context.
    pub(crate) fn new() -> Result<Self> {
        let user = MEMORY.get(|| {
            let hotplug = Hotplug {
                map: MemoryMap::new().map_err(|error| error.to_errno())?,
            };
            Arc::pin_init(MemoryNotifier::new(hotplug), GFP_KERNEL)
        })?;
        Ok(Self(user))
    }

    /// Returns the map.
    pub(crate) fn map(&self) -> &Arc<MemoryMap> {
        &self.0.map
    }
}

/// Adapter in the list of those that follow the memory map. It leaves on drop, when it has no ports any more.
pub(crate) struct Following {
    follower: Arc<Follower>,
    // Dropped last: nobody listens any more after the last one.
    user: MapUser,
}

impl Following {
    /// Makes an adapter follow the map.
    pub(crate) fn new(user: MapUser, state: &AdapterState) -> Result<Self> {
        let follower = state.follower().clone();
        user.map().join(&follower)?;
        Ok(Self { follower, user })
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.user.map().leave(&self.follower);
    }
}
