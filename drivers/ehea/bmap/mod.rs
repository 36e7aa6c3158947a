// SPDX-License-Identifier: GPL-2.0

//! The busmap: translation of real addresses to adapter addresses (eHEA ABI §8.1).
//!
//! The adapter sees memory through one memory region. The region covers all online system RAM in
//! sections of 16 MiB, in ascending order of real address and without holes. The busmap tells where
//! in the region a real address is. It stores *runs* of physically adjacent sections, so that a
//! machine with contiguous RAM needs one run, whatever its size.
//!
//! Memory with many holes also has an index. The range from the first to the last run is cut into
//! *buckets* of equal size, about as many as there are runs. Each bucket stores the last run that
//! starts in it or below it. The run of an address is that run or one of the few before it, however
//! many runs there are.
//!
//! A [`Busmap`] never changes once a [`Builder`] has made it, so readers need no lock. When memory
//! is added or removed, a new map is built and replaces the old one.
//!
//! The store of runs is a parameter ([`RunStore`]), because memory allocation differs between the
//! kernel and the host.

mod builder;
mod index;
mod map;
mod range;
#[cfg(test)]
mod tests;

pub use builder::{BuildError, Builder};
pub use map::{Busmap, Pages};
pub use range::RealRange;

/// Size of a section in bytes: the unit in which memory is mapped.
pub const SECTION_SIZE: u64 = 16 << 20;

/// Adapter address of the first mapped byte.
pub const START: u64 = 0x8000_0000_0000_0000;

/// Failure to allocate memory for another run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// A growing array of runs and a growing array of run numbers, which speeds up searches.
///
/// The second array is optional: without it, a translation searches all runs.
pub trait RunStore {
    /// Appends `run`. Leaves the array unchanged if that fails.
    fn try_push(&mut self, run: Run) -> Result<(), OutOfMemory>;

    /// Returns all runs, in the order in which they were appended.
    fn as_slice(&self) -> &[Run];

    /// Appends the number of a run to the second array. Leaves the array unchanged if that fails.
    fn try_push_bucket(&mut self, _run: u16) -> Result<(), OutOfMemory> {
        Err(OutOfMemory)
    }

    /// Returns the second array.
    fn buckets(&self) -> &[u16] {
        &[]
    }

    /// Releases the unused memory of the arrays, which will not grow any more.
    fn fit(&mut self) {}
}

/// Sections that are adjacent in real address space and therefore in bus address space.
///
/// # Invariants
///
/// `real` and `len` are multiples of [`SECTION_SIZE`]. Neither `real + len` nor `bus + len`
/// overflows. `len` is 0 only in `Run::EMPTY`, which no busmap contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    real: u64,
    bus: u64,
    len: u64,
}

impl Run {
    /// Placeholder for the first run of an empty map. It translates no address.
    const EMPTY: Self = Self {
        real: 0,
        bus: START,
        len: 0,
    };

    /// Returns the first real address.
    #[inline]
    pub const fn real(&self) -> u64 {
        self.real
    }

    /// Returns the adapter address of the first byte.
    #[inline]
    pub const fn bus(&self) -> u64 {
        self.bus
    }

    /// Returns the length in bytes.
    #[inline]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Checks whether the run has no bytes. No run of a busmap is empty.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the real addresses of the run.
    #[inline]
    pub const fn range(&self) -> RealRange {
        RealRange::of_run(self)
    }

    /// Returns the adapter address of `real`, or `None` if the `len` bytes from there do not lie in
    /// the run.
    #[inline]
    fn translate(&self, real: u64, len: u64) -> Option<u64> {
        // An address below the run wraps to an offset beyond the run's end, because `real + len` of
        // a run does not overflow.
        let offset = real.wrapping_sub(self.real);
        if offset < self.len && len <= self.len - offset {
            Some(self.bus.wrapping_add(offset))
        } else {
            None
        }
    }
}
