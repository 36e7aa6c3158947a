// SPDX-License-Identifier: GPL-2.0

//! Making of a busmap.

use core::fmt;

use super::{Busmap, OutOfMemory, RealRange, Run, RunStore, SECTION_SIZE, START};

/// Why a busmap can't be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// Base or length of the memory are not multiples of [`SECTION_SIZE`], or it has no bytes.
    Misaligned {
        /// First real address.
        base: u64,
        /// Length in bytes.
        len: u64,
    },
    /// The memory goes beyond the end of the address space.
    Overflow {
        /// First real address.
        base: u64,
        /// Length in bytes.
        len: u64,
    },
    /// The memory starts below the end of what was added before.
    NotAscending {
        /// First real address.
        base: u64,
    },
    /// There is more memory than adapter addresses.
    TooLarge,
    /// There is no memory for the map itself.
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

/// Takes the sections of a machine and makes a [`Busmap`] of them.
pub struct Builder<'a, R> {
    store: R,
    excluded: &'a [RealRange],
    /// The run that still grows; [`Run::EMPTY`] before the first section.
    current: Run,
    /// The first run, once it is complete.
    first: Option<Run>,
    /// Where the memory added so far ends, excluded or not.
    real_end: u64,
    /// Bytes mapped so far.
    total: u64,
}

impl<'a, R: RunStore> Builder<'a, R> {
    /// Starts a map whose runs go into the empty `store`. Sections that have an address in common
    /// with one of the `excluded` ranges are left out.
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

    /// Adds `len` bytes of memory from the real address `base`: one section or several.
    ///
    /// # Errors
    ///
    /// Memory must be added in whole sections and in ascending order. After an error the map is
    /// incomplete, and the builder should be dropped.
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

    /// Appends aligned memory above everything before to the map.
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

    /// The map of everything that was added. It is empty if nothing was.
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
