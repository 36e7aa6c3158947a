// SPDX-License-Identifier: GPL-2.0

//! Memory maps of the kernel's memory, and their regions.
//!
//! [`Ram`] makes the maps, one for all adapters. A [`Registrar`] registers them with an adapter.

use super::{
    counters::{
        Cost,
        Measurement,
        RebuildCounters, //
    },
    runs::Runs, //
};
use crate::{
    abi::{
        cb::adapter::PageSizes,
        hcall::ReturnCode, //
    },
    bmap::{
        BuildError,
        Builder,
        Busmap,
        RealRange,
        SECTION_SIZE, //
    },
    error::{
        Error,
        Result, //
    },
    firmware::{
        control_block,
        Firmware,
        Platform, //
    },
    hcall::PageList,
    kernel_ext::{
        dma::Reachable,
        memory::{
            self,
            for_each_online_section, //
        },
        net::stats::Counter,
        page::ContiguousBuffer, //
    },
    mr::{
        self,
        AliveCount,
        MemoryRegion,
        Rebuild,
        Replaced, //
    },
    trace::{
        self,
        RebuildEnd,
        RebuildResult, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

// The map consists of sections as the kernel's memory does.
const _: () = assert!(SECTION_SIZE == memory::SECTION_SIZE);

/// Busmap of the driver.
pub(crate) type Map = Busmap<Runs>;

/// Map that tells where the adapter finds memory.
///
/// All addresses in work requests come from here. The type of the argument ensures that the memory
/// is mapped for the adapter where that is necessary.
pub(crate) trait AdapterAddress {
    /// Returns the adapter address of `memory`, or `None` if it is not in the map.
    fn adapter_address(&self, memory: Reachable) -> Option<u64>;
}

impl AdapterAddress for Map {
    #[inline]
    fn adapter_address(&self, memory: Reachable) -> Option<u64> {
        self.translate(memory.address(), memory.len())
    }
}

/// Memory region of the adapter.
type Region = Arc<MemoryRegion<Platform>>;

/// Memory map together with the region that is registered for it.
pub(crate) type Generation = mr::Generation<Arc<Map>, Region, Arc<AliveCount>>;

/// Memory map, and the key by which work requests refer to its region.
pub(crate) type Translation = mr::Translation<Arc<Map>>;

/// Keys by which the work requests of a queue pair refer to a generation.
pub(crate) type Keys = mr::Keys<Platform, Region, Arc<Generation>>;

/// Page in which firmware finds the addresses of pages to register.
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

/// Memory map of all adapters.
pub(super) type Memory = mr::Memory<Ram>;

/// Returns a map of no memory.
pub(super) fn empty_map() -> Result<Arc<Map>> {
    let map = Builder::new(Runs::default(), &[]).finish().map_err(errno)?;
    Ok(Arc::new(map, GFP_KERNEL)?)
}

/// Memory of the kernel, and the number of times that it was walked.
pub(super) struct Ram(pub(super) Arc<Counter>);

impl mr::Source for Ram {
    type Runs = Runs;
    type Map = Arc<Map>;
    type Error = Error;

    fn walk(&mut self, excluded: &[RealRange]) -> Result<Arc<Map>> {
        self.0.inc();
        let mut builder = Builder::new(Runs::default(), excluded);
        for_each_online_section(|range| builder.add(range.base, range.len).map_err(errno))?;
        let map = builder.finish().map_err(errno)?;
        Ok(Arc::new(map, GFP_KERNEL)?)
    }
}

/// Registration of the memory map with an adapter.
pub(super) type Registration = mr::Registration<Registrar>;

/// Returns the registration before anything is registered.
pub(super) fn new_registration(
    firmware: &Arc<Firmware>,
    rebuilds: &Arc<RebuildCounters>,
    page_sizes: PageSizes,
) -> Result<Registration> {
    let registrar = Registrar {
        list: List(control_block()?),
        page_sizes,
        rebuilds: rebuilds.clone(),
        measurement: None,
        firmware: firmware.clone(),
    };
    let alive = Arc::new(AliveCount::new(), GFP_KERNEL)?;
    Ok(Registration::new(registrar, alive))
}

/// Means by which memory maps are registered with firmware. It logs, counts and traces what is done.
pub(super) struct Registrar {
    list: List,
    page_sizes: PageSizes,
    rebuilds: Arc<RebuildCounters>,
    /// Measurement of the rebuild that is under way.
    measurement: Option<Measurement>,
    firmware: Arc<Firmware>,
}

impl mr::Backend for Registrar {
    type Map = Arc<Map>;
    type Region = Region;
    type Count = Arc<AliveCount>;
    type Generation = Arc<Generation>;
    type Error = Error;

    fn register(&mut self, map: &Arc<Map>) -> Result<Region> {
        let caller = self.firmware.caller();
        let region = MemoryRegion::register(caller, &mut self.list, map, self.page_sizes)?;
        Ok(Arc::new(region, GFP_KERNEL)?)
    }

    fn share(&mut self, generation: Generation) -> Result<Arc<Generation>> {
        Ok(Arc::new(generation, GFP_KERNEL)?)
    }

    fn status(error: &Error) -> Option<ReturnCode> {
        error.status()
    }

    fn has_leftovers(&mut self) -> bool {
        self.firmware.free_again();
        self.firmware.not_freed() != 0
    }

    fn made(&mut self, generation: &Arc<Generation>) {
        dev_info!(
            self.firmware.dev(),
            "registered {} sections ({} bytes) in {} hypercalls\n",
            generation.map().sections(),
            generation.map().total_bytes(),
            generation.region().register_calls()
        );
    }

    fn rebuild_begins(&mut self, rebuild: &Rebuild) {
        trace::rebuild_start(
            self.firmware.dev(),
            rebuild.generation().get(),
            rebuild.is_removal(),
        );
        self.measurement = Some(Measurement::begin(&self.firmware));
    }

    fn replacement_begins(&mut self) {
        self.rebuilds.last_blackout.reset();
    }

    fn breaks_first(&mut self) {
        self.rebuilds.break_first.inc();
    }

    fn rebuild_ends(
        &mut self,
        rebuild: &Rebuild,
        outcome: Option<Replaced>,
        published: Option<&Arc<Generation>>,
    ) {
        let blackout = self.rebuilds.last_blackout.cost();
        let (result, blackout) = match outcome {
            Some(Replaced::Unchanged) => (RebuildResult::Unchanged, Cost::default()),
            Some(Replaced::Published) => (RebuildResult::Published, blackout),
            None => (RebuildResult::Failed, blackout),
        };
        match (outcome, published) {
            (Some(Replaced::Published), Some(new)) => {
                self.count(rebuild);
                self.log(rebuild, new);
            }
            (None, _) => self.rebuilds.failed.inc(),
            _ => {}
        }
        let cost = match self.measurement.take() {
            Some(measurement) => measurement.end(&self.firmware),
            None => Cost::default(),
        };
        let end = RebuildEnd {
            generation: rebuild.generation().get(),
            bytes: published.map_or(0, |generation| generation.map().total_bytes()),
            hcalls: cost.hcalls,
            ns: cost.ns,
            blackout_hcalls: blackout.hcalls,
            blackout_ns: blackout.ns,
            result,
        };
        trace::rebuild_end(self.firmware.dev(), &end);
    }
}

impl Registrar {
    /// Counts a rebuild that has made a generation.
    fn count(&self, rebuild: &Rebuild) {
        let rebuilds = &self.rebuilds;
        match rebuild.is_removal() {
            true => rebuilds.immediate.inc(),
            false => rebuilds.lazy.inc(),
        }
    }

    /// Logs the generation that a rebuild has made.
    fn log(&self, rebuild: &Rebuild, new: &Generation) {
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
            new.region().register_calls()
        );
    }
}
