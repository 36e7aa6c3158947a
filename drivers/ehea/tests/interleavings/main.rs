// SPDX-License-Identifier: GPL-2.0

//! Checks of code that runs concurrently without a lock, in all interleavings and with all values
//! that a processor may read: posting against completion, the packet path against the rebuild
//! worker, and the end of a generation against the thread that waits for it.
//!
//! The files of the driver that contain this code are compiled here again, with atomic variables
//! that know all their past values. A missing barrier or an ordering that is too weak shows as a
//! data race, as a queue that nobody wakes, or as a rebuild that nobody does.

#[allow(unreachable_pub, reason = "as in the driver")]
#[path = "../../mr/alive.rs"]
mod alive;
mod generations;
#[allow(unreachable_pub, reason = "as in the driver")]
#[path = "../../../../rust/kernel/net/hold.rs"]
mod hold;
#[allow(unreachable_pub, reason = "as in the driver")]
#[path = "../../mr/miss.rs"]
mod miss;
mod misses;
#[allow(unreachable_pub, reason = "as in the driver")]
#[path = "../../queue/progress.rs"]
mod progress;
mod sending;

/// Module in which the driver's files find their atomic variables.
mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

    /// Orders all earlier accesses to memory before all later ones.
    pub(crate) fn full_barrier() {
        loom::sync::atomic::fence(Ordering::SeqCst);
    }
}

/// Module that the driver's files find next to them.
use ehea_core::queue::{SendPoster, WorkQueue};

/// Tries all interleavings of `scenario` in which threads are interrupted at most `preemptions`
/// times in total. Points at which a thread waits do not count.
fn interleave(preemptions: usize, scenario: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(scenario);
}
