// SPDX-License-Identifier: GPL-2.0
//! Memory that comes and goes. The C driver registers all of it anew each time and loses frames
//! meanwhile, which the design of this project's driver avoids.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use ehea_tests::background::Reflector;
use ehea_tests::checks::drops;
use ehea_tests::checks::memory::{send_from, start};
use ehea_tests::counters::resets;
use ehea_tests::lab::Lab;
use ehea_tests::memory::{blocks, not_registered, online_bytes, registered, Dimm};
use ehea_tests::peer::Traffic;

const PATIENCE: Duration = Duration::from_secs(60);
const DIMM_BYTES: u64 = 512 << 20;
const BLOCK: u64 = 256 << 20;

/// Fails unless the one region has all memory that is online, in pages of 4 KiB, and traffic flows.
fn settled(lab: &Lab, traffic: &Traffic) -> Result<()> {
    traffic.wait_progress(200, PATIENCE)?;
    let memory = online_bytes(lab)?;
    let stats = lab.stats()?;
    let [mr] = &stats.mrs[..] else {
        anyhow::bail!("not one region: {:?}", stats.mrs);
    };
    ensure!(
        mr.bytes == memory,
        "{} bytes of {memory} are registered",
        mr.bytes
    );
    Ok(())
}

/// Tolerates a mistake that the driver makes in a fraction of all events.
///
/// While it takes the queues out of service, its poll function sees room in a transmit queue and
/// starts it again (`netif_tx_wake_queue` in `ehea_proc_cqes`, which checks neither
/// `__EHEA_STOP_XFER` nor the state of the queue pair). A frame that is then sent keeps the send
/// queue from ever being "flushed". A frame that is sent after `__EHEA_STOP_XFER` was cleared has
/// the key of a region that is gone, so that the queue pair fails as soon as it is enabled, and the
/// port is reset. See "Known mistakes" in abi.rst.
fn transmit_queue_may_be_woken(lab: &Lab) {
    lab.guest().console().allow("sq not flushed completely");
    lab.expect_refusal("UnknownKey");
}

/// Returns the number of resets of both ports.
fn all_resets(lab: &Lab) -> Result<u64> {
    let of_port = |port| resets(lab, &lab.interface(port)?);
    Ok(of_port(1)? + of_port(2)?)
}

/// Memory is added and removed twice while frames flow, and used in between.
pub(crate) fn under_traffic(lab: &Lab) -> Result<()> {
    transmit_queue_may_be_woken(lab);
    let (reflector, traffic) = start(lab)?;
    traffic.wait_progress(100, PATIENCE)?;
    let live = lab.stats()?.live;
    for round in 0..2 {
        let dimm = Dimm::plug(lab, "dimm0", DIMM_BYTES)?;
        settled(lab, &traffic)?;
        registered(&lab.stats()?, &dimm.range)?;
        send_from(lab, &dimm, 60 + round)?;
        dimm.unplug(lab)?;
        settled(lab, &traffic)?;
        let removed = lab.stats()?;
        not_registered(&removed, &dimm.range)?;
        ensure!(
            removed.live == live,
            "{:?} instead of {live:?}",
            removed.live
        );
    }
    finish(lab, reflector, traffic, "512 MiB came and went")?;
    lab.unload()
}

/// Ends traffic, in which frames may be missing but not wrong, and prints what was lost.
fn finish(lab: &Lab, reflector: Reflector<'_>, traffic: Traffic, what: &str) -> Result<()> {
    let summary = traffic.stop()?;
    summary.sound()?;
    reflector.stop()?;
    eprintln!(
        "the C driver lost {} of {} frames, with {} resets, while {what} twice",
        summary.lost,
        summary.sent,
        all_resets(lab)?
    );
    Ok(())
}

/// A block goes offline and comes back, with an adapter that loses the frames of a disabled queue
/// pair. Frames may be lost, but nothing else may go wrong.
pub(crate) fn dropped(lab: &Lab) -> Result<()> {
    transmit_queue_may_be_woken(lab);
    drops::removals(lab, |_, _, _| Ok(())).map(drop)
}

/// A block goes offline and comes back by means of sysfs, without anything being plugged.
pub(crate) fn offline_and_online(lab: &Lab) -> Result<()> {
    transmit_queue_may_be_woken(lab);
    let (reflector, traffic) = start(lab)?;
    let dimm = Dimm::plug(lab, "dimm1", BLOCK)?;
    let block = blocks(lab, &dimm.range)?.pop().context("no memory block")?;
    settled(lab, &traffic)?;
    for _ in 0..2 {
        lab.sh(&format!("echo offline >{block}/state"))?;
        settled(lab, &traffic)?;
        not_registered(&lab.stats()?, &dimm.range)?;
        lab.sh(&format!("echo online_movable >{block}/state"))?;
        settled(lab, &traffic)?;
        registered(&lab.stats()?, &dimm.range)?;
    }
    finish(lab, reflector, traffic, "a block went offline and online")?;
    dimm.unplug(lab)?;
    lab.unload()
}
