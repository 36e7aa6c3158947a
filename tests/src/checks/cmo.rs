// SPDX-License-Identifier: GPL-2.0
//! The adapter with as much memory mapped as it can have.

use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::counters::ethtool_statistics;
use crate::lab::{wait_until, Lab};
use crate::peer::{collect, Checker, ETHERNET_HEADER, TEST_ETHERTYPE};

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

/// Sends from each of the ports `ports` to a peer that accepts nothing until the transmit queue is
/// full. Then calls `full`. After that, all frames must arrive.
pub fn fill(
    lab: &Lab,
    ports: &[usize],
    mtu: usize,
    full: impl FnOnce() -> Result<()>,
) -> Result<()> {
    const FRAMES: u64 = 5_000;
    let mut jobs = Vec::new();
    for &port in ports {
        let name = lab.up(port, mtu)?;
        // Without this, the stack stops the queue because of its byte limit, long before the ring
        // is full.
        lab.sh(&format!(
            "echo 1000000000 >/sys/class/net/{name}/queues/tx-0/byte_queue_limits/limit_min"
        ))?;
        let stream = 100 + port as u32;
        let length = ETHERNET_HEADER + mtu;
        let job = lab.guest().spawn(&format!(
            "./ehea-net blast {name} {FRAMES} {length} {stream}"
        ))?;
        wait_until("the queue is stopped", || {
            Ok(ethtool_statistics(lab, &name)?["tx_stopped"] > 0 || job.finished()?)
        })?;
        ensure!(
            !job.finished()?,
            "{FRAMES} frames went out to a peer that takes none: the ring was never full"
        );
        jobs.push((port, stream, job));
    }
    full()?;
    for (port, stream, job) in jobs {
        let mut checker = Checker::new(stream);
        collect(lab.port(port)?, &mut checker, FRAMES, PATIENCE, numbered)?;
        checker.finish(FRAMES).flawless()?;
        let output = job.wait()?;
        ensure!(output.success(), "{output}");
    }
    Ok(())
}
