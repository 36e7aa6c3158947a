// SPDX-License-Identifier: GPL-2.0

//! What the ports of an adapter share.
//!
//! - [`memory`]: the memory map and its region; [`runs`]: the memory that the map takes;
//!   [`rebuild`]: how they follow memory hotplug.
//! - [`entitlement`]: what the ports may have mapped, in a CMO partition.
//! - [`events`]: the notification event queue.
//! - [`observe`]: what can be seen of it; [`debugfs`]: where.
//!
//! # Locks
//!
//! To be taken in this order, each may be left out:
//!
//! 1. RTNL, or the kernel's memory hotplug lock (held by callers of the memory notifier, which must
//!    not take RTNL; nobody who holds RTNL takes the hotplug lock).
//! 2. [`Adapter::memory`]: the current memory map. Whoever holds it decides which map a queue pair
//!    is opened with or moved to.
//! 3. [`Adapter::ports`]: the table of ports.
//! 4. `Port::running`: the queue pairs of a port that is open.
//! 5. A transmit queue's lock, or a NAPI instance that is disabled.
//!
//! [`Entitlement`] and the list of what firmware holds have mutexes of their own, under which none of
//! these is taken.
//!
//! The packet path takes none of 1 to 4. Each queue pair has its own reference of the memory map
//! that its work requests use: one in the state of its transmit queue, one in that of its NAPI
//! instance. A rebuild exchanges them where it owns that state, so that the packet path translates
//! addresses with plain loads.

mod debugfs;
mod entitlement;
mod events;
mod memory;
mod observe;
mod rebuild;
mod runs;

pub(crate) use debugfs::MapFile;
pub(crate) use entitlement::{
    default_desired,
    Entitlement, //
};
pub(crate) use events::{
    EventEntries,
    Notifications,
    WorkInterrupt, //
};
pub(crate) use memory::{
    AdapterAddress,
    Generation,
    Keys,
    Map, //
};
pub(crate) use observe::{
    MapState,
    Measurement, //
};
pub(crate) use rebuild::Hotplug;

use crate::{
    abi::cb::adapter::{
        AdapterBlock,
        PageSizes, //
    },
    firmware::{
        Firmware,
        Result, //
    },
    kernel_ext::net::NetDevice,
    mr::MissReport,
    port::{
        Event,
        PortOperations, //
    },
    trace::{
        self,
        Direction, //
    }, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        Mutex, //
    }, //
};
use memory::Memory;
use observe::RebuildCounters;

/// An adapter.
#[pin_data]
pub(crate) struct Adapter {
    limits: AdapterBlock,
    #[pin]
    memory: Mutex<Memory>,
    // References of registered devices: to be taken out before they are unregistered.
    #[pin]
    pub(crate) ports: Mutex<KVec<ARef<NetDevice<PortOperations>>>>,
    // In a CMO partition.
    entitlement: Option<Pin<KBox<Entitlement>>>,
    missed: MissReport,
    pub(crate) rebuilds: RebuildCounters,
    // Dropped after the memory map: gives back what firmware has refused to take.
    firmware: Arc<Firmware>,
}

impl Adapter {
    /// Queries the adapter, which has `ports` ports. Registers no memory yet.
    pub(crate) fn new(firmware: Firmware, ports: usize) -> Result<Arc<Self>> {
        let limits = firmware.query_adapter()?;
        let memory = Memory::new(PageSizes(limits.mr_page_size.get()))?;
        let entitlement = match firmware.access().mapper() {
            Some(mapper) => Some(KBox::pin_init(
                Entitlement::new(mapper.clone(), ports),
                GFP_KERNEL,
            )?),
            None => None,
        };
        if let Some(entitlement) = &entitlement {
            // Before anything is mapped: until the bus has looked at the device for the first time,
            // it isn't entitled to anything.
            entitlement.announce();
        }
        let firmware = Arc::new(firmware, GFP_KERNEL)?;
        Ok(Arc::pin_init(
            pin_init!(Self {
                firmware,
                limits,
                memory <- new_mutex!(memory),
                ports <- new_mutex!(KVec::new()),
                entitlement,
                missed: MissReport::new(),
                rebuilds: RebuildCounters::default(),
            }),
            GFP_KERNEL,
        )?)
    }

    /// Firmware.
    pub(crate) fn firmware(&self) -> &Arc<Firmware> {
        &self.firmware
    }

    /// The most multicast addresses that can be registered.
    pub(crate) fn multicast_limit(&self) -> usize {
        // The block has the number plus one.
        usize::try_from(self.limits.max_mc_mac.get().saturating_sub(1)).unwrap_or(usize::MAX)
    }

    /// Calls `f` with the memory map to be used from now on, which is registered if it is not. The
    /// map stays the current one until `f` returns.
    pub(crate) fn with_generation<T>(
        &self,
        f: impl FnOnce(&Arc<Generation>) -> Result<T>,
    ) -> Result<T> {
        let mut memory = self.memory.lock();
        let generation = memory.current(&self.firmware)?;
        f(&generation)
    }

    /// The entitlement that the ports share; none outside of CMO.
    pub(crate) fn entitlement(&self) -> Option<&Entitlement> {
        self.entitlement.as_deref()
    }

    /// Has all ports look after what they may have mapped.
    pub(crate) fn entitlement_changed(&self) {
        for dev in self.ports.lock().iter() {
            dev.defer(Event::ENTITLEMENT);
        }
    }

    /// Reports that the buffer of `len` bytes at real address `address` is not in the map. However
    /// many buffers follow, one rebuild is asked for. Any context.
    pub(crate) fn report_miss(
        &self,
        dev: &NetDevice<PortOperations>,
        address: u64,
        direction: Direction,
    ) {
        trace::miss(dev, address, direction);
        if self.missed.report(address) {
            dev.defer(Event::MEMORY_MISS);
        }
    }
}
