// SPDX-License-Identifier: GPL-2.0
//! Memory that comes and goes while TCP traffic runs.

use std::collections::BTreeMap;

use anyhow::{bail, ensure, Context, Result};
use ehea_harness::Job;
use serde_json::Value;

use super::story::{size, Story};
use super::{Demo, FAR, FAR_ADDRESS};
use crate::counters::ethtool_statistics;
use crate::lab::{wait_until, Lab};
use crate::memory::{blocks, not_registered, pages_inside, registered, Dimm};

const ADDED: u64 = 1 << 30;
const FILE_MIB: u64 = 32;
const TCP_PORT: u16 = 5000;

/// Counters of the driver.
struct Counts(BTreeMap<String, u64>);

impl Counts {
    fn read(lab: &Lab, interface: &str) -> Result<Self> {
        Ok(Self(ethtool_statistics(lab, interface)?))
    }

    /// Returns how much a counter has grown since `before`.
    fn since(&self, before: &Self, name: &str) -> Result<u64> {
        let value = |counts: &Self| counts.0.get(name).copied();
        let grown = value(self).zip(value(before)).map(|(now, then)| now - then);
        grown.with_context(|| format!("ethtool shows no {name}"))
    }
}

/// Starts TCP traffic that runs in the background until it is stopped.
pub(super) fn background<'a>(lab: &'a Lab, story: &Story) -> Result<Job<'a>> {
    lab.sh(&format!(
        "ip netns exec {FAR} iperf3 -s -D -1 -I /run/iperf3.pid"
    ))?;
    wait_until("iperf3 listens", || {
        Ok(lab.run("test -s /run/iperf3.pid")?.success())
    })?;
    let command = format!("iperf3 -c {FAR_ADDRESS} -t 3600 -b 40M -J");
    story.note(&format!("# {command} &"));
    lab.guest().spawn(&command)
}

/// Ends the background traffic and returns the number of bytes that it sent.
pub(super) fn stop(lab: &Lab, job: Job<'_>) -> Result<u64> {
    job.signal("INT")?;
    let output = job.wait()?;
    let result: Value = serde_json::from_str(&output.out()).context("output of iperf3")?;
    // The end of the traffic by the user is no error.
    let error = result["error"].as_str().unwrap_or_default();
    ensure!(
        error.is_empty() || error.contains("interrupt"),
        "the background traffic failed: {error}"
    );
    lab.run("kill $(tr -d '\\0' </run/iperf3.pid)")?;
    result["end"]["sum_sent"]["bytes"]
        .as_u64()
        .context("no result of iperf3")
}

/// Writes a file whose pages are in the added memory, and sends it from there. Returns the number
/// of its pages that are in that memory.
pub(super) fn send_file(lab: &Lab, story: &Story, dimm: &Dimm) -> Result<u64> {
    story.run(
        lab,
        &format!("dd if=/dev/urandom of=/tmp/file bs=1M count={FILE_MIB} 2>/dev/null"),
    )?;
    let sum = lab.sh("sha256sum </tmp/file")?;
    let receiver = lab.guest().spawn(&format!(
        "ip netns exec {FAR} ./ehea-net receive {FAR_ADDRESS} {TCP_PORT} | sha256sum"
    ))?;
    // State 0A of a TCP socket is LISTEN.
    let listening =
        format!("ip netns exec {FAR} grep -q ':{TCP_PORT:04X} 00000000:0000 0A' /proc/net/tcp");
    wait_until("the receiver listens", || {
        Ok(lab.run(&listening)?.success() || receiver.finished()?)
    })?;
    if receiver.finished()? {
        bail!("the receiver ended: {}", receiver.wait()?);
    }
    let output = story.run(
        lab,
        &format!(
            "./ehea-net sendpages /tmp/file {FAR_ADDRESS} {TCP_PORT} {:#x} {:#x}",
            dimm.range.start, dimm.range.end
        ),
    )?;
    let received = receiver.wait()?;
    ensure!(received.success(), "{received}");
    ensure!(
        received.out().trim() == sum,
        "the file's content has changed on its way"
    );
    let (pages, inside) = pages_inside(&output)?;
    ensure!(inside > 0, "none of {pages} pages is in the added memory");
    story.checked(format!(
        "{inside} of the file's {pages} pages are in the added memory; what came has the same SHA-256"
    ));
    lab.sh("rm /tmp/file")?;
    Ok(inside)
}

pub(super) fn grow_and_shrink(demo: &mut Demo) -> Result<()> {
    let Demo {
        lab, story, near, ..
    } = demo;
    story.step("1 GiB of memory is added while TCP traffic runs");
    let traffic = background(lab, story)?;
    let counts = Counts::read(lab, near)?;
    let dimm = Dimm::plug(lab, "dimm0", ADDED)?;
    story.note(&format!(
        "QMP: device_add pc-dimm of {} at {:#x}",
        size(ADDED),
        dimm.range.start
    ));
    story.show(lab, "dmesg", |line| line.contains("was hot-added"))?;
    let added = Counts::read(lab, near)?;
    ensure!(
        added.since(&counts, "mr_rebuilds_lazy")? == 0,
        "a rebuild without a packet"
    );
    story.checked("memory that no packet has come from costs nothing: no rebuild");

    story.step(
        "A file in the added memory is sent: the first packet that misses causes one rebuild",
    );
    story.note(
        "Forced: added blocks are onlined for movable pages (online_policy=auto-movable), the kernel\n\
         takes the pages of a tmpfs file from there first, and sendfile() hands the page-cache pages\n\
         themselves to the driver; /proc/self/pagemap tells where they are.",
    );
    send_file(lab, story, &dimm)?;
    wait_until("the map was rebuilt", || {
        Ok(registered(&lab.stats()?, &dimm.range).is_ok())
    })?;
    story.show(lab, &format!("ethtool -S {near}"), |line| {
        ["bounced", "tx_translation", "mr_sections", "rebuilds_lazy"]
            .iter()
            .any(|k| line.contains(k))
    })?;
    story.show(lab, "dmesg", |line| line.contains("memory map rebuilt"))?;
    let sent = Counts::read(lab, near)?;
    let misses = sent.since(&added, "tx_translation_misses")?;
    let bounced = sent.since(&added, "tx_bounced")?;
    let rebuilds = sent.since(&added, "mr_rebuilds_lazy")?;
    ensure!(
        misses > 0 && bounced > 0,
        "no packet missed: {misses} misses, {bounced} bounced"
    );
    ensure!(rebuilds == 1, "{rebuilds} rebuilds instead of one");
    story.checked(format!(
        "{misses} fragments missed, {bounced} packets went out through bounce buffers, 1 rebuild"
    ));
    send_file(lab, story, &dimm)?;
    let again = Counts::read(lab, near)?;
    ensure!(
        again.since(&sent, "tx_bounced")? == 0,
        "packets still go through bounce buffers"
    );
    ensure!(
        again.since(&sent, "mr_rebuilds_lazy")? == 0,
        "another rebuild"
    );
    story.checked("sent again: no miss, no rebuild");
    story.figure("packets bounced after adding 1 GiB", bounced);
    story.figure("rebuilds after adding 1 GiB", rebuilds);

    story.step("One memory block goes offline: it is out of the map at once");
    let all = blocks(lab, &dimm.range)?;
    let last = all.last().context("the DIMM has no blocks")?;
    let block_bytes = ADDED / all.len() as u64;
    story.run(lab, &format!("echo offline >{last}/state"))?;
    let offline = Counts::read(lab, near)?;
    ensure!(
        offline.since(&again, "mr_rebuilds_immediate")? == 1,
        "not one immediate rebuild"
    );
    not_registered(
        &lab.stats()?,
        &(dimm.range.end - block_bytes..dimm.range.end),
    )?;
    story.checked("1 immediate rebuild; the model has no registered page in the block");

    story.step("The 1 GiB is removed again, by QMP and DLPAR");
    dimm.unplug(lab)?;
    story.show(lab, "dmesg", |line| line.contains("was hot-removed"))?;
    story.show(lab, &format!("ethtool -S {near}"), |line| {
        line.contains("mr_")
    })?;
    let removed = Counts::read(lab, near)?;
    let rebuilds = removed.since(&offline, "mr_rebuilds_immediate")?;
    // The block that went offline before is no longer in the map.
    let expected = all.len() as u64 - 1;
    ensure!(
        rebuilds == expected,
        "{rebuilds} immediate rebuilds for {expected} memory blocks in the map"
    );
    not_registered(&lab.stats()?, &dimm.range)?;
    story.checked(format!(
        "1 immediate rebuild for each of the {expected} memory blocks in the map, as the kernel takes \
         them offline one by one; the model has no registered page in the removed range"
    ));
    ensure!(
        removed.since(&counts, "mr_rebuilds_failed")? == 0,
        "a rebuild failed"
    );
    let bytes = stop(lab, traffic)?;
    ensure!(bytes > 0, "no background traffic");
    story.checked(format!(
        "the TCP connection lived through all of it: {} sent",
        size(bytes)
    ));
    story.figure("immediate rebuilds, block offline", 1);
    story.figure("immediate rebuilds, 1 GiB removed", rebuilds);
    Ok(())
}
