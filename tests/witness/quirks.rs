// SPDX-License-Identifier: GPL-2.0
//! Known mistakes that the driver makes of its own accord. The model shows each of them. The
//! scenario of the same name in `tests/scenarios` shows that this project's driver does better.

use std::time::Duration;

use anyhow::{ensure, Result};
use ehea_tests::checks::faults::{fired, reported, works};
use ehea_tests::checks::quirks::{self, flap, SHORT_PACKETS};
use ehea_tests::counters::resets;
use ehea_tests::lab::{wait_until, Lab};
use ehea_tests::memory::Dimm;
use serde_json::json;

const BLOCK: u64 = 256 << 20;

/// The driver sends a work request after memory has changed, in order to find out whether it and
/// the adapter agree on their positions in the send queue. It waits for a flag to become zero,
/// which the flag already is, so it does not notice if no answer comes.
pub(crate) fn unsynchronized_queues(lab: &Lab) -> Result<()> {
    lab.load()?;
    // Nothing is sent but the driver's own work request.
    lab.silent(&lab.interface(1)?)?;
    let name = lab.up(1, 1500)?;
    let position = lab.guest().console().position();
    lab.guest()
        .inject_fault(&json!({ "event": "drop_completion", "port": 1 }))?;
    let dimm = Dimm::plug(lab, "quirk1", BLOCK)?;
    fired(lab)?;
    lab.sh("sleep 1")?;
    let lines = lab.guest().console().since(position);
    ensure!(
        !lines.iter().any(|line| line.contains("out of sync")) && resets(lab, &name)? == 0,
        "it has noticed:\n{}",
        lines.join("\n")
    );
    // One slot of the send queue is lost until the port is set up anew.
    lab.sh(&format!("ip link set {name} down"))?;
    dimm.unplug(lab)?;
    lab.unload()
}

/// The driver does not tell the adapter of promiscuous mode again after the port was down.
pub(crate) fn promiscuous_after_reopen(lab: &Lab) -> Result<()> {
    let received = quirks::promiscuous_after_reopen(lab, 330)?;
    ensure!(!received, "promiscuous mode survived");
    lab.unload()
}

/// The driver stops all transmit queues when the link goes down, and starts one when it comes up.
/// The watchdog finds the others.
pub(crate) fn link_flap_of_many_queues(lab: &Lab) -> Result<()> {
    lab.guest().console().allow("NETDEV WATCHDOG");
    lab.load()?;
    let name = lab.up(1, 1500)?;
    let old = lab.stats()?.qps;
    flap(lab, &name)?;
    wait_until("the watchdog resets the port", || {
        Ok(resets(lab, &name)? > 0)
    })?;
    // The driver counts the reset when it begins, and leaves the carrier as it is.
    wait_until("there is another queue pair, which works", || {
        let pairs = lab.stats()?.qps;
        let mut new = pairs
            .iter()
            .filter(|pair| pair.port == 1 && old.iter().all(|old| old.qp != pair.qp));
        Ok(new.any(|pair| pair.enabled && pair.state == "ReadyToSend"))
    })?;
    lab.carrier(&name, true)?;
    works(lab, &name)?;
    lab.unload()
}

/// The driver counts memory twice if it is told that the memory stays, and cannot register it,
/// because the region would be longer than memory. Then it frees the old region once more and gives
/// ports keys to it.
pub(crate) fn cancel_without_offline(lab: &Lab) -> Result<()> {
    for refusal in ["MrLength", "ResourceHandle", "MrHandle"] {
        lab.expect_refusal(refusal);
    }
    lab.load()?;
    let position = lab.guest().console().position();
    let dimm = quirks::cancel_without_offline(lab, "quirk7")?;
    reported(lab, position, "MR failed", "driver inoperable")?;
    let name = lab.interface(1)?;
    let output = lab.run(&format!("ip link set {name} up"))?;
    ensure!(!output.success(), "the port can be used");
    lab.sh("rmmod ehea")?;
    dimm.unplug(lab)?;
    lab.nothing_left()
}

/// The driver writes descriptors beyond the end of the work request, and the adapter notices.
pub(crate) fn many_fragments(lab: &Lab) -> Result<()> {
    lab.expect_refusal("SendDescriptors");
    lab.load()?;
    let name = lab.up(1, 9000)?;
    let came = quirks::many_fragments(lab, &name, 331, Duration::from_secs(10))?;
    ensure!(
        came.lost > 0 && resets(lab, &name)? > 0,
        "{came}, {} resets",
        resets(lab, &name)?
    );
    works(lab, &name)?;
    lab.unload()
}

/// The driver makes the adapter send a packet unchanged that is to be cut but short enough to be
/// copied to the work request.
pub(crate) fn short_segments(lab: &Lab) -> Result<()> {
    lab.load()?;
    let name = lab.up(1, 1500)?;
    let came = SHORT_PACKETS.send(lab, &name, 332)?;
    ensure!(
        came.segments == SHORT_PACKETS.count && came.longest as u64 == SHORT_PACKETS.first,
        "{} segments, the longest of {} bytes",
        came.segments,
        came.longest
    );
    lab.unload()
}
