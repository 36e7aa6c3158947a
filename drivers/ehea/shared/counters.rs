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
    /// The blackout of the last rebuild. Changes under the lock of the memory map only.
    pub(super) last_blackout: Blackout,
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

    /// Forgets what was recorded.
    pub(super) fn reset(&self) {
        self.hcalls.store(0, Relaxed);
        self.ns.store(0, Relaxed);
    }

    /// Takes note of what one queue pair has taken.
    pub(super) fn record(&self, cost: &Cost) {
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

    /// Returns what was taken since the beginning.
    pub(super) fn end(self, firmware: &Firmware) -> Cost {
        Cost {
            hcalls: firmware.calls().wrapping_sub(self.calls),
            ns: self.start.elapsed().as_nanos().unsigned_abs(),
        }
    }
}
