// SPDX-License-Identifier: GPL-2.0

//! Atomic variables for the parts that need no kernel. Their tests have others in this place.

pub(crate) use core::sync::atomic::{
    AtomicBool,
    AtomicU32,
    AtomicU64,
    Ordering, //
};
use kernel::sync::barrier;

/// A full barrier between accesses to memory.
#[inline]
pub(crate) fn full_barrier() {
    barrier::smp_mb(barrier::Full);
}
