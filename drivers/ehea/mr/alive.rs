// SPDX-License-Identifier: GPL-2.0

//! How many memory maps have a region, and hence may be used by the adapter.

use core::ops::Deref;

use crate::sync::{
    AtomicU32,
    Ordering::{
        Acquire,
        Relaxed,
        Release, //
    }, //
};

/// A number of generations.
#[derive(Debug)]
pub struct AliveCount(AtomicU32);

impl AliveCount {
    /// None.
    pub fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// How many there are. Whoever sees one go sees all that its owner did before, in particular
    /// that its region is freed.
    pub fn get(&self) -> u32 {
        self.0.load(Acquire)
    }
}

impl Default for AliveCount {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts as a generation as long as it exists. `C` is a shared owner of the count, such as an `Arc`.
///
/// To be dropped after the generation's region is freed.
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
