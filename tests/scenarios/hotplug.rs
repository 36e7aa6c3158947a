// SPDX-License-Identifier: GPL-2.0
//! Memory comes and goes while frames flow.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{ensure, Result};
use ehea_tests::lab::{port_address, Lab, Reflector};
use ehea_tests::memory::{allocations, blocks, not_registered, pages_inside, registered, Dimm};
use ehea_tests::peer::{collect, udp_payload, Checker, Plan, Traffic, PEER_ADDRESS};

const PATIENCE: Duration = Duration::from_secs(60);
const UDP_PORT: u16 = 4000;
const DIMM_BYTES: u64 = 512 << 20;

/// Port 1 reflects frames all the time, port 2 sends datagrams from chosen memory.
pub(crate) fn start(lab: &Lab) -> Result<(Reflector<'_>, Traffic)> {
    lab.load()?;
    let near = lab.up(1, 9000)?;
    let far = lab.up(2, 9000)?;
    let peer = PEER_ADDRESS.map(|byte| format!("{byte:02x}")).join(":");
    lab.sh(&format!(
        "ip addr add 10.78.0.1/24 dev {far}; \
         ip neigh replace 10.78.0.2 lladdr {peer} nud permanent dev {far}"
    ))?;
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
pub(crate) fn send_from(lab: &Lab, dimm: &Dimm, stream: u32) -> Result<()> {
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

/// Memory is added and removed five times. The first packet from added memory causes one rebuild, the
/// removal another, and not a single frame is lost, not even the one that caused it.
pub(crate) fn under_traffic(lab: &Lab) -> Result<()> {
    let (reflector, traffic) = start(lab)?;
    traffic.wait_progress(100, PATIENCE)?;
    for round in 0..5 {
        let before = lab.stats()?;
        let dimm = Dimm::plug(lab, "dimm0", DIMM_BYTES)?;
        let plugged = lab.stats()?;
        ensure!(
            allocations(&plugged) == allocations(&before),
            "round {round}: added memory alone caused a rebuild"
        );
        send_from(lab, &dimm, 60 + 2 * round)?;
        ehea_tests::lab::wait_until("the map was rebuilt", || {
            Ok(registered(&lab.stats()?, &dimm.range).is_ok() && lab.stats()?.mrs.len() == 1)
        })?;
        send_from(lab, &dimm, 61 + 2 * round)?;
        let used = lab.stats()?;
        ensure!(
            allocations(&used) == allocations(&before) + 1,
            "round {round}: {} rebuilds for one range",
            allocations(&used) - allocations(&before)
        );
        traffic.wait_progress(100, PATIENCE)?;
        dimm.unplug(lab)?;
        let removed = lab.stats()?;
        not_registered(&removed, &dimm.range)?;
        // 512 MiB are two blocks, and each of them goes offline by itself.
        let rebuilds = allocations(&removed) - allocations(&used);
        ensure!(
            (1..=DIMM_BYTES >> 28).contains(&rebuilds),
            "round {round}: {rebuilds} rebuilds for one removal"
        );
        traffic.wait_progress(100, PATIENCE)?;
    }
    traffic.stop()?.flawless()?;
    reflector.stop()?;
    lab.unload()
}

/// A block that the map contains goes offline: it is out of the map before the operation ends. A block
/// that the map doesn't contain costs nothing.
pub(crate) fn block_offline(lab: &Lab) -> Result<()> {
    let (reflector, traffic) = start(lab)?;
    let dimm = Dimm::plug(lab, "dimm1", 256 << 20)?;
    let [block] = &blocks(lab, &dimm.range)?[..] else {
        anyhow::bail!("a DIMM of 256 MiB is not one memory block");
    };
    let calls = |lab: &Lab| Ok::<u64, anyhow::Error>(lab.stats()?.hcalls.values().sum());

    let unmapped = allocations(&lab.stats()?);
    lab.sh(&format!("echo offline >{block}/state"))?;
    lab.sh(&format!("echo online_movable >{block}/state"))?;
    ensure!(
        allocations(&lab.stats()?) == unmapped,
        "memory that the map doesn't contain caused a rebuild"
    );
    send_from(lab, &dimm, 80)?;
    ehea_tests::lab::wait_until("the map was rebuilt", || {
        Ok(registered(&lab.stats()?, &dimm.range).is_ok() && lab.stats()?.mrs.len() == 1)
    })?;
    let mapped = lab.stats()?;
    lab.sh(&format!("echo offline >{block}/state"))?;
    let offline = lab.stats()?;
    not_registered(&offline, &dimm.range)?;
    ensure!(
        allocations(&offline) == allocations(&mapped) + 1,
        "not one rebuild for one block"
    );
    traffic.wait_progress(100, PATIENCE)?;
    traffic.stop()?.flawless()?;
    reflector.stop()?;

    let before = calls(lab)?;
    lab.sh(&format!("echo online_movable >{block}/state"))?;
    lab.sh(&format!("echo offline >{block}/state"))?;
    ensure!(
        calls(lab)? == before,
        "a block outside of the map cost hypercalls"
    );
    lab.sh(&format!("echo online_movable >{block}/state"))?;
    dimm.unplug(lab)?;
    lab.unload()
}
