// SPDX-License-Identifier: GPL-2.0

//! State that the ports of an adapter share.

use super::{
    counters::RebuildCounters,
    entitlement::Entitlement,
    members::Members,
    memory::{
        new_memory,
        Generation,
        Memory, //
    },
    snapshot::Snapshot, //
};
use crate::{
    abi::cb::adapter::{
        AdapterBlock,
        PageSizes, //
    },
    error::Result,
    firmware::Firmware,
    mr::{
        AliveCount,
        MissReport, //
    }, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};

/// State that the ports of an adapter share.
#[pin_data]
pub(crate) struct AdapterState {
    limits: AdapterBlock,
    #[pin]
    pub(super) memory: Mutex<Memory>,
    // What users see of the map. Locked for a moment only.
    #[pin]
    pub(super) snapshot: Mutex<Snapshot>,
    // Number of regions.
    pub(super) alive: Arc<AliveCount>,
    #[pin]
    pub(super) members: Members,
    // In a CMO partition.
    entitlement: Option<Pin<KBox<Entitlement>>>,
    pub(super) missed: MissReport,
    pub(crate) rebuilds: Arc<RebuildCounters>,
    // Dropped after the memory map: gives back what firmware has refused to take.
    firmware: Arc<Firmware>,
}

impl AdapterState {
    /// Queries the adapter, which has `ports` ports. Registers no memory yet.
    pub(super) fn new(
        firmware: Firmware,
        ports: usize,
    ) -> Result<impl PinInit<Self, kernel::error::Error>> {
        let limits = firmware.query_adapter()?;
        let entitlement = match firmware.access().mapper() {
            Some(mapper) => Some(KBox::pin_init(
                Entitlement::new(mapper.clone(), ports),
                GFP_KERNEL,
            )?),
            None => None,
        };
        if let Some(entitlement) = &entitlement {
            // Before anything is mapped: until the bus has looked at the device for the first time,
            // it isn't entitled to anything. If another device has had memory mapped just before, that takes
            // the bus a second.
            entitlement.announce();
            entitlement.wait_for_minimum();
        }
        let firmware = Arc::new(firmware, GFP_KERNEL)?;
        let rebuilds = Arc::new(RebuildCounters::default(), GFP_KERNEL)?;
        let page_sizes = PageSizes(limits.mr_page_size.get());
        let memory = new_memory(&firmware, &rebuilds, page_sizes)?;
        Ok(try_pin_init!(Self {
            firmware,
            limits,
            snapshot <- new_mutex!(Snapshot::of(&memory)),
            alive: memory.alive().clone(),
            memory <- new_mutex!(memory),
            members <- Members::new(),
            entitlement,
            missed: MissReport::new(),
            rebuilds,
        }? kernel::error::Error))
    }

    /// Returns the access to firmware.
    pub(crate) fn firmware(&self) -> &Arc<Firmware> {
        &self.firmware
    }

    /// Returns the ports.
    pub(crate) fn members(&self) -> &Members {
        &self.members
    }

    /// Returns the maximum number of multicast addresses that can be registered.
    pub(crate) fn multicast_limit(&self) -> usize {
        // The block has the number plus one.
        usize::try_from(self.limits.max_mc_mac.get().saturating_sub(1)).unwrap_or(usize::MAX)
    }

    /// Makes and registers the memory map, if there is none.
    pub(crate) fn make_map(&self) -> Result {
        self.lock_memory().current()?;
        Ok(())
    }

    /// Calls `f` with the memory map in use. The map is made and registered if there is none. It
    /// stays in use until `f` returns. Returns `None` if the map is being rebuilt.
    pub(crate) fn with_generation<T>(
        &self,
        f: impl FnOnce(&Arc<Generation>) -> Result<T>,
    ) -> Option<Result<T>> {
        let mut memory = self.lock_memory_soon()?;
        Some(memory.current().and_then(|generation| f(&generation)))
    }

    /// Waits for the end of a rebuild.
    pub(crate) fn wait_for_map(&self) {
        drop(self.lock_memory());
    }

    /// Returns the entitlement that the ports share, or `None` outside of CMO.
    pub(crate) fn entitlement(&self) -> Option<&Entitlement> {
        self.entitlement.as_deref()
    }
}
