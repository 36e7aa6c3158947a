// SPDX-License-Identifier: GPL-2.0
//! Memory comes and goes while frames flow.

use std::time::Duration;

use anyhow::{ensure, Result};
use ehea_tests::checks::memory::{send_from, start};
use ehea_tests::lab::Lab;
use ehea_tests::memory::{allocations, blocks, not_registered, registered, Dimm};

const PATIENCE: Duration = Duration::from_secs(60);
const DIMM_BYTES: u64 = 512 << 20;

/// Memory is added and removed five times. The first packet from added memory causes one rebuild, the
/// removal another, and not a single frame is lost, not even the one that caused it.
pub(crate) fn under_traffic(lab: &Lab) -> Result<()> {
    let (reflector, traffic) = start(lab)?;
    traffic.wait_progress(100, PATIENCE)?;
    for round in 0..5 {
        let before = lab.stats()?;
        let dimm = Dimm::plug(lab, "dimm0", DIMM_BYTES)?;
        let plugged = lab.stats()?;
        ensure!(
            allocations(&plugged) == allocations(&before),
            "round {round}: added memory alone caused a rebuild"
        );
        send_from(lab, &dimm, 60 + 2 * round)?;
        ehea_tests::lab::wait_until("the map was rebuilt", || {
            Ok(registered(&lab.stats()?, &dimm.range).is_ok() && lab.stats()?.mrs.len() == 1)
        })?;
        send_from(lab, &dimm, 61 + 2 * round)?;
        let used = lab.stats()?;
        ensure!(
            allocations(&used) == allocations(&before) + 1,
            "round {round}: {} rebuilds for one range",
            allocations(&used) - allocations(&before)
        );
        traffic.wait_progress(100, PATIENCE)?;
        dimm.unplug(lab)?;
        let removed = lab.stats()?;
        not_registered(&removed, &dimm.range)?;
        // 512 MiB are two blocks, and each of them goes offline by itself.
        let rebuilds = allocations(&removed) - allocations(&used);
        ensure!(
            (1..=DIMM_BYTES >> 28).contains(&rebuilds),
            "round {round}: {rebuilds} rebuilds for one removal"
        );
        traffic.wait_progress(100, PATIENCE)?;
    }
    traffic.stop()?.flawless()?;
    reflector.stop()?;
    lab.unload()
}

/// A block that the map contains goes offline: it is out of the map before the operation ends. A block
/// that the map doesn't contain costs nothing.
pub(crate) fn block_offline(lab: &Lab) -> Result<()> {
    let (reflector, traffic) = start(lab)?;
    let dimm = Dimm::plug(lab, "dimm1", 256 << 20)?;
    let [block] = &blocks(lab, &dimm.range)?[..] else {
        anyhow::bail!("a DIMM of 256 MiB is not one memory block");
    };
    let calls = |lab: &Lab| Ok::<u64, anyhow::Error>(lab.stats()?.hcalls.values().sum());

    let unmapped = allocations(&lab.stats()?);
    lab.sh(&format!("echo offline >{block}/state"))?;
    lab.sh(&format!("echo online_movable >{block}/state"))?;
    ensure!(
        allocations(&lab.stats()?) == unmapped,
        "memory that the map doesn't contain caused a rebuild"
    );
    send_from(lab, &dimm, 80)?;
    ehea_tests::lab::wait_until("the map was rebuilt", || {
        Ok(registered(&lab.stats()?, &dimm.range).is_ok() && lab.stats()?.mrs.len() == 1)
    })?;
    let mapped = lab.stats()?;
    lab.sh(&format!("echo offline >{block}/state"))?;
    let offline = lab.stats()?;
    not_registered(&offline, &dimm.range)?;
    ensure!(
        allocations(&offline) == allocations(&mapped) + 1,
        "not one rebuild for one block"
    );
    traffic.wait_progress(100, PATIENCE)?;
    traffic.stop()?.flawless()?;
    reflector.stop()?;

    let before = calls(lab)?;
    lab.sh(&format!("echo online_movable >{block}/state"))?;
    lab.sh(&format!("echo offline >{block}/state"))?;
    ensure!(
        calls(lab)? == before,
        "a block outside of the map cost hypercalls"
    );
    lab.sh(&format!("echo online_movable >{block}/state"))?;
    dimm.unplug(lab)?;
    lab.unload()
}
