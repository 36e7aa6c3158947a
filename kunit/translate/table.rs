// SPDX-License-Identifier: GPL-2.0
//! Table with which the map is compared. It has three levels with 8192 entries each and one entry
//! for each section, like that of the driver in C.
//!
//! The host's benchmark (`benches/map`) compiles this file, too. The module that declares it
//! decides how memory is allocated.

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

/// Number of bits of a section number that select an entry of one level.
const BITS: u32 = 13;
/// Number of entries of a level.
pub(crate) const ENTRIES: usize = 1 << BITS;

/// Adapter addresses of sections; 0 stands for no address.
type Sections = [u64; ENTRIES];
type Directory = [Option<Box<Sections>>; ENTRIES];

/// The table. Levels are allocated when they are needed.
pub(crate) struct Table {
    top: Box<[Option<Box<Directory>>; ENTRIES]>,
}

/// Returns the index of an entry in a level. `shift` is the number of lower bits of the section
/// number that belong to other levels.
const fn index(section: u64, shift: u32) -> usize {
    (section >> shift) as usize & (ENTRIES - 1)
}

impl Table {
    /// Returns the table of the memory `memory`, given as start and length of each range.
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

    /// Returns the adapter address of a real address. It is not checked whether a buffer ends in
    /// the same section.
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
