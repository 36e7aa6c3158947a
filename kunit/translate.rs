// SPDX-License-Identifier: GPL-2.0

//! Translations whose instructions are counted. `cargo xtask bench --only map` runs these cases one
//! by one and counts the instructions of [`through_map`] and [`through_table`] beyond those of
//! [`through_nothing`].

use kernel::prelude::*;

use crate::{
    bmap::{
        Builder,
        Busmap,
        SECTION_SIZE,
        START, //
    },
    runs::Runs, //
};
use table::Table;

mod table;

/// Allocation of memory for the table.
mod boxes {
    use super::table::ENTRIES;
    use kernel::prelude::*;
    use pin_init::init_zeroed;

    pub(super) use kernel::{
        alloc::KBox as Box,
        error::Error, //
    };

    /// Returns a level without entries.
    pub(super) fn empty<T>() -> Result<Box<[Option<Box<T>>; ENTRIES]>> {
        Box::init(init_zeroed(), GFP_KERNEL)
    }

    /// Returns a lowest level without sections.
    pub(super) fn zeros() -> Result<Box<[u64; ENTRIES]>> {
        Box::init(init_zeroed(), GFP_KERNEL)
    }
}

/// Usual size, in bytes, of a memory block that a partition gets or gives back.
const BLOCK: u64 = 256 << 20;

/// Size of a buffer in bytes.
const LEN: u64 = 2048;

/// Number of addresses that each case translates.
const COUNT: u64 = 8192;

/// Memory in runs of `len` bytes, with holes of the same size between them.
#[derive(Clone, Copy)]
struct Layout {
    count: u64,
    len: u64,
}

impl Layout {
    const CONTIGUOUS: Self = Self {
        count: 1,
        len: 64 << 30,
    };
    const RUNS_16: Self = Self {
        count: 16,
        len: BLOCK,
    };
    const RUNS_1024: Self = Self {
        count: 1024,
        len: BLOCK,
    };

    /// Returns the start and length of each run.
    fn runs(self) -> impl Iterator<Item = (u64, u64)> {
        (0..self.count).map(move |n| (2 * n * self.len, self.len))
    }

    /// Returns buffers distributed over the memory, with their adapter addresses.
    fn buffers(self) -> impl Iterator<Item = (u64, u64)> {
        let total = self.count * self.len / LEN;
        (0..COUNT).map(move |n| {
            // The factor is odd, so that neighbours are far from each other and no two of them are
            // the same.
            let offset = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % total * LEN;
            let (run, rest) = (offset / self.len, offset % self.len);
            (2 * run * self.len + rest, START + offset)
        })
    }
}

#[inline(never)]
fn through_map(map: &Busmap<Runs>, real: u64) -> Option<u64> {
    map.translate(real, LEN)
}

#[inline(never)]
fn through_table(table: &Table, real: u64) -> Option<u64> {
    table.translate(real)
}

/// Returns the address unchanged, for the cost of everything but the translation.
#[inline(never)]
fn through_nothing(_: &(), real: u64) -> Option<u64> {
    Some(real)
}

/// Translates all buffers of a layout. Returns the number of buffers with another adapter address.
fn wrong(layout: Layout, translate: impl Fn(u64) -> Option<u64>) -> usize {
    let buffers = layout.buffers();
    buffers
        .filter(|&(real, bus)| translate(real) != Some(bus))
        .count()
}

fn wrong_in_map(layout: Layout) -> Result<usize> {
    let mut builder = Builder::new(Runs::default(), &[]);
    for (base, len) in layout.runs() {
        builder.add(base, len).map_err(|_| EINVAL)?;
    }
    let map = builder.finish().map_err(|_| ENOMEM)?;
    Ok(wrong(layout, |real| through_map(&map, real)))
}

fn wrong_in_table(layout: Layout) -> Result<usize> {
    let table = Table::new(layout.runs())?;
    Ok(wrong(layout, |real| through_table(&table, real)))
}

#[kunit_tests(ehea_translate)]
mod tests {
    use super::*;

    #[test]
    fn translate_contiguous() -> Result {
        assert_eq!(wrong_in_map(Layout::CONTIGUOUS)?, 0);
        Ok(())
    }

    #[test]
    fn translate_16_runs() -> Result {
        assert_eq!(wrong_in_map(Layout::RUNS_16)?, 0);
        Ok(())
    }

    #[test]
    fn translate_1024_runs() -> Result {
        assert_eq!(wrong_in_map(Layout::RUNS_1024)?, 0);
        Ok(())
    }

    #[test]
    fn translate_nothing() -> Result {
        let translate = |real| through_nothing(&(), real).map(|real| START + real);
        assert_eq!(wrong(Layout::CONTIGUOUS, translate), 0);
        Ok(())
    }

    #[test]
    fn translate_table_contiguous() -> Result {
        assert_eq!(wrong_in_table(Layout::CONTIGUOUS)?, 0);
        Ok(())
    }

    #[test]
    fn translate_table_16_runs() -> Result {
        assert_eq!(wrong_in_table(Layout::RUNS_16)?, 0);
        Ok(())
    }

    #[test]
    fn translate_table_1024_runs() -> Result {
        assert_eq!(wrong_in_table(Layout::RUNS_1024)?, 0);
        Ok(())
    }
}
