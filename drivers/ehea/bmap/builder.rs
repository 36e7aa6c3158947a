// SPDX-License-Identifier: GPL-2.0

//! Construction of a busmap.

use core::fmt;

use super::{Busmap, OutOfMemory, RealRange, Run, RunStore, SECTION_SIZE, START};

/// Reason why a busmap cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// The base or the length of the memory is not a multiple of [`SECTION_SIZE`], or the length is
    /// 0.
    Misaligned {
        /// First real address.
        base: u64,
        /// Length in bytes.
        len: u64,
    },
    /// The memory extends beyond the end of the address space.
    Overflow {
        /// First real address.
        base: u64,
        /// Length in bytes.
        len: u64,
    },
    /// The memory starts below the end of the memory that was added before it.
    NotAscending {
        /// First real address.
        base: u64,
    },
    /// The memory needs more adapter addresses than there are.
    TooLarge,
    /// No memory is left for the map itself.
    OutOfMemory,
}

impl From<OutOfMemory> for BuildError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misaligned { base, len } => {
                write!(
                    f,
                    "memory at {base:#x}, {len:#x} bytes, is no whole section"
                )
            }
            Self::Overflow { base, len } => {
                write!(f, "memory at {base:#x}, {len:#x} bytes, has no end")
            }
            Self::NotAscending { base } => {
                write!(f, "memory at {base:#x} overlaps or is out of order")
            }
            Self::TooLarge => f.write_str("more memory than adapter addresses"),
            Self::OutOfMemory => f.write_str("out of memory"),
        }
    }
}

/// Collects the sections of a machine and makes a [`Busmap`] of them.
pub struct Builder<'a, R> {
    store: R,
    excluded: &'a [RealRange],
    /// Run that is still growing; [`Run::EMPTY`] before the first section.
    current: Run,
    /// First run, once it is complete.
    first: Option<Run>,
    /// End of the memory added so far, including excluded memory.
    real_end: u64,
    /// Number of bytes mapped so far.
    total: u64,
}

impl<'a, R: RunStore> Builder<'a, R> {
    /// Starts a map that keeps its runs in the empty `store`. Sections that overlap one of the
    /// `excluded` ranges are left out.
    pub fn new(store: R, excluded: &'a [RealRange]) -> Self {
        Self {
            store,
            excluded,
            current: Run::EMPTY,
            first: None,
            real_end: 0,
            total: 0,
        }
    }

    /// Adds `len` bytes of memory from the real address `base`: one or more sections.
    ///
    /// # Errors
    ///
    /// [`BuildError`] if the memory is not in whole sections, is not in ascending order, or cannot
    /// be mapped. The map is then incomplete, and the builder should be dropped.
    pub fn add(&mut self, base: u64, len: u64) -> Result<(), BuildError> {
        if (base | len) & (SECTION_SIZE - 1) != 0 || len == 0 {
            return Err(BuildError::Misaligned { base, len });
        }
        let end = base
            .checked_add(len)
            .ok_or(BuildError::Overflow { base, len })?;
        if base < self.real_end {
            return Err(BuildError::NotAscending { base });
        }
        self.real_end = end;

        if self.excluded.iter().all(RealRange::is_empty) {
            return self.append(base, len);
        }
        let mut section = base;
        while section < end {
            let range =
                RealRange::new(section, SECTION_SIZE).ok_or(BuildError::Overflow { base, len })?;
            if !self.excluded.iter().any(|other| other.intersects(&range)) {
                self.append(section, SECTION_SIZE)?;
            }
            section = range.end();
        }
        Ok(())
    }

    /// Appends memory to the map. The memory is aligned and lies above everything added before.
    fn append(&mut self, real: u64, len: u64) -> Result<(), BuildError> {
        let total = self.total.checked_add(len).ok_or(BuildError::TooLarge)?;
        START.checked_add(total).ok_or(BuildError::TooLarge)?;
        if !self.current.is_empty() && self.current.range().end() == real {
            // INVARIANT: `add` checked that the memory has an end; the bus addresses were checked
            // above.
            self.current.len = self.current.len.saturating_add(len);
        } else {
            self.flush()?;
            // INVARIANT: As above.
            self.current = Run {
                real,
                bus: START.saturating_add(self.total),
                len,
            };
        }
        self.total = total;
        Ok(())
    }

    /// Stores the current run.
    fn flush(&mut self) -> Result<(), OutOfMemory> {
        if !self.current.is_empty() {
            self.store.try_push(self.current)?;
            self.first.get_or_insert(self.current);
        }
        Ok(())
    }

    /// Returns the map of all memory that was added. It is empty if none was added.
    ///
    /// # Errors
    ///
    /// [`BuildError::OutOfMemory`].
    pub fn finish(mut self) -> Result<Busmap<R>, BuildError> {
        self.flush()?;
        Ok(Busmap::new(
            self.store,
            self.first.unwrap_or(Run::EMPTY),
            self.total,
        ))
    }
}
