// SPDX-License-Identifier: GPL-2.0
//! Steps from an unknown device to interfaces with a carrier, and back.

use anyhow::{ensure, Context, Result};

use super::story::{size, Story};
use super::{Demo, FAR, FAR_ADDRESS, NEAR_ADDRESS};
use crate::counters::ethtool_statistics;
use crate::lab::Lab;
use crate::memory::online_bytes;

pub(super) fn machine(lab: &Lab, story: &Story) -> Result<()> {
    story.run(lab, "uname -srm")?;
    story.show(lab, "cat /proc/meminfo", |line| {
        line.starts_with("MemTotal")
    })?;
    let devices = story.run(lab, "grep -H lhea /sys/bus/vio/devices/*/modalias")?;
    ensure!(devices.lines().count() == 1, "not one adapter: {devices}");
    let modules = lab.sh("lsmod")?;
    ensure!(!modules.contains("ehea"), "the driver is loaded already");
    story.checked("the VIO bus has one adapter, and no driver for it yet");
    Ok(())
}

pub(super) fn load(lab: &Lab, story: &mut Story) -> Result<()> {
    story.step("The driver loads through the device's own modalias");
    let device = lab.sh("dirname $(grep -l lhea /sys/bus/vio/devices/*/modalias)")?;
    story.run(lab, &format!("modprobe \"$(cat {device}/modalias)\""))?;
    story.show(lab, "lsmod", |line| line.starts_with("ehea "))?;
    story.show(lab, "dmesg", |line| line.contains("ehea"))?;
    let driver = story.run(lab, &format!("readlink {device}/driver"))?;
    ensure!(
        driver.ends_with("/ehea"),
        "the adapter is bound to {driver}"
    );
    story.checked("the adapter is bound to ehea");
    Ok(())
}

pub(super) fn interfaces(demo: &mut Demo) -> Result<()> {
    let Demo {
        lab,
        story,
        near,
        far,
        ..
    } = demo;
    story.step("Two interfaces; the second is moved to a network namespace, so that traffic between them takes the wire");
    let information = story.show(lab, &format!("ethtool -i {near}"), |line| {
        ["driver:", "version:", "bus-info:"]
            .iter()
            .any(|key| line.starts_with(key))
    })?;
    ensure!(
        information.contains("driver: ehea"),
        "not our driver: {information}"
    );
    for command in [
        format!("ip netns add {FAR}"),
        format!("ip link set {far} netns {FAR}"),
    ] {
        story.run(lab, &command)?;
    }
    // The counts at both ends are to be the same.
    lab.silent(near)?;
    lab.silent_in(FAR, far)?;
    for command in [
        format!("ip addr add {NEAR_ADDRESS}/24 dev {near}"),
        format!("ip -n {FAR} addr add {FAR_ADDRESS}/24 dev {far}"),
        format!("ip link set {near} up"),
        format!("ip -n {FAR} link set {far} up"),
    ] {
        story.run(lab, &command)?;
    }
    lab.carrier(near, true)?;
    story.run(lab, &format!("ip -br link show {near}"))?;
    story.run(lab, &format!("ip -n {FAR} -br link show {far}"))?;
    let link = story.show(lab, &format!("ethtool {near}"), |line| {
        ["Speed:", "Duplex:", "Link detected:"]
            .iter()
            .any(|key| line.contains(key))
    })?;
    ensure!(link.contains("Link detected: yes"), "no link: {link}");
    story.checked("both have a carrier");
    Ok(())
}

pub(super) fn memory_region(demo: &mut Demo) -> Result<()> {
    let Demo {
        lab, story, near, ..
    } = demo;
    story.step("One memory region covers all memory: driver and adapter model agree");
    story.show(lab, &format!("ethtool -S {near}"), |line| {
        ["mr_sections", "mr_bytes", "mr_register_hcalls"]
            .iter()
            .any(|key| line.contains(key))
    })?;
    let driver = ethtool_statistics(lab, near)?;
    let value = |name: &str| {
        driver
            .get(name)
            .copied()
            .with_context(|| format!("no {name}"))
    };
    let (sections, bytes) = (value("mr_sections")?, value("mr_bytes")?);
    let calls = value("mr_register_hcalls")?;
    let stats = lab.stats()?;
    let [mr] = &stats.mrs[..] else {
        anyhow::bail!("{} memory regions instead of one", stats.mrs.len());
    };
    story.note(&format!(
        "model: MR {:#x}, {} bytes in {} pages of {} bytes, {} hypercalls",
        mr.handle, mr.bytes, mr.pages, mr.page_bytes, mr.register_calls
    ));
    ensure!(
        (bytes, calls) == (mr.bytes, mr.register_calls),
        "the driver says {bytes} bytes in {calls} hypercalls"
    );
    ensure!(
        sections << 24 == bytes,
        "{sections} sections of 16 MiB are not {bytes} bytes"
    );
    let online = online_bytes(lab)?;
    ensure!(
        bytes == online,
        "{online} bytes are online, {bytes} are registered"
    );
    story.checked(format!("{} of memory, all that is online", size(bytes)));
    story.figure("memory registered", size(bytes));
    story.figure("sections of 16 MiB", sections);
    story.figure("hypercalls to register it", calls);
    let per_gib = calls as f64 * (1u64 << 30) as f64 / bytes as f64;
    story.figure("hypercalls per GiB", format!("{per_gib:.1}"));
    Ok(())
}

pub(super) fn unload(demo: &mut Demo) -> Result<()> {
    let Demo { lab, story, .. } = demo;
    story.step("The driver is removed, and leaves nothing behind");
    let live = lab.stats()?.live;
    story.note(&format!(
        "model: {} EQ, {} NEQ, {} CQ, {} QP, {} MR, {} SMR",
        live.eq, live.neq, live.cq, live.qp, live.mr, live.smr
    ));
    story.run(lab, "rmmod ehea")?;
    lab.end()?;
    story.run(lab, &format!("ip netns del {FAR}"))?;
    let (stats, live) = (lab.stats()?, lab.stats()?.live);
    story.note(&format!(
        "model: {} EQ, {} NEQ, {} CQ, {} QP, {} MR, {} SMR, {} bytes pinned",
        live.eq, live.neq, live.cq, live.qp, live.mr, live.smr, stats.pinned_bytes
    ));
    story.checked("no object lives in the adapter, and the kernel log has no complaint");
    story.figure("objects left after rmmod", live.total());
    Ok(())
}
