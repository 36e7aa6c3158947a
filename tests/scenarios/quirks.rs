// SPDX-License-Identifier: GPL-2.0
//! Mistakes of the C driver (`tests/witness/quirks.rs`) that this driver must not make.

use std::time::Duration;

use anyhow::{ensure, Result};
use ehea_tests::checks::faults::{fired, reported, works};
use ehea_tests::checks::quirks::{self, flap, SHORT_PACKETS};
use ehea_tests::checks::traffic::flows;
use ehea_tests::counters::{ethtool_counter, resets};
use ehea_tests::lab::{wait_until, Lab};
use ehea_tests::memory::{allocations, not_registered, registered};
use serde_json::json;

use crate::memory::{map, plug};

const PATIENCE: Duration = Duration::from_secs(60);

/// A send queue does not come to rest, because a completion was lost. Its memory is not removed,
/// and the refusal says why.
///
/// The stack sends no more than it has completions for, so the watchdog finds the queue stuck, and
/// the port is reset. After that, the memory can be removed.
pub(crate) fn unsynchronized_queues(lab: &Lab) -> Result<()> {
    lab.guest().console().allow("NETDEV WATCHDOG");
    lab.load()?;
    // The lost completion belongs to the only frame.
    lab.silent(&lab.interface(1)?)?;
    let name = lab.up(1, 1500)?;
    let other = lab.up(2, 9000)?;
    lab.address(&other, 78)?;
    lab.address(&name, 77)?;
    let (dimm, block) = plug(lab, "quirk1")?;
    map(lab, &dimm, 330)?;
    lab.guest()
        .inject_fault(&json!({ "event": "drop_completion", "port": 1 }))?;
    // The payload is longer than what is copied to the work request.
    lab.sh("ping -c 1 -W 1 -s 1000 10.77.0.2 || true")?;
    fired(lab)?;
    let position = lab.guest().console().position();
    let output = lab.run(&format!("echo offline >{block}/state"))?;
    ensure!(!output.success(), "the block went offline");
    reported(lab, position, "can't be removed", "drain")?;
    registered(&lab.stats()?, &dimm.range)?;
    wait_until("the watchdog resets the port", || {
        Ok(resets(lab, &name)? == 1)
    })?;
    lab.carrier(&name, true)?;
    works(lab, &name)?;
    lab.sh(&format!("echo offline >{block}/state"))?;
    not_registered(&lab.stats()?, &dimm.range)?;
    works(lab, &name)?;
    dimm.unplug(lab)?;
    lab.unload()
}

/// Promiscuous mode stays on when the port is set down and up.
pub(crate) fn promiscuous_after_reopen(lab: &Lab) -> Result<()> {
    let received = quirks::promiscuous_after_reopen(lab, 331)?;
    ensure!(received, "promiscuous mode is lost");
    lab.unload()
}

/// All queues work after the link was down, and none is considered stuck.
pub(crate) fn link_flap_of_many_queues(lab: &Lab) -> Result<()> {
    lab.load()?;
    let name = lab.up(1, 1500)?;
    flap(lab, &name)?;
    // This takes longer than the watchdog.
    lab.sh("sleep 12")?;
    ensure!(resets(lab, &name)? == 0, "the port was reset");
    flows(lab)
}

/// A notification that memory stays, without an earlier one that it is to go, changes nothing.
pub(crate) fn cancel_without_offline(lab: &Lab) -> Result<()> {
    lab.load()?;
    let name = lab.up(1, 1500)?;
    let before = lab.stats()?;
    let dimm = quirks::cancel_without_offline(lab, "quirk7")?;
    let after = lab.stats()?;
    ensure!(
        allocations(&after) == allocations(&before) && after.mrs == before.mrs,
        "{:?} instead of {:?}",
        after.mrs,
        before.mrs
    );
    works(lab, &name)?;
    dimm.unplug(lab)?;
    works(lab, &name)?;
    lab.unload()
}

/// A frame with more pieces than a work request has descriptors for arrives.
pub(crate) fn many_fragments(lab: &Lab) -> Result<()> {
    lab.load()?;
    let name = lab.up(1, 9000)?;
    quirks::many_fragments(lab, &name, 332, PATIENCE)?.flawless()?;
    let linearized = ethtool_counter(lab, &name, "tx_linearized")?;
    ensure!(linearized > 0, "no frame had too many pieces");
    lab.unload()
}

/// A packet that is to be cut is cut, however short it is.
pub(crate) fn short_segments(lab: &Lab) -> Result<()> {
    lab.load()?;
    let name = lab.up(1, 1500)?;
    SHORT_PACKETS.come_in_segments(lab, &name, 333)?;
    lab.unload()
}
