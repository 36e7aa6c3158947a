// SPDX-License-Identifier: GPL-2.0

//! What can be seen of the memory map and of its rebuilds.
//!
//! A rebuild is measured in hypercalls of the adapter and in time. So is the *blackout* of each queue
//! pair that it moves: from when frames to be sent are held back until the queue pair carries traffic
//! again.

use super::{
    counters::Cost,
    memory::Map,
    state::AdapterState, //
};
use crate::{
    mr::{
        Exclusions,
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
    sync::Arc,
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// A measurement that has begun.
pub(crate) struct Measurement {
    calls: u64,
    start: Instant<Monotonic>,
}

impl Measurement {
    fn begin(adapter: &AdapterState) -> Self {
        Self {
            calls: adapter.firmware().calls(),
            start: Instant::now(),
        }
    }

    fn end(self, adapter: &AdapterState) -> Cost {
        Cost {
            hcalls: adapter.firmware().calls().wrapping_sub(self.calls),
            ns: self.start.elapsed().as_nanos().unsigned_abs(),
        }
    }
}

/// The memory map at one time.
///
/// It has the map, but not the region: who looks at it doesn't keep memory from being removed.
pub(crate) struct MapState {
    /// Number of the map; 0 if none is registered.
    pub(crate) generation: u64,
    pub(crate) map: Arc<Map>,
    /// Size, in bytes, of the pages that the map is registered with; 0 if it is not.
    pub(crate) page_size: u64,
    /// Calls that its registration took.
    pub(crate) register_calls: u64,
    /// Memory regions that exist.
    pub(crate) regions: u32,
    /// Ranges that are going offline.
    pub(crate) excluded: Exclusions,
    /// The blackout of the last rebuild.
    pub(crate) blackout: Cost,
    /// The longest blackout since the driver was bound.
    pub(crate) longest_blackout: Cost,
}

impl AdapterState {
    /// The memory map in use. Waits for a rebuild that is under way.
    pub(crate) fn map_state(&self) -> MapState {
        let memory = self.memory.lock();
        let published = memory.published();
        MapState {
            generation: published.as_ref().map_or(0, |map| map.number().get()),
            map: memory.map(),
            page_size: published.as_ref().map_or(0, |map| map.page_size()),
            register_calls: published.as_ref().map_or(0, |map| map.register_calls()),
            regions: memory.regions(),
            excluded: *memory.policy.excluded(),
            blackout: self.rebuilds.last_blackout.cost(),
            longest_blackout: self.rebuilds.longest_blackout.cost(),
        }
    }

    /// A queue pair ceases to carry traffic.
    pub(crate) fn begin_blackout(&self) -> Measurement {
        Measurement::begin(self)
    }

    /// It carries traffic again.
    pub(crate) fn end_blackout(&self, blackout: Measurement) {
        let cost = blackout.end(self);
        self.rebuilds.last_blackout.record(&cost);
        self.rebuilds.longest_blackout.record(&cost);
    }

    /// A rebuild begins.
    pub(super) fn begin_rebuild(&self, rebuild: &Rebuild) -> Measurement {
        trace::rebuild_start(
            self.firmware().dev(),
            rebuild.generation().get(),
            rebuild.is_removal(),
        );
        Measurement::begin(self)
    }

    /// The map is to be replaced by another one: from here on, blackouts are those of this rebuild.
    pub(super) fn begin_replacement(&self) {
        self.rebuilds.last_blackout.reset();
    }

    /// The rebuild for map number `generation` has ended, with `bytes` mapped now.
    pub(super) fn end_rebuild(
        &self,
        measurement: Measurement,
        generation: u64,
        outcome: Option<Replaced>,
        bytes: u64,
    ) {
        let cost = measurement.end(self);
        let blackout = self.rebuilds.last_blackout.cost();
        let (result, blackout) = match outcome {
            Some(Replaced::Unchanged) => (RebuildResult::Unchanged, Cost::default()),
            Some(Replaced::Published) => (RebuildResult::Published, blackout),
            None => (RebuildResult::Failed, blackout),
        };
        let end = RebuildEnd {
            generation,
            bytes,
            hcalls: cost.hcalls,
            ns: cost.ns,
            blackout_hcalls: blackout.hcalls,
            blackout_ns: blackout.ns,
            result,
        };
        trace::rebuild_end(self.firmware().dev(), &end);
    }
}
