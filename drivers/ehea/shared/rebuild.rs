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
    error::{
        Error,
        Result, //
    },
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
    /// Rebuilds the map if the buffer that was reported last is still not in it. Returns its address with the
    /// reason if that has failed.
    pub(super) fn rebuild_for_miss(&self) -> Option<(u64, Error)> {
        self.missed.take(|address| {
            let result = self.lock_memory().map_missed(&self.members, address);
            self.mapped(result).err().map(|error| (address, error))
        })?
    }

    /// Maps the memory at real address `address`, which somebody waits for, unless it is mapped, or is not
    /// to be mapped now.
    pub(crate) fn map_requested(&self, address: u64) -> Result {
        let result = self.lock_memory().map_requested(&self.members, address);
        self.mapped(result)
    }

    /// Counts a rebuild that was tried because somebody needs the memory.
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
