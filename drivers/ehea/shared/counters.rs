// SPDX-License-Identifier: GPL-2.0

//! Counts and measurements of rebuilds of the memory map.
//!
//! A rebuild is measured in hypercalls of the adapter and in time. So is the *blackout* of each queue
//! pair that it moves: from when frames to be sent are held back until the queue pair carries traffic
//! again.

use crate::{
    firmware::Firmware,
    kernel_ext::net::stats::Counter, //
};
use core::sync::atomic::{
    AtomicU64,
    Ordering::Relaxed, //
};
use kernel::time::{
    Instant,
    Monotonic, //
};

/// Counts of rebuilds of the memory map.
#[derive(Default)]
pub(crate) struct RebuildCounters {
    /// Number of rebuilds because a buffer was not in the map.
    pub(crate) lazy: Counter,
    /// Number of rebuilds because memory was about to be removed.
    pub(crate) immediate: Counter,
    /// Number of removals of memory that were refused.
    pub(crate) refused: Counter,
    /// Number of rebuilds that failed, including those of refused removals.
    pub(crate) failed: Counter,
    /// Number of rebuilds for which the old region had to be freed before the new one could be
    /// registered.
    pub(crate) break_first: Counter,
    /// Blackout of the last rebuild. It is reset under the lock of the memory map only.
    pub(super) last_blackout: Blackout,
    /// Longest blackout since the driver was bound.
    pub(super) longest_blackout: Blackout,
}

/// Maximum time, and maximum number of hypercalls, for which one of several queue pairs carried no
/// traffic.
#[derive(Default)]
pub(crate) struct Blackout {
    hcalls: AtomicU64,
    ns: AtomicU64,
}

impl Blackout {
    /// Returns both maximums.
    pub(super) fn cost(&self) -> Cost {
        Cost {
            hcalls: self.hcalls.load(Relaxed),
            ns: self.ns.load(Relaxed),
        }
    }

    /// Forgets what was recorded.
    pub(super) fn reset(&self) {
        self.hcalls.store(0, Relaxed);
        self.ns.store(0, Relaxed);
    }

    /// Records the cost for one queue pair.
    pub(super) fn record(&self, cost: &Cost) {
        self.hcalls.fetch_max(cost.hcalls, Relaxed);
        self.ns.fetch_max(cost.ns, Relaxed);
    }
}

/// Cost of an operation.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cost {
    /// Number of hypercalls for the adapter. Calls that other ports made meanwhile count.
    pub(crate) hcalls: u64,
    /// Time in nanoseconds.
    pub(crate) ns: u64,
}

/// Measurement that has begun.
pub(crate) struct Measurement {
    calls: u64,
    start: Instant<Monotonic>,
}

impl Measurement {
    /// Begins a measurement.
    pub(super) fn begin(firmware: &Firmware) -> Self {
        Self {
            calls: firmware.calls(),
            start: Instant::now(),
        }
    }

    /// Returns the cost since the beginning.
    pub(super) fn end(self, firmware: &Firmware) -> Cost {
        Cost {
            hcalls: firmware.calls().wrapping_sub(self.calls),
            ns: self.start.elapsed().as_nanos().unsigned_abs(),
        }
    }
}
