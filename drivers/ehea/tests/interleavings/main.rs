// SPDX-License-Identifier: GPL-2.0

//! All interleavings, and all values that a processor may read, of what runs at the same time
//! without a lock: posting against completion, the packet path against the rebuild worker, the end
//! of a generation against whoever waits for it.
//!
//! The files of the driver that do it are compiled here once more, with atomic variables that know
//! all their past values. A missing barrier or a too weak order shows as a data race, as a queue that
//! nobody wakes, or as a rebuild that nobody does.

#[allow(dead_code, unreachable_pub, reason = "as in the driver")]
#[path = "../../mr/alive.rs"]
mod alive;
mod generations;
#[allow(dead_code, unreachable_pub, reason = "as in the driver")]
#[path = "../../mr/miss.rs"]
mod miss;
mod misses;
#[allow(dead_code, unreachable_pub, reason = "as in the driver")]
#[path = "../../queue/progress.rs"]
mod progress;
mod sending;

/// What the files of the driver find their atomic variables in.
mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

    /// A full barrier between accesses to memory.
    pub(crate) fn full_barrier() {
        loom::sync::atomic::fence(Ordering::SeqCst);
    }
}

/// What the files of the driver find beside them.
use ehea_core::queue::{SendPoster, WorkQueue};

/// Tries all interleavings of `scenario` in which no thread is interrupted more often than
/// `preemptions` times in all, not counting where it waits.
fn interleave(preemptions: usize, scenario: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(scenario);
}
