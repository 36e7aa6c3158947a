// SPDX-License-Identifier: GPL-2.0
//! What the map is compared with: a table of three levels with 8192 entries each, one entry for
//! each section, as the driver in C had it.
//!
//! The host's benchmark (`benches/map`) compiles this file, too; how memory is allocated is up to the
//! module above.

use super::{
    boxes::{
        empty,
        zeros,
        Box,
        Error, //
    },
    SECTION_SIZE,
    START, //
};

/// Bits of a section number that select an entry of one level.
const BITS: u32 = 13;
/// Entries of a level.
pub(crate) const ENTRIES: usize = 1 << BITS;

/// The adapter addresses of sections; 0 stands for none.
type Sections = [u64; ENTRIES];
type Directory = [Option<Box<Sections>>; ENTRIES];

/// The table. Levels are allocated as they are needed.
pub(crate) struct Table {
    top: Box<[Option<Box<Directory>>; ENTRIES]>,
}

/// The entry of a level for the section number shifted right by `shift`.
const fn index(section: u64, shift: u32) -> usize {
    (section >> shift) as usize & (ENTRIES - 1)
}

impl Table {
    /// The table of the memory that consists of these ranges, given by start and length.
    pub(crate) fn new(memory: impl Iterator<Item = (u64, u64)>) -> Result<Self, Error> {
        let mut table = Self { top: empty()? };
        let mut bus = START;
        for (base, len) in memory {
            for section in base / SECTION_SIZE..(base + len) / SECTION_SIZE {
                let directory = match &mut table.top[index(section, 2 * BITS)] {
                    Some(directory) => directory,
                    none => none.insert(empty()?),
                };
                let sections = match &mut directory[index(section, BITS)] {
                    Some(sections) => sections,
                    none => none.insert(zeros()?),
                };
                sections[index(section, 0)] = bus;
                bus += SECTION_SIZE;
            }
        }
        Ok(table)
    }

    /// The adapter address of a real address. Nobody asks whether a buffer ends in the same
    /// section.
    #[inline]
    pub(crate) fn translate(&self, real: u64) -> Option<u64> {
        let section = real / SECTION_SIZE;
        let directory = self.top[index(section, 2 * BITS)].as_ref()?;
        let sections = directory[index(section, BITS)].as_ref()?;
        match sections[index(section, 0)] {
            0 => None,
            bus => Some(bus | (real % SECTION_SIZE)),
        }
    }
}
