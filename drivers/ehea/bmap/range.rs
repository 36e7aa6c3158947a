// SPDX-License-Identifier: GPL-2.0

//! Ranges of real addresses.

/// Size of a section in bytes: the unit in which memory is mapped.
pub const SECTION_SIZE: u64 = 16 << 20;

/// A range of real addresses, for example a memory block that goes offline.
///
/// # Invariants
///
/// `start + len` does not overflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RealRange {
    start: u64,
    len: u64,
}

impl RealRange {
    /// The range without any address.
    pub const EMPTY: Self = Self { start: 0, len: 0 };

    /// Returns the range of `len` bytes from `start`, or `None` if it extends beyond the end of the
    /// address space.
    #[inline]
    pub const fn new(start: u64, len: u64) -> Option<Self> {
        match start.checked_add(len) {
            // INVARIANT: The sum was just checked.
            Some(_) => Some(Self { start, len }),
            None => None,
        }
    }

    /// Returns the `len` bytes from `start`. The caller ensures that `start + len` does not overflow.
    #[inline]
    pub(super) const fn of(start: u64, len: u64) -> Self {
        // INVARIANT: By the caller.
        Self { start, len }
    }

    /// Returns the bytes from `start` up to but not including `end`. The range is empty if there
    /// are none.
    #[inline]
    const fn between(start: u64, end: u64) -> Self {
        // INVARIANT: `start + (end - start)` is `end`, or `len` is 0.
        Self {
            start,
            len: end.saturating_sub(start),
        }
    }

    /// Returns the first address.
    #[inline]
    pub const fn start(&self) -> u64 {
        self.start
    }

    /// Returns the length in bytes.
    #[inline]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Returns the address behind the last one.
    #[inline]
    pub const fn end(&self) -> u64 {
        // By the type invariants this does not wrap.
        self.start.wrapping_add(self.len)
    }

    /// Checks whether the range has no address.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Checks whether both ranges have an address in common.
    #[inline]
    pub const fn intersects(&self, other: &Self) -> bool {
        !self.is_empty()
            && !other.is_empty()
            && self.start < other.end()
            && other.start < self.end()
    }

    /// Checks whether all addresses of `other` are in this range.
    #[inline]
    pub const fn contains(&self, other: &Self) -> bool {
        other.is_empty() || (self.start <= other.start && other.end() <= self.end())
    }

    /// Returns the smallest range of whole sections that contains this range.
    ///
    /// A memory block that carries its own memory map goes offline without the pages of that map,
    /// so the range need not start on a section boundary. The last section of the address space
    /// cannot be mapped and is cut off.
    pub const fn whole_sections(&self) -> Self {
        if self.is_empty() {
            return Self::EMPTY;
        }
        let mask = SECTION_SIZE - 1;
        Self::between(
            self.start & !mask,
            match self.end().checked_add(mask) {
                Some(end) => end & !mask,
                None => !mask,
            },
        )
    }

    /// Returns the part below `other` and the part above it. Either may be empty.
    pub const fn without(&self, other: &Self) -> [Self; 2] {
        if !self.intersects(other) {
            return [*self, Self::EMPTY];
        }
        [
            Self::between(self.start, other.start),
            Self::between(other.end(), self.end()),
        ]
    }
}
