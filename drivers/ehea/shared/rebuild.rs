// SPDX-License-Identifier: GPL-2.0

//! Occasions on which the memory map is rebuilt.
//!
//! [`mr::Memory`](crate::mr::Memory) decides what is done then, and in which order.

use super::{
    state::AdapterState,
    worker::Adapter, //
};
use crate::{
    bmap::RealRange,
    error::Result,
    kernel_ext::{
        memory::Range,
        memory_hotplug::{
            self,
            Event, //
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
    /// Rebuilds the map if the buffer that was reported last is still not in it. Returns its address if that
    /// has failed.
    pub(super) fn rebuild_for_miss(&self) -> Option<u64> {
        self.missed.take(|address| {
            let result = self.lock_memory().map_missed(&self.members, address);
            self.is_mapped(result).err().map(|_| address)
        })?
    }

    /// Rebuilds the map if the address `address`, for which that has failed before, is still not in it. Returns
    /// whether that has failed again.
    pub(super) fn rebuild_again(&self, address: u64) -> bool {
        let result = self.lock_memory().map_requested(&self.members, address);
        self.is_mapped(result).is_err()
    }

    /// Counts a rebuild that was tried for a miss, and logs the first one that fails.
    fn is_mapped(&self, result: Result<Replaced>) -> Result {
        let result = self.mapped(result);
        if let Some(error) = self.miss_failure.note(result) {
            dev_err!(self.firmware().dev(), "memory map not rebuilt: {}\n", error);
        }
        result
    }

    /// Maps the memory at real address `address`, which somebody waits for, unless it is mapped, or is not
    /// to be mapped now.
    pub(crate) fn map_requested(&self, address: u64) -> Result {
        let result = self.lock_memory().map_requested(&self.members, address);
        self.mapped(result)
    }

    fn mapped(&self, result: Result<Replaced>) -> Result {
        if result? == Replaced::Published {
            self.rebuilds.lazy.inc();
        }
        Ok(())
    }

    /// Moves a port that was just added to the map in use. It has missed any rebuild that was done
    /// before it was added.
    pub(super) fn member_added(&self) {
        self.lock_memory().settle(&self.members);
    }

    /// Follows a notification about `range`.
    fn memory_event(&self, event: Event, range: Range) -> Result {
        let Some(range) = RealRange::new(range.base, range.len) else {
            return Ok(());
        };
        let event = match event {
            Event::GoingOffline => MemoryEvent::GoingOffline(range),
            Event::CancelOffline => MemoryEvent::CancelOffline(range),
            Event::Offline => MemoryEvent::Offline(range),
            Event::Online => MemoryEvent::Online(range),
            Event::GoingOnline | Event::CancelOnline => return Ok(()),
        };
        let mut memory = self.lock_memory();
        if memory.follow(&self.members, event)? == Replaced::Published {
            self.rebuilds.immediate.inc();
        }
        Ok(())
    }
}

/// Receiver of memory hotplug notifications.
///
/// It is called with the memory hotplug lock, so it does not take RTNL. It allocates memory, but
/// none while queue pairs pause: to free memory, the kernel may have to write pages over this very
/// network.
pub(crate) struct Hotplug {
    pub(crate) adapter: Arc<Adapter>,
}

impl memory_hotplug::Handler for Hotplug {
    fn notify(&self, event: Event, range: Range) -> kernel::error::Result {
        self.adapter.memory_event(event, range).map_err(|error| {
            let adapter = &self.adapter;
            adapter.rebuilds.refused.inc();
            dev_err!(
                adapter.firmware().dev(),
                "memory at {:#x}, {:#x} bytes, can't be removed: {}\n",
                range.base,
                range.len,
                error
            );
            error.to_errno()
        })
    }
}
