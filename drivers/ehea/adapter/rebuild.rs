// SPDX-License-Identifier: GPL-2.0

//! How the memory map follows memory that comes and goes.
//!
//! A rebuild walks memory, registers a region for the new map while the old one still carries
//! traffic, moves the queue pairs over one by one, and frees the old region. Queue pairs pause only
//! while they are moved; how long that takes doesn't depend on the amount of memory.
//!
//! If the adapter has no room for a second region, all queue pairs pause, and the old region is
//! freed before the new one is registered.

use super::{
    memory::{
        walk,
        Memory, //
    },
    Adapter,
    Generation,
    Map, //
};
use crate::{
    abi::hcall::ReturnCode,
    bmap::RealRange,
    firmware::{
        Error,
        Result, //
    },
    kernel_ext::{
        memory::Range,
        memory_hotplug::{
            self,
            Event as HotplugEvent, //
        },
        net::NetDevice, //
    },
    mr::{
        Action,
        Event,
        Outcome,
        Rebuild, //
    },
    port::PortOperations, //
};
use core::sync::atomic::Ordering::Relaxed;
use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

/// Whether firmware has refused a region because there are too many.
fn no_room(error: &Error) -> bool {
    matches!(
        error.status(),
        Some(ReturnCode::NOT_ENOUGH_RESOURCES | ReturnCode::RESOURCE | ReturnCode::TABLE_FULL)
    )
}

/// What a rebuild has done to the old map.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Replaced {
    /// It is still the current one, because there is no difference.
    Unchanged,
    /// Another one took its place.
    Published,
}

impl Adapter {
    /// Rebuilds the map if the buffer that was reported last is still not in it.
    pub(crate) fn rebuild_for_miss(&self) {
        let address = self.missed.load(Relaxed);
        if address == Self::NO_MISS {
            return;
        }
        if let Err(error) = self.map_address(address) {
            dev_err!(self.firmware.dev(), "memory map not rebuilt: {}\n", error);
        }
        // From here on the next miss asks again. One that was reported meanwhile was one of the
        // map before; if it still is one, its owner will come back, too.
        self.missed.store(Self::NO_MISS, Relaxed);
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
            memory.policy.handle(Event::Miss(range), &map),
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
        if !memory.is_only() || self.firmware.not_freed() != 0 {
            return Err(Error::Kernel(EBUSY));
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
            let _ = self.move_ports(&current, &current);
        }
    }

    /// Looks after a port that has come while nobody knew it: it has missed a rebuild, if there was
    /// one.
    pub(super) fn port_added(&self) {
        self.settle(&self.memory.lock());
    }

    /// Does a rebuild and tells the policy how it ended.
    fn rebuild(&self, memory: &mut Memory, rebuild: Rebuild) -> Result<Replaced> {
        let measurement = self.begin_rebuild(&rebuild);
        let result = self.replace_map(memory, &rebuild);
        let outcome = match &result {
            Ok(Replaced::Unchanged) => Outcome::Unchanged,
            Ok(Replaced::Published) => Outcome::Published,
            Err(_) => {
                self.rebuilds.failed.inc();
                Outcome::Failed
            }
        };
        let number = rebuild.generation().number();
        memory.policy.finish(rebuild, outcome);
        self.end_rebuild(measurement, number, outcome, memory.map().total_bytes());
        result
    }

    fn replace_map(&self, memory: &mut Memory, rebuild: &Rebuild) -> Result<Replaced> {
        let Some(old) = memory.published() else {
            return Ok(Replaced::Unchanged);
        };
        let map = Arc::new(walk(rebuild.excluded())?, GFP_KERNEL)?;
        if *map == **old.map() {
            return Ok(Replaced::Unchanged);
        }
        self.begin_replacement();
        match memory.register(&self.firmware, rebuild.generation(), map.clone()) {
            Ok(new) => {
                self.move_ports(&new, &old)?;
                self.log_rebuild(rebuild, &new);
                memory.publish(Some(new));
                Ok(Replaced::Published)
            }
            Err(error) if no_room(&error) => {
                self.rebuilds.break_first.inc();
                self.break_before_make(memory, rebuild, old, map)?;
                Ok(Replaced::Published)
            }
            Err(error) => Err(error),
        }
    }

    fn log_rebuild(&self, rebuild: &Rebuild, new: &Generation) {
        dev_info!(
            self.firmware.dev(),
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

    /// Moves all queue pairs from one map to another. All that takes memory, or a call that firmware
    /// may refuse, is done before the first of them pauses.
    ///
    /// # Errors
    ///
    /// All queue pairs use the old map again. A port for which that doesn't work is reset.
    fn move_ports(&self, to: &Arc<Generation>, from: &Arc<Generation>) -> Result {
        let ports = self.ports.lock();
        let prepared = ports.iter().try_for_each(|dev| dev.data().prepare(dev, to));
        let result =
            prepared.and_then(|()| ports.iter().try_for_each(|dev| dev.data().switch(dev)));
        if result.is_err() {
            for dev in ports.iter() {
                let port = dev.data();
                port.discard();
                let back = port.prepare(dev, from).and_then(|()| port.switch(dev));
                if let Err(error) = back {
                    port.discard();
                    reset(dev, "moved back to its memory map", &error);
                }
            }
        }
        result
    }

    /// Pauses all queue pairs, frees the region of `old`, registers one for `map`, and has the
    /// queue pairs go on with it. If it can't be registered, they go on with the old map.
    fn break_before_make(
        &self,
        memory: &mut Memory,
        rebuild: &Rebuild,
        old: Arc<Generation>,
        map: Arc<Map>,
    ) -> Result {
        let ports = self.ports.lock();
        for dev in ports.iter() {
            if let Err(error) = dev.data().pause(dev) {
                for dev in ports.iter() {
                    go_on(dev, &old);
                }
                return Err(error);
            }
        }
        for dev in ports.iter() {
            dev.data().release_keys();
        }
        let old_map = old.map().clone();
        memory.publish(None);
        drop(old);

        let (result, generation) = match memory.register(&self.firmware, rebuild.generation(), map)
        {
            Ok(new) => {
                self.log_rebuild(rebuild, &new);
                (Ok(()), Ok(new))
            }
            Err(error) => {
                let number = memory.policy.generation();
                let again = memory.register(&self.firmware, number, old_map);
                (Err(error), again)
            }
        };
        match generation {
            Ok(generation) => {
                memory.publish(Some(generation.clone()));
                for dev in ports.iter() {
                    go_on(dev, &generation);
                }
            }
            // A reset makes the map anew, and is tried again until that works.
            Err(error) => {
                for dev in ports.iter() {
                    reset(dev, "given its memory map back", &error);
                }
            }
        }
        result
    }

    /// Follows a notification about `range`.
    fn memory_event(&self, event: HotplugEvent, range: Range) -> Result {
        let Some(range) = RealRange::new(range.base, range.len) else {
            return Ok(());
        };
        let event = match event {
            HotplugEvent::GoingOffline => Event::GoingOffline(range),
            HotplugEvent::CancelOffline => Event::CancelOffline(range),
            HotplugEvent::Offline => Event::Offline(range),
            HotplugEvent::Online => Event::Online(range),
            HotplugEvent::GoingOnline | HotplugEvent::CancelOnline => return Ok(()),
        };
        let mut memory = self.memory.lock();
        let map = memory.map();
        match memory.policy.handle(event, &map) {
            Ok(Action::RebuildNow) => self.remove_range(&mut memory, range),
            Ok(_) if matches!(event, Event::GoingOffline(_)) => self.check_reach(&memory),
            Ok(Action::Nothing | Action::QueueRebuild) => Ok(()),
            Err(_) => Err(Error::Kernel(EBUSY)),
        }
    }
}

/// Has the queue pairs of a port go on with `generation`, or resets the port.
fn go_on(dev: &ARef<NetDevice<PortOperations>>, generation: &Arc<Generation>) {
    if let Err(error) = dev.data().go_on(dev, generation) {
        reset(dev, "resumed", &error);
    }
}

/// Has the port reset that could not be `verb`.
fn reset(dev: &NetDevice<PortOperations>, verb: &str, error: &Error) {
    let port = dev.data();
    port.log_err(dev, fmt!("could not be {}: {}", verb, error));
    port.request_reset(dev);
}

/// The receiver of memory hotplug notifications.
///
/// The memory hotplug lock is held, hence it takes no RTNL. It allocates memory, though none while
/// queue pairs pause: writing pages out in order to get memory may need this very network.
pub(super) struct Hotplug {
    pub(super) adapter: Arc<Adapter>,
}

impl memory_hotplug::Handler for Hotplug {
    fn notify(&self, event: HotplugEvent, range: Range) -> kernel::error::Result {
        self.adapter.memory_event(event, range).map_err(|error| {
            let adapter = &self.adapter;
            adapter.rebuilds.refused.inc();
            dev_err!(
                adapter.firmware.dev(),
                "memory at {:#x}, {:#x} bytes, can't be removed: {}\n",
                range.base,
                range.len,
                error
            );
            error.to_errno()
        })
    }
}
