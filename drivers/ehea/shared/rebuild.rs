// SPDX-License-Identifier: GPL-2.0

//! How the memory map follows memory that comes and goes.
//!
//! What a rebuild does, and in which order, is in [`mr::replace`](crate::mr::replace()); here is what it
//! does that with, and when.

use super::{
    memory::{
        walk,
        Generation,
        Map,
        Memory, //
    },
    state::AdapterState,
    worker::Adapter, //
};
use crate::{
    abi::hcall::ReturnCode,
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
        self,
        Action,
        MemoryEvent,
        Rebuild,
        Replaced, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

impl AdapterState {
    /// Rebuilds the map if the buffer that was reported last is still not in it.
    pub(super) fn rebuild_for_miss(&self) {
        if let Some(Err(error)) = self.missed.take(|address| self.map_address(address)) {
            dev_err!(self.firmware().dev(), "memory map not rebuilt: {}\n", error);
        }
    }

    /// Has real address `address` mapped, unless it is already, or can't be.
    pub(crate) fn map_address(&self, address: u64) -> Result {
        let Some(range) = RealRange::new(address, 1) else {
            return Ok(());
        };
        let mut memory = self.memory.lock();
        let map = memory.map();
        // Policy has nothing to refuse about a miss.
        if !matches!(
            memory.policy.handle(MemoryEvent::Miss(range), &map),
            Ok(Action::QueueRebuild)
        ) {
            return Ok(());
        }
        let Some(rebuild) = memory.policy.begin_queued() else {
            return Ok(());
        };
        if self.rebuild(&mut memory, rebuild)? != Replaced::Unchanged {
            self.rebuilds.lazy.inc();
        }
        Ok(())
    }

    /// Takes memory that goes away out of the map.
    fn remove_range(&self, memory: &mut Memory, range: RealRange) -> Result {
        let map = memory.map();
        if let Some(rebuild) = memory.policy.begin_removal(range, &map) {
            self.rebuild(memory, rebuild)?;
            self.check_reach(memory)?;
            self.rebuilds.immediate.inc();
        }
        Ok(())
    }

    /// Fails if the adapter may reach memory that is not in the map: because a port still uses an
    /// older one, or because firmware has not taken a region back.
    fn check_reach(&self, memory: &Memory) -> Result {
        self.settle(memory);
        self.firmware().free_again();
        if !memory.is_only() || self.firmware().not_freed() != 0 {
            return Err(Error::InReach);
        }
        Ok(())
    }

    /// Moves ports that use an older map to the current one.
    fn settle(&self, memory: &Memory) {
        if memory.is_only() {
            return;
        }
        if let Some(current) = memory.published() {
            // Those that fail are reset.
            let _ = mr::move_ports(&self.members, &current, &current);
        }
    }

    /// Looks after a port that has come while nobody knew it: it has missed a rebuild, if there was
    /// one.
    pub(super) fn member_added(&self) {
        self.settle(&self.memory.lock());
    }

    /// Does a rebuild and tells the policy how it ended.
    fn rebuild(&self, memory: &mut Memory, rebuild: Rebuild) -> Result<Replaced> {
        let measurement = self.begin_rebuild(&rebuild);
        let mut regions = Regions {
            adapter: self,
            memory,
            replacing: false,
        };
        let result = mr::replace(&mut regions, &self.members, &rebuild);
        let outcome = result.as_ref().ok().copied();
        match outcome {
            Some(Replaced::Unchanged) => {}
            Some(Replaced::Published) => self.log_rebuild(&rebuild, memory),
            None => self.rebuilds.failed.inc(),
        }
        let number = rebuild.generation().get();
        memory.policy.finish(rebuild, outcome);
        self.end_rebuild(measurement, number, outcome, memory.map().total_bytes());
        result
    }

    fn log_rebuild(&self, rebuild: &Rebuild, memory: &Memory) {
        let Some(new) = memory.published() else {
            return;
        };
        dev_info!(
            self.firmware().dev(),
            "memory map rebuilt ({}): registered {} sections ({} bytes) in {} hypercalls\n",
            if rebuild.is_removal() {
                "memory removed"
            } else {
                "memory added"
            },
            new.map().sections(),
            new.map().total_bytes(),
            new.register_calls()
        );
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
        let mut memory = self.memory.lock();
        let map = memory.map();
        match memory.policy.handle(event, &map) {
            Ok(Action::RebuildNow) => self.remove_range(&mut memory, range),
            Ok(_) if matches!(event, MemoryEvent::GoingOffline(_)) => self.check_reach(&memory),
            Ok(Action::Nothing | Action::QueueRebuild) => Ok(()),
            Err(_) => Err(Error::Kernel(EBUSY)),
        }
    }
}

/// The memory map of an adapter, while it is replaced.
struct Regions<'a> {
    adapter: &'a AdapterState,
    memory: &'a mut Memory,
    /// A region for another map was asked for.
    replacing: bool,
}

impl mr::Regions for Regions<'_> {
    type Map = Arc<Map>;
    type Generation = Arc<Generation>;
    type Error = Error;

    fn walk(&mut self, excluded: &[RealRange]) -> Result<Arc<Map>> {
        Ok(Arc::new(walk(excluded)?, GFP_KERNEL)?)
    }

    fn register(&mut self, number: mr::MapNumber, map: &Arc<Map>) -> Result<Arc<Generation>> {
        if !self.replacing {
            self.replacing = true;
            self.adapter.begin_replacement();
        }
        let firmware = self.adapter.firmware();
        self.memory.register(firmware, number, map.clone())
    }

    fn published(&self) -> Option<Arc<Generation>> {
        self.memory.published()
    }

    fn publish(&mut self, generation: Option<Arc<Generation>>) {
        drop(self.memory.publish(generation));
    }

    fn number_of(generation: &Arc<Generation>) -> mr::MapNumber {
        generation.number()
    }

    fn map_of(generation: &Arc<Generation>) -> Arc<Map> {
        generation.map().clone()
    }

    fn is_same(one: &Arc<Map>, other: &Arc<Map>) -> bool {
        **one == **other
    }

    fn is_only(&self) -> bool {
        self.memory.is_only()
    }

    fn not_only() -> Error {
        Error::Kernel(EBUSY)
    }

    fn is_no_room(error: &Error) -> bool {
        matches!(
            error.status(),
            Some(ReturnCode::NOT_ENOUGH_RESOURCES | ReturnCode::RESOURCE | ReturnCode::TABLE_FULL)
        )
    }

    fn breaks_first(&mut self) {
        self.adapter.rebuilds.break_first.inc();
    }
}

/// The receiver of memory hotplug notifications.
///
/// The memory hotplug lock is held, hence it takes no RTNL. It allocates memory, though none while
/// queue pairs pause: writing pages out in order to get memory may need this very network.
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
