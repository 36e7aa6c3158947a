// SPDX-License-Identifier: GPL-2.0

//! Memory that the VIO bus maps for the adapter. In a CMO partition, the adapter reaches nothing
//! else (§11).
//!
//! The adapter's DMA window is a table of translation control entries (TCEs). Its work requests
//! name real memory through memory regions, so it does not matter where in the window a page is
//! mapped. It only matters whether the page is mapped, and for which access.

use std::collections::HashMap;

use crate::memory::Access;

/// A translation control entry.
#[derive(Clone, Copy)]
struct Tce(u64);

impl Tce {
    const PAGE_SIZE: u64 = 4096;
    const READ: u64 = 1;
    const WRITE: u64 = 2;

    const fn maps(self) -> bool {
        self.0 & (Self::READ | Self::WRITE) != 0
    }

    const fn page(self) -> u64 {
        Self::page_of(self.0)
    }

    const fn page_of(gpa: u64) -> u64 {
        gpa & !(Self::PAGE_SIZE - 1)
    }
}

/// Number of entries that let the adapter read a page, and number that let it write the page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Uses {
    read: u32,
    write: u32,
}

impl Uses {
    fn change(&mut self, tce: Tce, by: fn(u32, u32) -> u32) {
        self.read = by(self.read, (tce.0 & Tce::READ != 0).into());
        self.write = by(self.write, (tce.0 & Tce::WRITE != 0).into());
    }
}

/// Mappings of an adapter: the entries of its table, by page.
#[derive(Debug, Default)]
pub(crate) struct Mappings {
    pages: HashMap<u64, Uses>,
    /// Number of entries that map something now.
    mapped: u64,
    /// Number of entries that ever mapped something.
    made: u64,
}

impl Mappings {
    /// Changes an entry of the table from `from` to `to`.
    pub(crate) fn put(&mut self, from: u64, to: u64) {
        let (from, to) = (Tce(from), Tce(to));
        if to.maps() {
            self.mapped = self.mapped.saturating_add(1);
            self.made = self.made.saturating_add(1);
            let uses = self.pages.entry(to.page()).or_default();
            uses.change(to, u32::saturating_add);
        }
        if from.maps() {
            self.mapped = self.mapped.saturating_sub(1);
            if let Some(uses) = self.pages.get_mut(&from.page()) {
                uses.change(from, u32::saturating_sub);
                if *uses == Uses::default() {
                    self.pages.remove(&from.page());
                }
            }
        }
    }

    /// Clears all entries of the table.
    pub(crate) fn clear(&mut self) {
        self.pages.clear();
        self.mapped = 0;
    }

    /// Checks whether all of a range may be accessed.
    pub(crate) fn allow(&self, gpa: u64, len: usize, access: Access) -> bool {
        let Some(last) = (len as u64).checked_sub(1) else {
            return true;
        };
        let Some(end) = gpa.checked_add(last) else {
            return false;
        };
        (Tce::page_of(gpa)..=end)
            .step_by(Tce::PAGE_SIZE as usize)
            .all(|page| {
                self.pages.get(&page).is_some_and(|uses| match access {
                    Access::Read => uses.read > 0,
                    Access::Write => uses.write > 0,
                })
            })
    }

    /// Returns the number of entries that map something now.
    pub(crate) const fn mapped(&self) -> u64 {
        self.mapped
    }

    /// Returns the number of entries that mapped something since the adapter was made.
    pub(crate) const fn made(&self) -> u64 {
        self.made
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[test]
    fn every_page_of_a_range_counts() {
        let mut mappings = Mappings::default();
        mappings.put(0, 0x5003);
        mappings.put(0, 0x6001);
        for (gpa, len, read, write) in [
            (0x5000, 4096, true, true),
            (0x5000, 4097, true, false),
            (0x4fff, 1, false, false),
            (0x4fff, 2, false, false),
            (0x6fff, 1, true, false),
            (0x6fff, 2, false, false),
            (0x9000, 0, true, true),
            (u64::MAX, 1, false, false),
            (u64::MAX, 2, false, false),
        ] {
            let allowed = [Access::Read, Access::Write].map(|a| mappings.allow(gpa, len, a));
            assert_eq!(allowed, [read, write], "{gpa:#x}+{len:#x}");
        }
    }

    proptest! {
        /// Compares with a search of the table itself.
        #[test]
        fn counts_what_is_in_the_table(changes in vec((0usize..6, 0u64..4, 0u64..4, 0u8..20), 1..60)) {
            let mut table = [0u64; 6];
            let mut mappings = Mappings::default();
            let mut made = 0;
            for (index, page, bits, clear) in changes {
                if clear == 0 {
                    table = [0; 6];
                    mappings.clear();
                }
                let tce = (page << 12) | bits;
                mappings.put(table[index], tce);
                table[index] = tce;
                made += u64::from(bits != 0);
                for page in 0..4 {
                    let any = |bit| table.iter().any(|tce| tce >> 12 == page && tce & bit != 0);
                    let at = page << 12;
                    prop_assert_eq!(mappings.allow(at + 5, 8, Access::Read), any(1));
                    prop_assert_eq!(mappings.allow(at + 5, 8, Access::Write), any(2));
                }
                let mapped = table.iter().filter(|&&tce| tce & 3 != 0).count() as u64;
                prop_assert_eq!((mappings.mapped(), mappings.made()), (mapped, made));
                prop_assert!(mappings.pages.len() as u64 <= mapped);
            }
        }
    }
}
