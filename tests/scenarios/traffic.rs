// SPDX-License-Identifier: GPL-2.0
//! Frames through one port, checked byte by byte.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use ehea_tests::counters::{ethtool_statistics, Comparison};
use ehea_tests::lab::{port_address, wait_until, Lab};
use ehea_tests::memory::pages_inside;
use ehea_tests::peer::{
    collect, pattern, udp_payload, Checker, Plan, ETHERNET_HEADER, MAX_FRAME, MIN_FRAME,
    PEER_ADDRESS, TEST_ETHERTYPE,
};

/// For frames that stay away: they are late or lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// Frames of every length from the shortest to the longest, to the guest and back.
pub(crate) fn every_length(lab: &Lab) -> Result<()> {
    lab.load()?;
    let name = lab.up(1, 9000)?;
    let reflector = lab.reflect(&name)?;
    let comparison = Comparison::start(lab, 1, &name, None)?;
    let count = (MAX_FRAME - MIN_FRAME + 1) as u64;
    let plan = Plan::new(1, count, |n| MIN_FRAME + n as usize).to(port_address(1));
    plan.run(lab.port(1)?)?.flawless()?;
    let counted = comparison.agree(lab)?;
    ensure!(
        counted.rx_frames == count && counted.tx_frames == count,
        "{count} frames were sent, counted: {counted}"
    );
    let bytes = (MIN_FRAME..=MAX_FRAME).sum::<usize>() as u64;
    ensure!(
        counted.rx_bytes == bytes && counted.tx_bytes == bytes,
        "{bytes} bytes were sent, counted: {counted}"
    );
    reflector.stop()?;
    lab.unload()
}

/// So many frames of mixed lengths that each ring is gone through many times.
pub(crate) fn ring_wraps(lab: &Lab) -> Result<()> {
    const FRAMES: u64 = 50_000;
    lab.load()?;
    let name = lab.up(1, 9000)?;
    let reflector = lab.reflect(&name)?;
    // Mostly short, so that all three receive queues are used.
    let length = |n: u64| {
        let mix = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        match mix % 8 {
            0 => 60 + (mix >> 3) as usize % (MAX_FRAME - 60),
            1 | 2 => 60 + (mix >> 3) as usize % 1455,
            _ => 60 + (mix >> 3) as usize % 197,
        }
    };
    let plan = Plan::new(2, FRAMES, length).to(port_address(1)).window(512);
    plan.run(lab.port(1)?)?.flawless()?;
    reflector.stop()?;
    lab.unload()
}

/// Datagrams of 1 to 17 fragments, with the checksum computed by the adapter.
pub(crate) fn fragments(lab: &Lab) -> Result<()> {
    const ROUNDS: u64 = 40;
    const FRAGMENTS: u64 = 17;
    const STREAM: u32 = 3;
    const UDP_PORT: u16 = 4000;
    lab.load()?;
    let name = lab.up(1, 9000)?;
    lab.sh(&format!(
        "ip addr add 10.77.0.1/24 dev {name}; \
         ip neigh replace 10.77.0.2 lladdr {} nud permanent dev {name}",
        PEER_ADDRESS.map(|byte| format!("{byte:02x}")).join(":")
    ))?;
    let job = lab.guest().spawn(&format!(
        "./ehea-net fragments 10.77.0.2 {UDP_PORT} {ROUNDS} {STREAM} 0 0"
    ))?;
    let mut checker = Checker::new(STREAM);
    let count = ROUNDS * FRAGMENTS;
    collect(lab.port(1)?, &mut checker, count, PATIENCE, |frame| {
        udp_payload(frame, UDP_PORT)
    })?;
    let output = job.wait()?;
    ensure!(output.success(), "{output}");
    pages_inside(&output.out())?;
    checker.finish(count).flawless()?;
    lab.unload()
}

/// The payload of a numbered frame.
fn numbered(frame: &[u8]) -> Result<Option<&[u8]>> {
    let (header, payload) = frame
        .split_at_checked(ETHERNET_HEADER)
        .context("a short frame")?;
    Ok(header
        .ends_with(&TEST_ETHERTYPE.to_be_bytes())
        .then_some(payload))
}

/// The peer takes nothing until the transmit ring is full and the driver has stopped the stack's
/// queue; then it takes everything.
pub(crate) fn queue_full_and_wake(lab: &Lab) -> Result<()> {
    const STREAM: u32 = 4;
    const FRAMES: u64 = 20_000;
    lab.load()?;
    let name = lab.up(1, 1500)?;
    let stopped = || -> Result<u64> {
        let statistics = ethtool_statistics(lab, &name)?;
        statistics.get("tx_stopped").copied().context("tx_stopped")
    };
    // Else the stack stops the queue by its byte limit, long before the ring is full.
    lab.sh(&format!(
        "echo 1000000000 >/sys/class/net/{name}/queues/tx-0/byte_queue_limits/limit_min"
    ))?;
    let before = stopped()?;
    let job = lab.guest().spawn(&format!(
        "./ehea-net blast {name} {FRAMES} {} {STREAM}",
        ETHERNET_HEADER + pattern::HEADER + 46
    ))?;
    wait_until("the queue is stopped", || {
        Ok(stopped()? > before || job.finished()?)
    })?;
    ensure!(
        stopped()? > before && !job.finished()?,
        "{FRAMES} frames went out to a peer that takes none: the ring was never full"
    );
    let mut checker = Checker::new(STREAM);
    collect(lab.port(1)?, &mut checker, FRAMES, PATIENCE, numbered)?;
    checker.finish(FRAMES).flawless()?;
    let output = job.wait()?;
    ensure!(output.success(), "{output}");
    lab.unload()
}
