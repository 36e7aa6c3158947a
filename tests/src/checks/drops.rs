// SPDX-License-Identifier: GPL-2.0
//! What it costs that the frames of a disabled queue pair are lost (`disabled-drops=on`).

use std::time::Duration;

use anyhow::{ensure, Context, Result};

use super::memory::start;
use crate::lab::Lab;
use crate::memory::{blocks, Dimm, LMB};

const PATIENCE: Duration = Duration::from_secs(60);
/// How often memory goes and comes back.
const ROUNDS: u64 = 5;

/// What became of the frames of port 1.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Frames sent to the guest, which sends them back.
    pub sent: u64,
    /// Those that did not come back.
    pub lost: u64,
    /// Those that the adapter dropped, because their queue pair was disabled.
    pub dropped: u64,
}

/// A block of memory goes offline and comes back [`ROUNDS`] times while frames are reflected; `used` is
/// called each time that it has come back. Nothing but loss may befall a frame, and what was lost is told.
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
