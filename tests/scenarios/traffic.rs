// SPDX-License-Identifier: GPL-2.0
//! The transmit queue at its limit.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use ehea_tests::counters::ethtool_counter;
use ehea_tests::lab::{wait_until, Lab};
use ehea_tests::peer::{collect, pattern, Checker, ETHERNET_HEADER, TEST_ETHERTYPE};

/// Time after which frames count as lost; those that are merely late arrive earlier.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the payload of a numbered frame.
fn numbered(frame: &[u8]) -> Result<Option<&[u8]>> {
    let (header, payload) = frame
        .split_at_checked(ETHERNET_HEADER)
        .context("a short frame")?;
    Ok(header
        .ends_with(&TEST_ETHERTYPE.to_be_bytes())
        .then_some(payload))
}

/// Waits until the wire takes no more frames, because the peer accepts none. No command runs in the guest.
fn blocked(lab: &Lab) -> Result<()> {
    wait_until("the wire takes no more", || {
        Ok(lab.stats()?.ports.iter().any(|port| port.tx_busy))
    })
}

/// The peer accepts nothing until the transmit ring is full and the driver has stopped the stack's
/// queue. Then it accepts everything.
pub(crate) fn queue_full_and_wake(lab: &Lab) -> Result<()> {
    const STREAM: u32 = 4;
    const FRAMES: u64 = 20_000;
    lab.load()?;
    let name = lab.up(1, 1500)?;
    let stopped = || -> Result<u64> { ethtool_counter(lab, &name, "tx_stopped") };
    // Without this, the stack stops the queue because of its byte limit, long before the ring is
    // full.
    lab.sh(&format!(
        "echo 1000000000 >/sys/class/net/{name}/queues/tx-0/byte_queue_limits/limit_min"
    ))?;
    let before = stopped()?;
    let job = lab.guest().spawn(&format!(
        "./ehea-net blast {name} {FRAMES} {} {STREAM}",
        ETHERNET_HEADER + pattern::HEADER + 46
    ))?;
    // One command from here until the peer accepts frames: after ten seconds without progress, the watchdog has the
    // port reset, and a guest with a debug kernel takes seconds for each command.
    blocked(lab)?;
    let mut full = false;
    wait_until("the queue is stopped", || {
        full = stopped()? > before;
        Ok(full || job.finished()?)
    })?;
    ensure!(
        full,
        "{FRAMES} frames went out to a peer that takes none: the ring was never full"
    );
    let mut checker = Checker::new(STREAM);
    collect(lab.port(1)?, &mut checker, FRAMES, PATIENCE, numbered)?;
    checker.finish(FRAMES).flawless()?;
    let output = job.wait()?;
    ensure!(output.success(), "{output}");
    lab.unload()
}

/// The stack gives the driver no more bytes than the byte limit allows, and one frame, while the
/// peer accepts nothing. Other frames stay where they can still be scheduled. This depends on the
/// driver's reports of each frame that it accepts and that was sent.
pub(crate) fn byte_limit(lab: &Lab) -> Result<()> {
    const STREAM: u32 = 5;
    const FRAMES: u64 = 4000;
    const LENGTH: u64 = 1514;
    const LIMIT: u64 = 20_000;
    const READINGS: usize = 50;
    lab.load()?;
    let name = lab.up(1, 1500)?;
    let limits = format!("/sys/class/net/{name}/queues/tx-0/byte_queue_limits");
    lab.sh(&format!("echo {LIMIT} >{limits}/limit_max"))?;
    let inflight = || -> Result<u64> { Ok(lab.sh(&format!("cat {limits}/inflight"))?.parse()?) };
    let stopped = || -> Result<u64> { ethtool_counter(lab, &name, "tx_stopped") };
    let before = stopped()?;
    let job = lab.guest().spawn(&format!(
        "./ehea-net blast {name} {FRAMES} {LENGTH} {STREAM}"
    ))?;
    // One command from here until the peer accepts frames, as above. It gives up only after far more readings than
    // the limit takes to be reached.
    blocked(lab)?;
    let readings = lab.sh(&format!(
        "n=0; all=0; while [ $n -lt {READINGS} ] && [ $((all += 1)) -lt 20000 ]; do \
         read -r bytes <{limits}/inflight; [ $bytes -lt {LIMIT} ] || {{ echo $bytes; n=$((n + 1)); }}; done"
    ))?;
    let mut checker = Checker::new(STREAM);
    collect(lab.port(1)?, &mut checker, FRAMES, PATIENCE, numbered)?;
    checker.finish(FRAMES).flawless()?;
    let output = job.wait()?;
    ensure!(output.success(), "{output}");
    ensure!(
        readings.lines().count() == READINGS,
        "the limit was never reached: {readings:?}"
    );
    for bytes in readings.lines() {
        let bytes: u64 = bytes.parse()?;
        ensure!(
            bytes <= LIMIT + LENGTH,
            "{bytes} bytes at a limit of {LIMIT}"
        );
    }
    ensure!(stopped()? == before, "the ring was full");
    wait_until("everything is accounted for", || Ok(inflight()? == 0))?;
    lab.unload()
}
