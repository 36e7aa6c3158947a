// SPDX-License-Identifier: GPL-2.0
//! Memory that comes and goes, as the guest, the model and QEMU see it.

use std::ops::Range;

use anyhow::{ensure, Context, Result};
use ehea_harness::Guest;
use ehea_model::stats::{MrStats, Stats};
use serde_json::json;

use crate::lab::{wait_until, Lab};

/// Size in bytes of an LMB of QEMU's machine, which is also the size of a memory block.
pub const LMB: u64 = 256 << 20;
/// Type of a connector in its index (PAPR: dynamic reconfiguration), for LMBs.
const LMB_CONNECTOR: u64 = 0x8000_0000;
/// Memory blocks of added memory.
#[derive(Clone, Debug)]
pub struct Blocks {
    /// Guest real addresses of the memory.
    pub range: Range<u64>,
    directories: Vec<String>,
}

impl Blocks {
    /// Returns the directories of the blocks in sysfs.
    pub fn directories(&self) -> &[String] {
        &self.directories
    }

    /// Checks whether all of the memory is in a region.
    pub fn are_registered(&self, mr: &MrStats) -> bool {
        covered(mr, &self.range) == self.range.end - self.range.start
    }
}

/// Plugs in a DIMM and waits until the guest has brought all of it online.
pub fn plug_and_online(guest: &Guest, id: &str, bytes: u64) -> Result<Blocks> {
    guest.plug_memory(id, bytes)?;
    let devices = guest.qmp("query-memory-devices", json!({}))?;
    let start = devices
        .as_array()
        .into_iter()
        .flatten()
        .find(|device| device["data"]["id"] == id)
        .and_then(|device| device["data"]["addr"].as_u64())
        .with_context(|| format!("no DIMM {id} in {devices}"))?;
    let range = start..start + bytes;
    let directories = directories(guest, &range)?;
    for block in &directories {
        wait_until("added memory is online", || {
            let state = guest.run(&format!("cat {block}/state"))?;
            Ok(state.out().trim() == "online")
        })?;
    }
    Ok(Blocks { range, directories })
}

/// A DIMM that was plugged in.
#[derive(Clone, Debug)]
pub struct Dimm {
    id: String,
    /// Guest real addresses of the DIMM.
    pub range: Range<u64>,
}

impl Dimm {
    /// Plugs in a DIMM and waits until the guest has brought all of it online.
    pub fn plug(lab: &Lab, id: &str, bytes: u64) -> Result<Self> {
        let Blocks { range, .. } = plug_and_online(lab.guest(), id, bytes)?;
        Ok(Self {
            id: id.to_owned(),
            range,
        })
    }

    /// Returns several adjacent DIMMs as if they were one.
    pub fn spanning(dimms: &[Self]) -> Self {
        let start = dimms.iter().map(|dimm| dimm.range.start).min();
        let end = dimms.iter().map(|dimm| dimm.range.end).max();
        Self {
            id: String::new(),
            range: start.unwrap_or_default()..end.unwrap_or_default(),
        }
    }

    /// Removes the DIMM from the machine.
    pub fn unplug(&self, lab: &Lab) -> Result<()> {
        lab.guest().unplug_memory(&self.id)
    }

    /// Removes the DIMM's LMBs by the guest's own wish, one by one, with `drmgr`, and then the DIMM from the machine.
    pub fn unplug_by_drmgr(&self, lab: &Lab) -> Result<()> {
        for number in self.range.start / LMB..self.range.end / LMB {
            lab.sh(&format!(
                "drmgr -c mem -r -s {:#x}",
                connector(number * LMB)
            ))?;
        }
        self.unplug(lab)
    }
}

/// Returns the index of the dynamic-reconfiguration connector of the LMB at `address`.
pub const fn connector(address: u64) -> u64 {
    (address / LMB) | LMB_CONNECTOR
}

/// Returns the sysfs directories of the memory blocks of a range.
pub fn blocks(lab: &Lab, range: &Range<u64>) -> Result<Vec<String>> {
    directories(lab.guest(), range)
}

fn directories(guest: &Guest, range: &Range<u64>) -> Result<Vec<String>> {
    let directory = "/sys/devices/system/memory";
    let size = guest.sh(&format!("cat {directory}/block_size_bytes"))?;
    let size = u64::from_str_radix(&size, 16).context("size of memory blocks")?;
    ensure!(
        range.start.checked_rem(size) == Some(0),
        "{:#x} is not the start of a memory block of {size:#x} bytes",
        range.start
    );
    Ok((range.start / size..range.end / size)
        .map(|number| format!("{directory}/memory{number}"))
        .collect())
}

/// Returns the number of bytes of system memory that are online in the guest.
pub fn online_bytes(lab: &Lab) -> Result<u64> {
    let directory = "/sys/devices/system/memory";
    let text = lab.sh(&format!(
        "cat {directory}/block_size_bytes; grep -lx online {directory}/memory*/state | wc -l"
    ))?;
    let (size, count) = text.split_once('\n').context("memory blocks")?;
    let count: u64 = count.trim().parse()?;
    Ok(u64::from_str_radix(size.trim(), 16)? * count)
}

/// Fails if the model has a registered page in the range.
pub fn not_registered(stats: &Stats, range: &Range<u64>) -> Result<()> {
    for mr in &stats.mrs {
        for &(start, bytes) in &mr.runs {
            ensure!(
                start >= range.end || start + bytes <= range.start,
                "MR {:#x} covers {start:#x}+{bytes:#x}, which overlaps {range:#x?}",
                mr.handle
            );
        }
    }
    Ok(())
}

/// Returns the number of bytes of a range that are in a region.
fn covered(mr: &MrStats, range: &Range<u64>) -> u64 {
    let inside = |&(start, bytes): &(u64, u64)| {
        (start + bytes)
            .min(range.end)
            .saturating_sub(start.max(range.start))
    };
    mr.runs.iter().map(inside).sum()
}

/// Fails unless the model has every page of the range registered in each MR.
pub fn registered(stats: &Stats, range: &Range<u64>) -> Result<()> {
    ensure!(!stats.mrs.is_empty(), "no MR");
    for mr in &stats.mrs {
        let covered = covered(mr, range);
        ensure!(
            covered == range.end - range.start,
            "MR {:#x} covers {covered:#x} bytes of {range:#x?}",
            mr.handle
        );
    }
    Ok(())
}

/// Returns the number of MRs that were allocated so far. Two results can be compared only if no
/// queue was made in between.
pub fn allocations(stats: &Stats) -> u64 {
    stats
        .hcalls
        .get("H_ALLOC_HEA_RESOURCE")
        .copied()
        .unwrap_or_default()
}

/// Returns the number of calls so far, except for calls whose number depends on time: on how many
/// interrupts there are, and on how often statistics are fetched.
pub fn calls(stats: &Stats) -> u64 {
    stats
        .hcalls
        .iter()
        .filter(|(name, _)| !["H_RESET_EVENTS", "H_QUERY_HEA_PORT"].contains(&name.as_str()))
        .map(|(_, count)| count)
        .sum()
}

/// Waits until the memory of a DIMM is in the region, and there is only one region.
pub fn settled(lab: &Lab, dimm: &Dimm) -> Result<Stats> {
    let mut stats = lab.stats()?;
    wait_until("the map contains the memory", || {
        stats = lab.stats()?;
        Ok(registered(&stats, &dimm.range).is_ok() && stats.mrs.len() == 1)
    })?;
    Ok(stats)
}

/// Parses the numbers of pages used, and of those inside a range, as `ehea-net` prints them: `pages
/// N inside M`.
pub fn pages_inside(output: &str) -> Result<(u64, u64)> {
    let line = output
        .lines()
        .find(|line| line.starts_with("pages "))
        .with_context(|| format!("no count of pages in {output:?}"))?;
    let numbers: Vec<u64> = line
        .split(' ')
        .filter_map(|word| word.parse().ok())
        .collect();
    match numbers[..] {
        [pages, inside] => Ok((pages, inside)),
        _ => Err(anyhow::anyhow!("{line:?} is not a count of pages")),
    }
}
