// SPDX-License-Identifier: GPL-2.0

//! Number of memory maps that have a region. The adapter may use the memory in all of them.

use core::ops::Deref;

use crate::sync::{
    AtomicU32,
    Ordering::{
        Acquire,
        Relaxed,
        Release, //
    }, //
};

/// Number of generations.
#[derive(Debug)]
pub struct AliveCount(AtomicU32);

impl AliveCount {
    /// Returns the number 0.
    pub fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Returns the number. A caller that sees it decrease also sees everything that was done
    /// before, in particular that the region was freed.
    pub fn get(&self) -> u32 {
        self.0.load(Acquire)
    }
}

impl Default for AliveCount {
    fn default() -> Self {
        Self::new()
    }
}

/// Guard that counts as a generation as long as it exists. `C` is a shared owner of the number,
/// such as an `Arc`.
///
/// It must be dropped after the region of the generation is freed.
#[derive(Debug)]
pub struct Alive<C: Deref<Target = AliveCount>>(C);

impl<C: Deref<Target = AliveCount>> Alive<C> {
    /// Counts one more.
    pub fn new(count: C) -> Self {
        count.0.fetch_add(1, Relaxed);
        Self(count)
    }
}

impl<C: Deref<Target = AliveCount>> Drop for Alive<C> {
    fn drop(&mut self) {
        // Pairs with `AliveCount::get()`.
        self.0 .0.fetch_sub(1, Release);
    }
}
