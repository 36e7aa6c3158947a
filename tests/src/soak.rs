// SPDX-License-Identifier: GPL-2.0
//! Soak: memory comes and goes again and again, in all possible ways, under numbered traffic in
//! both directions.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use ehea_model::stats::{Live, Stats};

use crate::background::Reflector;
use crate::checks::memory::{send_from, start_as};
use crate::counters::ethtool_statistics;
use crate::lab::Lab;
use crate::memory::{blocks, not_registered, settled, Dimm, LMB};
use crate::peer::{Plan, Traffic};
use crate::totals::{unwanted, Counts};

const PATIENCE: Duration = Duration::from_secs(60);
/// Number of cycles until the kernel's caches are warm.
const WARM_UP: u64 = 6;
/// Additional slab memory, in KiB, that may be in use after the last cycle, compared with the time
/// after warm-up. A leak of a single socket buffer per frame, or of a map per cycle, already
/// exceeds this in a short soak.
const SLAB_TOLERANCE_KIB: i64 = 2048;

/// State that is the same before and after a cycle.
#[derive(Debug, PartialEq, Eq)]
struct Level {
    live: Live,
    pinned_bytes: u64,
    /// Addresses and lengths of what is registered.
    runs: Vec<Vec<(u64, u64)>>,
    refusals: BTreeMap<String, u64>,
    /// Counts of events that must not happen at all.
    unwanted: Counts,
}

impl Level {
    fn of(stats: Stats) -> Self {
        Self {
            unwanted: unwanted(&stats),
            live: stats.live,
            pinned_bytes: stats.pinned_bytes,
            runs: stats.mrs.into_iter().map(|mr| mr.runs).collect(),
            refusals: stats.refusals,
        }
    }
}

/// Result of a soak.
#[derive(Clone, Copy, Debug)]
pub struct Soaked {
    /// Number of cycles of adding and removing memory.
    pub cycles: u64,
    /// Number of frames sent in each direction.
    pub frames: u64,
    /// Number of frames that did not come back.
    pub lost: u64,
    /// Additional slab memory that cannot be reclaimed, compared with the time after warm-up, in
    /// KiB.
    pub slab_growth: i64,
}

/// A soak under way.
struct Soak<'a> {
    lab: &'a Lab,
    reflector: Reflector<'a>,
    traffic: Traffic,
    /// A DIMM that stays, and its block in sysfs.
    kept: Dimm,
    block: String,
    level: Level,
}

impl<'a> Soak<'a> {
    fn start(lab: &'a Lab, special: impl FnOnce(Plan) -> Plan) -> Result<Self> {
        let (reflector, traffic) = start_as(lab, special)?;
        let kept = Dimm::plug(lab, "kept", LMB)?;
        let block = blocks(lab, &kept.range)?.pop().context("no block")?;
        lab.sh(&format!("echo offline >{block}/state"))?;
        traffic.wait_progress(100, PATIENCE)?;
        Ok(Self {
            lab,
            reflector,
            traffic,
            kept,
            block,
            level: Level::of(lab.stats()?),
        })
    }

    /// Adds memory, uses it, and removes it.
    fn cycle(&self, number: u64) -> Result<()> {
        let lab = self.lab;
        let stream = 1000 + u32::try_from(number)?;
        match number % 3 {
            0 => {
                let dimm = Dimm::plug(lab, "guest", LMB)?;
                send_from(lab, &dimm, stream)?;
                settled(lab, &dimm)?;
                dimm.unplug(lab)?;
                not_registered(&lab.stats()?, &dimm.range)?;
            }
            1 => {
                let block = &self.block;
                lab.sh(&format!("echo online_movable >{block}/state"))?;
                send_from(lab, &self.kept, stream)?;
                settled(lab, &self.kept)?;
                lab.sh(&format!("echo offline >{block}/state"))?;
            }
            _ => {
                // One LMB is given back while the other is still in use.
                let dimm = Dimm::plug(lab, "guest", 2 * LMB)?;
                send_from(lab, &dimm, stream)?;
                settled(lab, &dimm)?;
                dimm.unplug_by_drmgr(lab)?;
                not_registered(&lab.stats()?, &dimm.range)?;
            }
        }
        self.traffic.wait_progress(20, PATIENCE)?;
        let level = Level::of(lab.stats()?);
        ensure!(
            level == self.level,
            "left behind: {level:?}, before: {:?}",
            self.level
        );
        Ok(())
    }

    fn finish(self, cycles: u64, slab_growth: i64) -> Result<Soaked> {
        let summary = self.traffic.stop()?;
        summary.sound()?;
        self.reflector.stop()?;
        for port in 1..=2 {
            let statistics = ethtool_statistics(self.lab, &self.lab.interface(port)?)?;
            for name in ["mr_rebuilds_failed", "mr_rebuilds_refused", "port_resets"] {
                ensure!(statistics.get(name) == Some(&0), "{name}: {statistics:?}");
            }
        }
        self.kept.unplug(self.lab)?;
        self.lab.unload()?;
        Ok(Soaked {
            cycles,
            frames: summary.sent,
            lost: summary.lost,
            slab_growth,
        })
    }
}

/// Returns the slab memory that cannot be reclaimed, in KiB.
fn slab(lab: &Lab) -> Result<i64> {
    let text = lab.sh("sync; echo 3 >/proc/sys/vm/drop_caches; \
         sed -n 's/SUnreclaim: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo")?;
    text.parse().context("slab memory")
}

/// Adds and removes memory `cycles` times and calls `progress` with the number of cycles done. `special` may change
/// the plan of the traffic. Fails if anything is left behind, or if a frame was changed or arrived twice. Lost frames are
/// counted.
pub fn soak(
    lab: &Lab,
    cycles: u64,
    special: impl FnOnce(Plan) -> Plan,
    mut progress: impl FnMut(u64),
) -> Result<Soaked> {
    let soak = Soak::start(lab, special)?;
    let mut warm = slab(lab)?;
    for number in 0..cycles {
        soak.cycle(number)
            .inspect_err(|error| lab.guest().record_failure(error))
            .with_context(|| format!("cycle {number}"))?;
        if number + 1 == WARM_UP {
            warm = slab(lab)?;
        }
        progress(number + 1);
    }
    let growth = slab(lab)? - warm;
    ensure!(
        growth <= SLAB_TOLERANCE_KIB,
        "slab memory has grown by {growth} KiB in {cycles} cycles"
    );
    soak.finish(cycles, growth)
}
