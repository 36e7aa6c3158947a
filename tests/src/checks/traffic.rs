// SPDX-License-Identifier: GPL-2.0
//! Frames through one port, checked byte by byte.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{ensure, Result};

use crate::counters::Comparison;
use crate::lab::{port_address, Lab};
use crate::memory::pages_inside;
use crate::peer::{collect, udp_payload, Checker, Echo, Plan, MAX_FRAME, MIN_FRAME};

/// Time after which frames count as lost; those that are merely late arrive earlier.
const PATIENCE: Duration = Duration::from_secs(60);

/// Frames of every length, from the shortest to the longest, go to the guest and back.
pub fn every_length(lab: &Lab) -> Result<()> {
    lab.load()?;
    // All frames are counted, and must be those of the plan.
    lab.silent(&lab.interface(1)?)?;
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

/// Frames of mixed lengths use each ring many times over.
pub fn ring_wraps(lab: &Lab) -> Result<()> {
    const FRAMES: u64 = 50_000;
    lab.load()?;
    let name = lab.up(1, 9000)?;
    let reflector = lab.reflect(&name)?;
    // Most frames are short, so that all three receive queues are used.
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

/// Datagrams of 1 to 17 fragments arrive, with the checksum computed by the adapter.
pub fn fragments(lab: &Lab) -> Result<()> {
    const ROUNDS: u64 = 40;
    const FRAGMENTS: u64 = 17;
    const STREAM: u32 = 3;
    const UDP_PORT: u16 = 4000;
    lab.load()?;
    let name = lab.up(1, 9000)?;
    lab.address(&name, 77)?;
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

/// Echo requests of several lengths are answered. The stack thus handles received frames correctly,
/// including the checksums that the adapter reports.
pub fn ping(lab: &Lab) -> Result<()> {
    lab.load()?;
    let name = lab.up(1, 9000)?;
    lab.address(&name, 77)?;
    let echo = Echo::new(Arc::clone(lab.port(1)?));
    for length in [0, 1, 56, 150, 1001, 2100, 8972] {
        lab.sh(&format!("ping -c 3 -W 20 -s {length} 10.77.0.2"))?;
    }
    let answered = echo.stop()?;
    ensure!(answered == 21, "{answered} requests came");
    let checksum_failures = lab.sh("dmesg | grep -c 'hw csum failure' || true")?;
    ensure!(
        checksum_failures == "0",
        "the stack finds {checksum_failures} checksums of the adapter wrong"
    );
    lab.unload()
}

/// Many flows are spread by the stack over all send queues.
pub fn flows(lab: &Lab) -> Result<()> {
    const COUNT: u64 = 1000;
    lab.load()?;
    let name = lab.up(1, 1500)?;
    lab.address(&name, 77)?;
    let job = lab
        .guest()
        .spawn(&format!("./ehea-net flows 10.77.0.2 4000 100 {COUNT} 302"))?;
    let mut checker = Checker::new(302);
    collect(lab.port(1)?, &mut checker, COUNT, PATIENCE, |frame| {
        udp_payload(frame, 4000)
    })?;
    let output = job.wait()?;
    ensure!(output.success(), "{output}");
    let summary = checker.finish(COUNT);
    // Frames of different queues overtake each other.
    ensure!(
        summary.lost + summary.duplicated + summary.corrupted == 0,
        "{summary}"
    );
    lab.unload()
}
