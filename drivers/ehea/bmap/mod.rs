// SPDX-License-Identifier: GPL-2.0

//! The busmap: from real addresses to adapter addresses (eHEA ABI §8.1).
//!
//! The adapter sees memory through one memory region that covers all online system RAM, in sections
//! of 16 MiB, in ascending order of real address and without holes. The busmap says where in the
//! region a real address is. It stores *runs* of physically adjacent sections, so that a machine
//! with contiguous RAM needs one run, whatever its size.
//!
//! Memory with many holes has an index besides: the range from the first to the last run is cut
//! into *buckets* of equal size, about as many as there are runs, and for each bucket the last run
//! that starts in it or below is known. The run of an address is that one, or one of the few before
//! it, however many runs there are.
//!
//! A [`Busmap`] never changes once a [`Builder`] has made it: readers need no lock. When memory
//! comes or goes, a new one is built and takes the place of the old one.
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

/// Bytes of a section: the unit in which memory is mapped.
pub const SECTION_SIZE: u64 = 16 << 20;

/// The adapter address of the first mapped byte.
pub const START: u64 = 0x8000_0000_0000_0000;

/// There is no memory for another run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// A growing array of runs, and, to find them faster, another one of run numbers.
///
/// The second one is optional: without it, translation takes a search over all runs.
pub trait RunStore {
    /// Appends `run`, or leaves the array as it is and fails.
    fn try_push(&mut self, run: Run) -> Result<(), OutOfMemory>;

    /// All runs, in the order in which they were appended.
    fn as_slice(&self) -> &[Run];

    /// Appends the number of a run to the second array, or leaves the array as it is and fails.
    fn try_push_bucket(&mut self, _run: u16) -> Result<(), OutOfMemory> {
        Err(OutOfMemory)
    }

    /// The second array.
    fn buckets(&self) -> &[u16] {
        &[]
    }

    /// Gives back memory that the arrays don't need, since they won't grow any more.
    fn fit(&mut self) {}
}

/// Sections that are adjacent in real address space, and therefore in bus address space too.
///
/// # Invariants
///
/// `real` and `len` are multiples of [`SECTION_SIZE`]; neither `real + len` nor `bus + len`
/// overflows. `len` is 0 only in `Run::EMPTY`, which no busmap contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    real: u64,
    bus: u64,
    len: u64,
}

impl Run {
    /// Stands for the first run of an empty map. Nothing translates.
    const EMPTY: Self = Self {
        real: 0,
        bus: START,
        len: 0,
    };

    /// First real address.
    #[inline]
    pub const fn real(&self) -> u64 {
        self.real
    }

    /// The adapter address of the first byte.
    #[inline]
    pub const fn bus(&self) -> u64 {
        self.bus
    }

    /// Length in bytes.
    #[inline]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether the run has no bytes. No run of a busmap is empty.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The real addresses of the run.
    #[inline]
    pub const fn range(&self) -> RealRange {
        RealRange::of_run(self)
    }

    /// The adapter address of `real`, if the `len` bytes from there lie in the run.
    #[inline]
    fn translate(&self, real: u64, len: u64) -> Option<u64> {
        // An address below the run wraps to an offset beyond its end, because `real + len` of a run
        // does not overflow.
        let offset = real.wrapping_sub(self.real);
        if offset < self.len && len <= self.len - offset {
            Some(self.bus.wrapping_add(offset))
        } else {
            None
        }
    }
}
