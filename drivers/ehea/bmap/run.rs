// SPDX-License-Identifier: GPL-2.0

//! Runs of adjacent sections, and the store that keeps them.

use super::RealRange;

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
/// `real` and `len` are multiples of [`SECTION_SIZE`](super::SECTION_SIZE). Neither `real + len` nor `bus + len`
/// overflows. `len` is 0 only in `Run::EMPTY`, which no busmap contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub(super) real: u64,
    pub(super) bus: u64,
    pub(super) len: u64,
}

impl Run {
    /// Placeholder for the first run of an empty map. It translates no address.
    pub(super) const EMPTY: Self = Self {
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
        // By the type invariants of `Run` the sum doesn't overflow.
        RealRange::of(self.real, self.len)
    }

    /// Returns the adapter address of `real`, or `None` if the `len` bytes from there do not lie in
    /// the run.
    #[inline]
    pub(super) fn translate(&self, real: u64, len: u64) -> Option<u64> {
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
