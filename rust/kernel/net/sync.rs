// SPDX-License-Identifier: GPL-2.0

//! Atomic variables and barriers for parts that need nothing else of the kernel. Their tests have
//! something else in this place.

pub(crate) use core::sync::atomic::{
    AtomicBool,
    Ordering, //
};
use kernel::sync::barrier;

/// Orders all earlier accesses to memory before all later ones.
#[inline]
pub(crate) fn full_barrier() {
    barrier::smp_mb(barrier::Full);
}
