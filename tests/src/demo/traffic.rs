// SPDX-License-Identifier: GPL-2.0
//! Packets between the two ports.

use anyhow::{ensure, Context, Result};
use serde_json::Value;

use super::story::size;
use super::{Demo, FAR, FAR_ADDRESS, NEAR_ADDRESS};
use crate::counters::{Comparison, WireComparison};
use crate::lab::wait_until;

/// Number of bytes that each run of iperf3 sends.
const BYTES: u64 = 128 << 20;

pub(super) fn ping(demo: &mut Demo) -> Result<()> {
    let Demo { lab, story, .. } = demo;
    story.step("Ping");
    let output = story.run(lab, &format!("ping -c 3 -i 0.2 -W 20 {FAR_ADDRESS}"))?;
    ensure!(output.contains(" 0% packet loss"), "packets are lost");
    story.checked("no packet is lost");
    Ok(())
}

pub(super) fn iperf3(demo: &mut Demo) -> Result<()> {
    let Demo {
        lab,
        story,
        near,
        far,
        cable,
    } = demo;
    story
        .step("iperf3 in both directions; the kernel, the model and the wire count the same bytes");
    lab.introduce((near, NEAR_ADDRESS), (far, FAR_ADDRESS), FAR)?;
    let ends = [
        Comparison::start(lab, 1, near, None)?,
        Comparison::start(lab, 2, far, Some(FAR))?,
    ];
    let comparison = WireComparison::start(ends, cable);
    story.run(
        lab,
        &format!("ip netns exec {FAR} iperf3 -s -D -I /run/iperf3.pid"),
    )?;
    wait_until("iperf3 listens", || {
        Ok(lab.run("test -s /run/iperf3.pid")?.success())
    })?;
    for (option, direction) in [("", "there"), ("-R", "back")] {
        let text = story.show(
            lab,
            &format!(
                "iperf3 -c {FAR_ADDRESS} -n {} -J {option}",
                size(BYTES).replace(" MiB", "M")
            ),
            |_| false,
        )?;
        let result: Value = serde_json::from_str(&text).context("output of iperf3")?;
        let end = &result["end"]["sum_received"];
        let bits = end["bits_per_second"].as_f64().context("no result")?;
        let bytes = end["bytes"].as_u64().context("no result")?;
        story.note(&format!(
            "  {} received, {:.0} Mbit/s",
            size(bytes),
            bits / 1e6
        ));
        ensure!(bytes >= BYTES / 10 * 9, "only {bytes} bytes came");
        story.figure(
            &format!("TCP {direction} (emulated processor)"),
            format!("{:.0} Mbit/s", bits / 1e6),
        );
    }
    lab.sh("kill $(tr -d '\\0' </run/iperf3.pid)")?;
    let wire = comparison.agree(lab, cable)?;
    story.show(lab, &format!("ip -s link show {near}"), |_| true)?;
    for (name, carried) in [near, far].into_iter().zip(wire) {
        story.checked(format!(
            "from {name}: {} frames, {} bytes, by sender, receiver, model and wire",
            carried.frames, carried.bytes
        ));
    }
    Ok(())
}

pub(super) fn link(demo: &mut Demo) -> Result<()> {
    let Demo {
        lab, story, near, ..
    } = demo;
    story.step("The cable is pulled and plugged in again");
    lab.guest().set_port_link(1, false)?;
    lab.carrier(near, false)?;
    let output = story.run(lab, &format!("ip -br link show {near}"))?;
    ensure!(output.contains("NO-CARRIER"), "no NO-CARRIER: {output}");
    lab.guest().set_port_link(1, true)?;
    lab.carrier(near, true)?;
    let output = story.run(lab, &format!("ip -br link show {near}"))?;
    ensure!(output.contains("LOWER_UP"), "no LOWER_UP: {output}");
    lab.sh(&format!("ping -c 2 -i 0.2 -W 20 {FAR_ADDRESS}"))?;
    story.checked("the carrier follows, and packets flow again");
    Ok(())
}
