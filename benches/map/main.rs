// SPDX-License-Identifier: GPL-2.0
//! Benchmark of the memory map: the bytes that it takes, and code in which the instructions of a
//! translation can be counted.
//!
//! `ehea-bench-map bytes LAYOUT` makes the map of a memory layout and prints the number of bytes
//! that it takes on the heap, as the allocator counts them.
//!
//! `ehea-bench-map translate WHAT LAYOUT COUNT` translates COUNT addresses, spread over all memory
//! of the layout. A tool that counts instructions runs it twice, with different counts, so that the
//! difference consists of translations only. WHAT is the map, or the table of the driver that this
//! one replaces, or nothing, for the cost of the loop and the call.

mod boxes;
mod layout;
#[path = "../../kunit/translate/table.rs"]
mod table;

use std::alloc::System;
use std::hint::black_box;
use std::sync::Arc;

use anyhow::{bail, ensure, Context, Result};
use clap::{Parser, ValueEnum};
use ehea_core::bmap::{Builder, Busmap, OutOfMemory, Run, RunStore, SECTION_SIZE, START};
use stats_alloc::{Region, StatsAlloc, INSTRUMENTED_SYSTEM};

use layout::{Addresses, Layout};
use table::Table;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[derive(Parser)]
enum Command {
    /// Prints the number of bytes that the map of a layout takes.
    Bytes { layout: Layout },
    /// Translates addresses.
    Translate {
        what: What,
        layout: Layout,
        count: u64,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    Map,
    Table,
    Nothing,
}

/// Runs of a busmap, stored as in the kernel.
#[derive(Default)]
struct Runs {
    runs: Vec<Run>,
    buckets: Vec<u16>,
}

impl RunStore for Runs {
    fn try_push(&mut self, run: Run) -> Result<(), OutOfMemory> {
        self.runs.push(run);
        Ok(())
    }

    fn as_slice(&self) -> &[Run] {
        &self.runs
    }

    fn try_push_bucket(&mut self, run: u16) -> Result<(), OutOfMemory> {
        self.buckets.push(run);
        Ok(())
    }

    fn buckets(&self) -> &[u16] {
        &self.buckets
    }

    fn fit(&mut self) {
        self.runs.shrink_to_fit();
        self.buckets.shrink_to_fit();
    }
}

fn build(layout: Layout) -> Result<Busmap<Runs>> {
    let mut builder = Builder::new(Runs::default(), &[]);
    for (base, len) in layout.memory() {
        if let Err(error) = builder.add(base, len) {
            bail!("{error}");
        }
    }
    match builder.finish() {
        Ok(map) => Ok(map),
        Err(error) => bail!("{error}"),
    }
}

/// Returns the number of bytes on the heap, including the map itself and its reference counts.
fn bytes(layout: Layout) -> Result<usize> {
    let region = Region::new(ALLOCATOR);
    let map = Arc::new(build(layout)?);
    let change = region.change();
    black_box(&map);
    // Memory that was allocated and freed again meanwhile does not count, and a block that grew or
    // shrank does not count twice.
    let live = change.bytes_allocated as isize - change.bytes_deallocated as isize;
    usize::try_from(live).context("more was freed than allocated")
}

// Each way has a function of its own, so that nothing in it is done once for many addresses.

#[inline(never)]
fn through_map(map: &Busmap<Runs>, real: u64, len: u64) -> Option<u64> {
    map.translate(real, len)
}

#[inline(never)]
fn through_table(table: &Table, real: u64, _len: u64) -> Option<u64> {
    table.translate(real)
}

#[inline(never)]
fn through_nothing(_: &(), real: u64, _len: u64) -> Option<u64> {
    Some(real)
}

fn translate<T>(
    through: &T,
    addresses: &Addresses,
    count: u64,
    translate: fn(&T, u64, u64) -> Option<u64>,
) -> Result<()> {
    let translate = black_box(translate);
    let mut failed = 0u64;
    for &real in addresses.cycle(count) {
        failed += u64::from(translate(through, real, addresses.len()).is_none());
    }
    ensure!(failed == 0, "{failed} of {count} addresses don't translate");
    Ok(())
}

fn main() -> Result<()> {
    match Command::parse() {
        Command::Bytes { layout } => println!("{}", bytes(layout)?),
        Command::Translate {
            what,
            layout,
            count,
        } => {
            let addresses = Addresses::new(layout);
            match what {
                What::Map => translate(&build(layout)?, &addresses, count, through_map)?,
                What::Table => {
                    let table = Table::new(layout.memory())?;
                    translate(&table, &addresses, count, through_table)?;
                }
                What::Nothing => translate(&(), &addresses, count, through_nothing)?,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Map and table translate alike.
    #[test]
    fn map_and_table_agree() {
        for layout in [
            Layout::Contiguous64g,
            Layout::Runs16,
            Layout::Runs1024,
            Layout::Irregular1024,
            Layout::Clustered1024,
        ] {
            let map = build(layout).unwrap();
            let table = Table::new(layout.memory()).unwrap();
            let addresses = Addresses::new(layout);
            for &real in addresses.cycle(20_000) {
                let bus = table.translate(real);
                assert!(bus.is_some(), "{real:#x}");
                assert_eq!(map.translate(real, addresses.len()), bus, "{real:#x}");
            }
            let end = layout.memory().map(|(base, len)| base + len).max().unwrap();
            assert_eq!((map.translate(end, 1), table.translate(end)), (None, None));
        }
    }

    #[test]
    fn layouts_have_the_runs_they_are_named_after() {
        for (layout, runs) in [
            (Layout::Contiguous2g, 1),
            (Layout::Contiguous64g, 1),
            (Layout::Contiguous64t, 1),
            (Layout::Sparse, 2),
            (Layout::Alternating1t, 2048),
            (Layout::Runs16, 16),
            (Layout::Runs1024, 1024),
            (Layout::Irregular1024, 1024),
            (Layout::Clustered1024, 1024),
        ] {
            assert_eq!(build(layout).unwrap().runs().len(), runs);
        }
    }
}
