// SPDX-License-Identifier: GPL-2.0

//! What parts that need no kernel take from it. Their tests have something else in this place.

pub(crate) use core::sync::atomic::{
    AtomicBool,
    Ordering, //
};
use kernel::sync::barrier;

/// A full barrier between accesses to memory.
#[inline]
pub(crate) fn full_barrier() {
    barrier::smp_mb(barrier::Full);
}
