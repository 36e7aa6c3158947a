// SPDX-License-Identifier: GPL-2.0
//! TCP between the two ports, which a cable connects.

use std::sync::Arc;

use anyhow::{ensure, Context, Result};
use ehea_tests::counters::{Comparison, WireComparison};
use ehea_tests::lab::{wait_until, Lab};
use ehea_tests::peer::Cable;
use serde_json::Value;

const BYTES: u64 = 64 << 20;

/// iperf3 runs from port 1 to port 2 and back, and once more while it polls busily. The second port is in its own network
/// namespace.
pub(crate) fn both_directions(lab: &Lab) -> Result<()> {
    lab.load()?;
    let cable = Cable::new(Arc::clone(lab.port(1)?), Arc::clone(lab.port(2)?));
    let (near, far) = (lab.interface(1)?, lab.interface(2)?);
    lab.sh(&format!("ip netns add far && ip link set {far} netns far"))?;
    // The counts at both ends must be the same.
    lab.silent(&near)?;
    lab.silent_in("far", &far)?;
    lab.sh(&format!(
        "ip addr add 10.77.0.1/24 dev {near}\n\
         ip -n far addr add 10.77.0.2/24 dev {far}\n\
         ip link set {near} up\n\
         ip -n far link set {far} up"
    ))?;
    lab.carrier(&near, true)?;
    lab.sh("ping -c 3 -W 20 10.77.0.2")?;
    lab.introduce((&near, "10.77.0.1"), (&far, "10.77.0.2"), "far")?;
    let ends = [
        Comparison::start(lab, 1, &near, None)?,
        Comparison::start(lab, 2, &far, Some("far"))?,
    ];
    let comparison = WireComparison::start(ends, &cable);
    lab.sh("ip netns exec far iperf3 -s -D -I /run/iperf3.pid")?;
    wait_until("iperf3 listens", || {
        Ok(lab.run("test -s /run/iperf3.pid")?.success())
    })?;
    let poll_busily = |microseconds: u32| {
        lab.sh(&format!(
            "cd /proc/sys/net/core && echo {microseconds} >busy_read && echo {microseconds} >busy_poll"
        ))
    };
    for (option, busy) in [("", false), ("-R", false), ("-R", true)] {
        let before = polled_busily(lab)?;
        if busy {
            poll_busily(50)?;
        }
        let text = lab.sh(&format!("iperf3 -c 10.77.0.2 -n {BYTES} -J {option}"))?;
        let result: Value = serde_json::from_str(&text).context("output of iperf3")?;
        let bytes = result["end"]["sum_received"]["bytes"]
            .as_u64()
            .context("no result")?;
        // Without -R, the receiver reports what it had read when the sender was done.
        ensure!(
            bytes >= BYTES * 9 / 10,
            "iperf3 {option}: {bytes} of {BYTES} bytes came"
        );
        let polled = polled_busily(lab)? - before;
        ensure!(
            busy == (polled > 0),
            "{polled} packets were received by busy polling, which is on: {busy}"
        );
    }
    poll_busily(0)?;
    lab.sh("kill $(tr -d '\\0' </run/iperf3.pid)")?;

    for carried in comparison.agree(lab, &cable)? {
        ensure!(
            carried.bytes > BYTES,
            "{carried:?} on the wire for {BYTES} bytes of payload"
        );
    }
    lab.unload()?;
    lab.sh("ip netns del far")?;
    cable.pull()?;
    Ok(())
}

/// Returns the number of packets that sockets have received by polling busily.
fn polled_busily(lab: &Lab) -> Result<u64> {
    let count = lab.sh(
        "awk '$1 == \"TcpExt:\" { if (n) print $n; for (i = 1; i <= NF; i++) if ($i == \"BusyPollRxPackets\") n = i }' \
         /proc/net/netstat",
    )?;
    count.trim().parse().context("BusyPollRxPackets")
}
