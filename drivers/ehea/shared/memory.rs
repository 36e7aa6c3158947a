// SPDX-License-Identifier: GPL-2.0

//! The memory map and the region that carries it.

use super::runs::Runs;
use crate::{
    abi::cb::adapter::PageSizes,
    bmap::{
        BuildError,
        Builder,
        Busmap,
        RealRange, //
    },
    error::Result,
    firmware::{
        control_block,
        Firmware,
        Platform, //
    },
    hcall::PageList,
    kernel_ext::{
        dma::Reachable,
        memory::for_each_online_section,
        page::ContiguousBuffer, //
    },
    mr::{
        self,
        Alive,
        AliveCount,
        MemoryRegion,
        Policy,
        SharedRegion, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// The busmap of the driver.
pub(crate) type Map = Busmap<Runs>;

/// Where the adapter finds memory.
///
/// Work requests get their addresses here alone, so that none has memory that isn't mapped where it
/// must be. A busmap says where memory is, an entitlement how much of it the adapter may use.
pub(crate) trait AdapterAddress {
    /// The address that the adapter knows `memory` by; none if it isn't in the map.
    fn adapter_address(&self, memory: Reachable) -> Option<u64>;
}

impl AdapterAddress for Map {
    #[inline]
    fn adapter_address(&self, memory: Reachable) -> Option<u64> {
        self.translate(memory.address(), memory.len())
    }
}

/// A memory map together with the region that is registered for it. Never changes.
///
/// It is freed when the last queue pair that uses it has given it up, which must be in process
/// context.
pub(crate) struct Generation {
    number: mr::MapNumber,
    map: Arc<Map>,
    region: Arc<MemoryRegion<Platform>>,
    // Dropped after the region.
    _alive: Alive<Arc<AliveCount>>,
}

impl Generation {
    /// Registers a region for `map`.
    fn register(
        firmware: &Firmware,
        list: &mut List,
        sizes: PageSizes,
        number: mr::MapNumber,
        map: Arc<Map>,
        alive: &Arc<AliveCount>,
    ) -> Result<Arc<Self>> {
        let region = MemoryRegion::register(firmware.caller(), list, &map, sizes)?;
        let region = Arc::new(region, GFP_KERNEL)?;
        Ok(Arc::new(
            Self {
                number,
                map,
                region,
                _alive: Alive::new(alive.clone()),
            },
            GFP_KERNEL,
        )?)
    }

    /// The map.
    pub(crate) fn map(&self) -> &Arc<Map> {
        &self.map
    }

    /// Its number.
    pub(crate) fn number(&self) -> mr::MapNumber {
        self.number
    }

    /// Calls that the registration of the region took.
    pub(crate) fn register_calls(&self) -> u64 {
        self.region.register_calls()
    }

    /// The size, in bytes, of the pages that it was registered with.
    pub(crate) fn page_size(&self) -> u64 {
        self.region.page_size().bytes()
    }
}

/// What work requests refer to: a memory map, and the key that names it.
pub(crate) struct Translation {
    pub(crate) map: Arc<Map>,
    pub(crate) key: u32,
}

type Key = SharedRegion<Platform, Arc<MemoryRegion<Platform>>>;

/// The keys that a queue pair's work requests name a generation by; freed on drop.
pub(crate) struct Keys {
    send: Key,
    receive: Key,
    generation: Arc<Generation>,
}

impl Keys {
    /// Makes keys for the region of `generation`.
    pub(crate) fn new(generation: &Arc<Generation>) -> Result<Self> {
        Ok(Self {
            send: Key::register(generation.region.clone())?,
            receive: Key::register(generation.region.clone())?,
            generation: generation.clone(),
        })
    }

    /// What send work requests refer to.
    pub(crate) fn send(&self) -> Translation {
        Translation {
            map: self.generation.map.clone(),
            key: self.send.lkey(),
        }
    }

    /// What receive work requests refer to.
    pub(crate) fn receive(&self) -> Translation {
        Translation {
            map: self.generation.map.clone(),
            key: self.receive.lkey(),
        }
    }

    /// What they are keys of.
    pub(crate) fn generation(&self) -> &Arc<Generation> {
        &self.generation
    }
}

/// The page in which firmware finds the addresses of pages to register.
pub(super) struct List(ContiguousBuffer);

impl PageList for List {
    type Block = ContiguousBuffer;

    fn block(&self) -> &ContiguousBuffer {
        &self.0
    }

    fn real_address(&self) -> u64 {
        self.0.real_address()
    }

    fn set(&mut self, index: usize, page: u64) {
        // The index is below the number of doublewords in the page.
        let _ = self.0.window().write_u64_be(index * size_of::<u64>(), page);
    }
}

fn errno(error: BuildError) -> kernel::error::Error {
    match error {
        BuildError::OutOfMemory => ENOMEM,
        _ => EINVAL,
    }
}

/// Walks online memory and makes a map of it, without the ranges in `excluded`.
pub(super) fn walk(excluded: &[RealRange]) -> Result<Map> {
    let mut builder = Builder::new(Runs::default(), excluded);
    for_each_online_section(|range| builder.add(range.base, range.len).map_err(errno))?;
    Ok(builder.finish().map_err(errno)?)
}

/// What is known of the adapter's memory map.
pub(super) struct Memory {
    pub(super) policy: Policy,
    published: Option<Arc<Generation>>,
    // Stands for the map when there is none.
    empty: Arc<Map>,
    list: List,
    page_sizes: PageSizes,
    /// How many generations exist: the one in use, and those that a queue pair has not given up.
    alive: Arc<AliveCount>,
}

impl Memory {
    /// Nothing is registered yet.
    pub(super) fn new(page_sizes: PageSizes) -> Result<Self> {
        Ok(Self {
            policy: Policy::new(),
            published: None,
            empty: Arc::new(
                Builder::new(Runs::default(), &[]).finish().map_err(errno)?,
                GFP_KERNEL,
            )?,
            list: List(control_block()?),
            page_sizes,
            alive: Arc::new(AliveCount::new(), GFP_KERNEL)?,
        })
    }

    /// Whether no map but the one in use has a region.
    pub(super) fn is_only(&self) -> bool {
        self.alive.get() == u32::from(self.published.is_some())
    }

    /// How many generations, and thus regions, exist.
    pub(super) fn regions(&self) -> u32 {
        self.alive.get()
    }

    /// The map in use, if there is one.
    pub(super) fn published(&self) -> Option<Arc<Generation>> {
        self.published.clone()
    }

    /// The map in use, an empty one if there is none.
    pub(super) fn map(&self) -> Arc<Map> {
        match &self.published {
            Some(generation) => generation.map.clone(),
            None => self.empty.clone(),
        }
    }

    /// The map in use. If there is none, because it is the first one or because the last rebuild
    /// lost it, it is made.
    pub(super) fn current(&mut self, firmware: &Firmware) -> Result<Arc<Generation>> {
        if let Some(generation) = &self.published {
            return Ok(generation.clone());
        }
        let map = Arc::new(walk(self.policy.excluded().as_slice())?, GFP_KERNEL)?;
        let generation = self.register(firmware, self.policy.generation(), map)?;
        self.publish(Some(generation.clone()));
        dev_info!(
            firmware.dev(),
            "registered {} sections ({} bytes) in {} hypercalls\n",
            generation.map.sections(),
            generation.map.total_bytes(),
            generation.register_calls()
        );
        Ok(generation)
    }

    /// Registers a region for `map`.
    pub(super) fn register(
        &mut self,
        firmware: &Firmware,
        number: mr::MapNumber,
        map: Arc<Map>,
    ) -> Result<Arc<Generation>> {
        Generation::register(
            firmware,
            &mut self.list,
            self.page_sizes,
            number,
            map,
            &self.alive,
        )
    }

    /// Sets the map to be used from now on; returns the one before.
    pub(super) fn publish(
        &mut self,
        generation: Option<Arc<Generation>>,
    ) -> Option<Arc<Generation>> {
        core::mem::replace(&mut self.published, generation)
    }
}
