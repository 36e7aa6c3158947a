// SPDX-License-Identifier: GPL-2.0
//! Costs of an adapter that loses the frames of a disabled queue pair (`disabled-drops=on`).

use std::time::Duration;

use anyhow::{ensure, Context, Result};

use super::memory::start;
use crate::lab::Lab;
use crate::memory::{blocks, Dimm, LMB};

const PATIENCE: Duration = Duration::from_secs(60);
/// Number of times that memory goes offline and comes back.
const ROUNDS: u64 = 5;

/// Counts of the frames of port 1.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Number of frames sent to the guest, which sends them back.
    pub sent: u64,
    /// Number of frames that did not come back.
    pub lost: u64,
    /// Number of frames that the adapter dropped because their queue pair was disabled.
    pub dropped: u64,
}

/// Takes a block of memory offline and brings it back [`ROUNDS`] times while frames are reflected.
/// Calls `used` each time that it is back. Frames may be lost, but nothing else may happen to them.
/// Returns the counts.
pub fn removals(lab: &Lab, used: impl Fn(&Lab, &Dimm, u32) -> Result<()>) -> Result<Cost> {
    let dropped = || -> Result<u64> {
        let stats = lab.stats()?;
        Ok(stats.ports.first().context("no port")?.rx_dropped)
    };
    let (reflector, traffic) = start(lab)?;
    let dimm = Dimm::plug(lab, "drops", LMB)?;
    let block = blocks(lab, &dimm.range)?.pop().context("no memory block")?;
    traffic.wait_progress(100, PATIENCE)?;
    let before = dropped()?;
    for round in 0..ROUNDS {
        used(lab, &dimm, 400 + u32::try_from(round)?)?;
        lab.sh(&format!("echo offline >{block}/state"))?;
        traffic.wait_progress(100, PATIENCE)?;
        lab.sh(&format!("echo online_movable >{block}/state"))?;
        traffic.wait_progress(100, PATIENCE)?;
    }
    let summary = traffic.stop()?;
    summary.sound()?;
    let cost = Cost {
        sent: summary.sent,
        lost: summary.lost,
        dropped: dropped()? - before,
    };
    reflector.stop()?;
    dimm.unplug(lab)?;
    eprintln!(
        "{:?}: {} of {} frames were lost while memory went and came {ROUNDS} times; the adapter dropped {}",
        lab.system(),
        cost.lost,
        cost.sent,
        cost.dropped
    );
    ensure!(
        cost.lost >= cost.dropped,
        "frames were dropped that nobody sent: {cost:?}"
    );
    lab.unload()?;
    Ok(cost)
}
