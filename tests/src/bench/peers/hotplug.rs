// SPDX-License-Identifier: GPL-2.0
//! Costs of memory that comes and goes, with the two drivers of the adapter.

use anyhow::{ensure, Context, Result};
use ehea_harness::Guest;
use ehea_model::stats::Stats;

use super::rig::{Device, Flood, Rig};
use super::Peer;
use crate::bench::Figures;
use crate::lab::{text, wait_until};
use crate::memory::{plug_and_online, Blocks};
use crate::peer::PEER_ADDRESS;

const BLOCK: u64 = 256 << 20;

/// Memory at boot, and its name in figures.
const SIZES: [(&str, &str); 2] = [("2G,max=16G", "2g"), ("8G,max=16G", "8g")];

/// Number of rounds. Each takes a block offline and online again, which makes two events.
const ROUNDS: u64 = 5;

/// Number of addresses that are counted together. Nobody asks for these counts.
const BUCKET: u64 = 1 << 20;

/// Takes the figures of a driver of the adapter.
pub(super) fn measure(
    peer: &Peer,
    figures: &mut Figures,
    progress: &mut impl FnMut(&str),
) -> Result<()> {
    let name = peer.name;
    for (memory, label) in SIZES {
        progress(&format!("{name}, memory hotplug, {label}"));
        let mut rig = Rig::boot(peer.system, memory, BUCKET)?;
        rig.start(Device::Adapter)?;
        let guest = rig.guest();
        let interface = rig.interface(Device::Adapter.address())?;
        guest.sh(&format!(
            "echo auto-movable >/sys/module/memory_hotplug/parameters/online_policy && \
             ip link set {interface} mtu 9000 && ip addr add 10.78.0.1/24 dev {interface} && arp -i {interface} -s 10.78.0.2 {}",
            text(PEER_ADDRESS)
        ))?;

        let before = stats(guest)?;
        let blocks = plug_and_online(guest, "dimm0", 4 * BLOCK)?;
        use_memory(guest, &blocks)?;
        let added = stats(guest)?;
        let mut figure = |what: &str, value: f64| {
            figures.insert(format!("{name}_{what}"), value);
        };
        if label == "2g" {
            figure("hotadd_1g_hcalls", calls(&before, &added));
        }
        let block = blocks.directories().last().context("no memory block")?;
        guest.sh(&format!("echo offline >{block}/state"))?;
        let removed = stats(guest)?;
        figure(
            &format!("hotremove_blackout_virtual_us_{label}"),
            longest_pause(&added, &removed)?,
        );
        if label == "2g" {
            figure("hotremove_256m_hcalls", calls(&added, &removed));
            guest.sh(&format!("echo online_movable >{block}/state"))?;
            figure("hotplug_frames_lost_per_10_events", lost(&mut rig, block)?);
        }
        rig.shutdown()?;
    }
    Ok(())
}

fn stats(guest: &Guest) -> Result<Stats> {
    guest.stats()
}

/// Returns the number of the adapter's hypercalls between two points in time.
fn calls(before: &Stats, after: &Stats) -> f64 {
    let sum = |stats: &Stats| stats.hcalls.values().sum::<u64>();
    (sum(after) - sum(before)) as f64
}

/// Returns the longest time, in microseconds, that a queue pair was disabled between two points in
/// time.
fn longest_pause(before: &Stats, after: &Stats) -> Result<f64> {
    let last = before.pauses.last().map_or(0, |pause| pause.number);
    let new = after.pauses.iter().filter(|pause| pause.number > last);
    let longest = new.map(|pause| pause.ns).max();
    Ok(longest.context("no queue pair was disabled")? as f64 / 1e3)
}

/// Sends from added memory and waits until all of it is registered. The C driver has registered it
/// by then.
fn use_memory(guest: &Guest, blocks: &Blocks) -> Result<()> {
    guest.sh(&format!(
        "ehea-net fragments 10.78.0.2 4000 4 1 {:#x} {:#x}",
        blocks.range.start, blocks.range.end
    ))?;
    wait_until("added memory is registered", || {
        Ok(matches!(&stats(guest)?.mrs[..], [mr] if blocks.are_registered(mr)))
    })
}

/// Returns the number of frames lost in both directions while a block goes offline and comes back.
fn lost(rig: &mut Rig, block: &str) -> Result<f64> {
    let Flood { sent, arrived } = rig.flood(
        Device::Adapter,
        &format!(
            "for round in $(seq {ROUNDS}); do echo offline >{block}/state || exit 1; sleep 0.2; \
             echo online_movable >{block}/state || exit 1; \
             ehea-net fragments 10.78.0.2 4000 1 1 0 0 >/dev/null || exit 1; sleep 0.2; done"
        ),
    )?;
    ensure!(sent > 1000, "only {sent} frames were under way");
    let lost = sent.checked_sub(arrived);
    let lost = lost.with_context(|| format!("{arrived} frames came of {sent}"))?;
    Ok(lost as f64 * 10.0 / (2 * ROUNDS) as f64)
}
