// SPDX-License-Identifier: GPL-2.0
//! Traffic while memory comes and goes, and from memory that has come.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{ensure, Result};

use crate::lab::{port_address, Lab, Reflector};
use crate::memory::{pages_inside, Dimm};
use crate::peer::{collect, udp_payload, Checker, Plan, Traffic};

const PATIENCE: Duration = Duration::from_secs(60);
const UDP_PORT: u16 = 4000;

/// Port 1 reflects frames all the time, port 2 sends datagrams from chosen memory.
pub fn start(lab: &Lab) -> Result<(Reflector<'_>, Traffic)> {
    lab.load()?;
    let near = lab.up(1, 9000)?;
    let far = lab.up(2, 9000)?;
    lab.address(&far, 78)?;
    // Before the first frame comes.
    let reflector = lab.reflect(&near)?;
    let traffic = Plan::new(50, u64::MAX, |n| 60 + (n as usize * 61) % 8955)
        .to(port_address(1))
        .patience(PATIENCE)
        .start(Arc::clone(lab.port(1)?));
    Ok((reflector, traffic))
}

/// Sends datagrams on port 2 from anonymous memory, which comes from the movable zone when there is
/// one: from added memory. Fails if it didn't.
pub fn send_from(lab: &Lab, dimm: &Dimm, stream: u32) -> Result<()> {
    const ROUNDS: u64 = 4;
    const FRAGMENTS: u64 = 17;
    let job = lab.guest().spawn(&format!(
        "./ehea-net fragments 10.78.0.2 {UDP_PORT} {ROUNDS} {stream} {:#x} {:#x}",
        dimm.range.start, dimm.range.end
    ))?;
    let mut checker = Checker::new(stream);
    let count = ROUNDS * FRAGMENTS;
    collect(lab.port(2)?, &mut checker, count, PATIENCE, |frame| {
        udp_payload(frame, UDP_PORT)
    })?;
    let output = job.wait()?;
    ensure!(output.success(), "{output}");
    checker.finish(count).flawless()?;
    let (pages, inside) = pages_inside(&output.out())?;
    ensure!(
        inside > 0,
        "none of {pages} pages is in the added memory: nothing was tested"
    );
    Ok(())
}
