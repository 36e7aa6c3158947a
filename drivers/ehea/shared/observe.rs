// SPDX-License-Identifier: GPL-2.0

//! What can be seen of the memory map and of its rebuilds.
//!
//! A rebuild is measured in hypercalls of the adapter and in time. So is the *blackout* of each queue
//! pair that it moves: from when frames to be sent are held back until the queue pair carries traffic
//! again.

use super::{
    Adapter,
    Map, //
};
use crate::{
    kernel_ext::net::stats::Counter,
    mr::{
        Exclusions,
        Outcome,
        Rebuild, //
    },
    trace::{
        self,
        RebuildEnd,
        RebuildResult, //
    }, //
};
use core::sync::atomic::{
    AtomicU64,
    Ordering::Relaxed, //
};
use kernel::{
    sync::Arc,
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// What rebuilds of the memory map have done.
#[derive(Default)]
pub(crate) struct RebuildCounters {
    /// Rebuilds because a buffer was not in the map.
    pub(crate) lazy: Counter,
    /// Rebuilds because memory was about to be removed.
    pub(crate) immediate: Counter,
    /// Removals of memory that were refused.
    pub(crate) refused: Counter,
    /// Rebuilds that failed, refused removals among them.
    pub(crate) failed: Counter,
    /// Rebuilds for which the old region had to go before the new one could come.
    pub(crate) break_first: Counter,
    /// The blackout of the last rebuild. Changes under [`Adapter::memory`] only.
    last_blackout: Blackout,
    /// The longest blackout since the driver was bound.
    pub(super) longest_blackout: Blackout,
}

/// The longest time, and the most hypercalls, that one of several queue pairs carried no traffic for.
#[derive(Default)]
pub(crate) struct Blackout {
    hcalls: AtomicU64,
    ns: AtomicU64,
}

impl Blackout {
    /// The highest of both.
    pub(super) fn cost(&self) -> Cost {
        Cost {
            hcalls: self.hcalls.load(Relaxed),
            ns: self.ns.load(Relaxed),
        }
    }

    fn reset(&self) {
        self.hcalls.store(0, Relaxed);
        self.ns.store(0, Relaxed);
    }

    fn record(&self, cost: &Cost) {
        self.hcalls.fetch_max(cost.hcalls, Relaxed);
        self.ns.fetch_max(cost.ns, Relaxed);
    }
}

/// What something has taken.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cost {
    /// Hypercalls of the adapter. Those of other ports that happened to be made meanwhile count.
    pub(crate) hcalls: u64,
    /// Nanoseconds.
    pub(crate) ns: u64,
}

/// A measurement that has begun.
pub(crate) struct Measurement {
    calls: u64,
    start: Instant<Monotonic>,
}

impl Measurement {
    fn begin(adapter: &Adapter) -> Self {
        Self {
            calls: adapter.firmware.calls(),
            start: Instant::now(),
        }
    }

    fn end(self, adapter: &Adapter) -> Cost {
        Cost {
            hcalls: adapter.firmware.calls().wrapping_sub(self.calls),
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
}

impl Adapter {
    /// The memory map in use. Waits for a rebuild that is under way.
    pub(crate) fn map_state(&self) -> MapState {
        let memory = self.memory.lock();
        let published = memory.published();
        MapState {
            generation: published.as_ref().map_or(0, |map| map.number().number()),
            map: memory.map(),
            page_size: published.as_ref().map_or(0, |map| map.page_size()),
            register_calls: published.as_ref().map_or(0, |map| map.register_calls()),
            regions: memory.regions(),
            excluded: *memory.policy.excluded(),
            blackout: self.rebuilds.last_blackout.cost(),
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
            self.firmware.dev(),
            rebuild.generation().number(),
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
        outcome: Outcome,
        bytes: u64,
    ) {
        let cost = measurement.end(self);
        let blackout = self.rebuilds.last_blackout.cost();
        let (result, blackout) = match outcome {
            Outcome::Unchanged => (RebuildResult::Unchanged, Cost::default()),
            Outcome::Published => (RebuildResult::Published, blackout),
            Outcome::Failed => (RebuildResult::Failed, blackout),
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
        trace::rebuild_end(self.firmware.dev(), &end);
    }
}
