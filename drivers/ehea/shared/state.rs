// SPDX-License-Identifier: GPL-2.0

//! State that the ports of an adapter share.

use super::{
    counters::RebuildCounters,
    entitlement::Entitlement,
    follower::Follower,
    map::MemoryMap,
    members::Members,
    memory::Generation, //
};
use crate::{
    abi::cb::adapter::{
        AdapterBlock,
        PageSizes, //
    },
    error::Result,
    firmware::Firmware,
    mr::MissReport, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// State that the ports of an adapter share.
pub(crate) struct AdapterState {
    limits: AdapterBlock,
    map: Arc<MemoryMap>,
    follower: Arc<Follower>,
    // In a CMO partition.
    entitlement: Option<Pin<KBox<Entitlement>>>,
    pub(super) missed: MissReport,
    pub(crate) rebuilds: Arc<RebuildCounters>,
    // Dropped after the memory map: gives back what firmware has refused to take.
    firmware: Arc<Firmware>,
}

impl AdapterState {
    /// Queries the adapter, which has `ports` ports and will follow the memory map `map`. Registers no memory
    /// yet.
    pub(super) fn new(firmware: Firmware, ports: usize, map: &Arc<MemoryMap>) -> Result<Self> {
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
        let follower = Follower::new(&firmware, &rebuilds, page_sizes, map.empty())?;
        Ok(Self {
            limits,
            map: map.clone(),
            follower,
            entitlement,
            missed: MissReport::new(),
            rebuilds,
            firmware,
        })
    }

    /// Returns the access to firmware.
    pub(crate) fn firmware(&self) -> &Arc<Firmware> {
        &self.firmware
    }

    /// Returns the ports.
    pub(crate) fn members(&self) -> &Members {
        self.follower.members()
    }

    /// Returns the memory map of all adapters.
    pub(super) fn map(&self) -> &MemoryMap {
        &self.map
    }

    /// Returns the adapter, as the memory map sees it.
    pub(super) fn follower(&self) -> &Arc<Follower> {
        &self.follower
    }

    /// Returns the maximum number of multicast addresses that can be registered.
    pub(crate) fn multicast_limit(&self) -> usize {
        // The block has the number plus one.
        usize::try_from(self.limits.max_mc_mac.get().saturating_sub(1)).unwrap_or(usize::MAX)
    }

    /// Registers the memory map, if it is not. The map is made if there is none.
    pub(crate) fn make_map(&self) -> Result {
        self.map.register(&self.follower)
    }

    /// Calls `f` with the memory map in use, which stays in use until `f` returns. The map is registered if it is
    /// not. Returns `None` if the map is being rebuilt.
    pub(crate) fn with_generation<T>(
        &self,
        f: impl FnOnce(&Arc<Generation>) -> Result<T>,
    ) -> Option<Result<T>> {
        self.map.with_generation(&self.follower, f)
    }

    /// Waits for the end of a rebuild.
    pub(crate) fn wait_for_map(&self) {
        drop(self.map.lock());
        drop(self.follower.lock());
    }

    /// Returns the entitlement that the ports share, or `None` outside of CMO.
    pub(crate) fn entitlement(&self) -> Option<&Entitlement> {
        self.entitlement.as_deref()
    }
}
