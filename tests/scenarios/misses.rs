// SPDX-License-Identifier: GPL-2.0
//! Receive buffers in memory that is not in the map.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use ehea_tests::counters::ethtool_statistics;
use ehea_tests::lab::{port_address, wait_until, Lab};
use ehea_tests::memory::{allocations, blocks, registered, settled, Dimm, LMB};
use ehea_tests::observe::Trace;
use ehea_tests::peer::Plan;

const PATIENCE: Duration = Duration::from_secs(120);
/// Free memory to start with, in MiB.
const FREE_MIB: u64 = 96;
/// Number of frames under way. They take two thirds of the memory that is then free or was added.
const FRAMES: u64 = 22_000;

/// Takes memory from the kernel until only [`FREE_MIB`] are free.
fn fill(lab: &Lab) -> Result<()> {
    let free = lab.sh("sed -n 's/MemFree: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo")?;
    let free: u64 = free.parse().context("free memory")?;
    let count = (free >> 10).saturating_sub(FREE_MIB);
    lab.sh(&format!(
        "mkdir -p /run/fill && mount -t tmpfs -o size=100% none /run/fill && \
         dd if=/dev/zero of=/run/fill/file bs=1M count={count} 2>/dev/null"
    ))?;
    Ok(())
}

/// Received frames wait in a socket in such numbers that they do not all fit the memory of the
/// boot. Replacements for their buffers come from memory that was added for the kernel's own use.
/// However many of them miss, there is one rebuild, no frame is lost, and the rings never run dry.
pub(crate) fn receive(lab: &Lab) -> Result<()> {
    lab.load()?;
    let near = lab.up(1, 9000)?;
    let reflector = lab.reflect(&near)?;
    fill(lab)?;
    let dimm = Dimm::plug(lab, "kernel", LMB)?;
    for block in blocks(lab, &dimm.range)? {
        lab.sh(&format!(
            "echo offline >{block}/state && echo online_kernel >{block}/state"
        ))?;
    }
    let before = lab.stats()?;
    let count = |name: &str| -> Result<u64> {
        let statistics = ethtool_statistics(lab, &near)?;
        statistics
            .get(name)
            .copied()
            .with_context(|| format!("no {name}"))
    };
    ensure!(count("rx_translation_misses")? == 0, "a miss too early");

    let trace = Trace::start(lab)?;
    reflector.pause()?;
    // The lengths are for RQ2 and RQ3 in turn, and some need no buffer.
    let traffic = Plan::new(110, u64::MAX, |n| [9000, 2000, 8000, 200][n as usize % 4])
        .to(port_address(1))
        .window(FRAMES)
        .patience(PATIENCE)
        .start(Arc::clone(lab.port(1)?));
    wait_until("a receive buffer misses", || {
        Ok(count("rx_translation_misses")? > 0)
    })?;
    let used = settled(lab, &dimm)?;
    ensure!(
        allocations(&used) == allocations(&before) + 1,
        "{} rebuilds",
        allocations(&used) - allocations(&before)
    );
    let misses = count("rx_translation_misses")?;
    let events = trace.take()?;
    let traced = events.iter().any(|event| {
        event.name == "ehea_miss"
            && event.text("direction").is_ok_and(|way| way == "rx")
            && event
                .number("address")
                .is_ok_and(|address| dimm.range.contains(&address))
    });
    ensure!(
        traced,
        "no event of a receive buffer that missed: {events:?}"
    );
    drop(trace);
    // The kernel cannot move the buffers, so they hold the memory, and nothing changes.
    let block = &blocks(lab, &dimm.range)?[0];
    let live = lab.stats()?.live;
    let output = lab.run(&format!("timeout 10 sh -c 'echo offline >{block}/state'"))?;
    ensure!(
        !output.success(),
        "memory with receive buffers went offline"
    );
    let stats = lab.stats()?;
    ensure!(stats.live == live, "left: {:?}", stats.live);

    reflector.resume()?;
    traffic.wait_progress(FRAMES, PATIENCE)?;
    ensure!(
        count("rx_translation_misses")? == misses,
        "buffers miss that are in the map"
    );
    ensure!(
        count("rx_copied")? >= misses,
        "frames of buffers that missed were not copied"
    );
    settled(lab, &dimm)?;
    traffic.stop()?.flawless()?;
    reflector.stop()?;
    let stats = lab.stats()?;
    registered(&stats, &dimm.range)?;
    ensure!(
        stats.ports[0].rx_dropped == 0,
        "the adapter had no buffer for a frame"
    );
    lab.sh("umount /run/fill")?;
    lab.unload()
}
