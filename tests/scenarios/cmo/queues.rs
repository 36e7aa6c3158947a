// SPDX-License-Identifier: GPL-2.0
//! Ports that are opened with fewer queue pairs than they have.

use std::sync::Arc;

use anyhow::{ensure, Result};
use ehea_tests::checks::memory::{prepare, send_from};
use ehea_tests::cmo::MINIMUM;
use ehea_tests::lab::{port_address, Lab, Shape};
use ehea_tests::memory::{settled, Dimm};
use ehea_tests::peer::Plan;

use super::shares::grant;
use super::{unload, PATIENCE};

/// Number of queue pairs of a port.
const QUEUE_PAIRS: usize = 4;

/// Two ports of four queue pairs, with as much entitlement as they can use.
pub(crate) const SHAPE: Shape = Shape {
    properties: &["num-queue-pairs=4"],
    ..super::PLENTY
};

/// Returns the number of transmit queues that an interface has.
fn queues(lab: &Lab, name: &str) -> Result<usize> {
    let queues = format!("ls -d /sys/class/net/{name}/queues/tx-* | wc -l");
    Ok(lab.sh(&queues)?.parse()?)
}

/// Adds memory, has it mapped, and removes it.
fn memory(lab: &Lab, id: &str, stream: u32) -> Result<()> {
    let dimm = Dimm::plug(lab, id, 256 << 20)?;
    send_from(lab, &dimm, stream)?;
    settled(lab, &dimm)?;
    dimm.unplug(lab)
}

/// A port that has sorted its transmit queues by processors (XPS) is opened with fewer of them, because
/// there is not enough entitlement any more. Taking queues away from processors takes the lock of
/// processor hotplug. Memory comes and goes before and afterwards, so that the order of that lock and of
/// those of memory hotplug and of the memory map is known.
pub(crate) fn fewer_with_xps(lab: &Lab) -> Result<()> {
    let [name, other] = prepare(lab)?;
    ensure!(queues(lab, &name)? == QUEUE_PAIRS, "not all queue pairs");
    for queue in 0..QUEUE_PAIRS {
        let file = format!("/sys/class/net/{name}/queues/tx-{queue}/xps_cpus");
        lab.sh(&format!("echo {} >{file}", 1 + queue % 2))?;
    }
    memory(lab, "dimm0", 160)?;

    lab.sh(&format!(
        "ip link set {name} down; ip link set {other} down"
    ))?;
    grant(lab, 2 * MINIMUM)?;
    lab.up(1, 9000)?;
    lab.up(2, 9000)?;
    lab.sh(&format!("ip addr flush dev {other}"))?;
    lab.address(&other, 78)?;
    let fewer = queues(lab, &name)?;
    ensure!(fewer < QUEUE_PAIRS, "{fewer} queue pairs with the minimum");
    let reflector = lab.reflect(&name)?;
    let traffic = Plan::new(161, u64::MAX, |n| 60 + (n as usize * 61) % 8955)
        .to(port_address(1))
        .patience(PATIENCE)
        .start(Arc::clone(lab.port(1)?));
    traffic.wait_progress(100, PATIENCE)?;
    // Queues that are not used any more are not stuck: the watchdog, which looks after 10 s, says nothing.
    lab.sh("sleep 16")?;
    memory(lab, "dimm1", 162)?;
    traffic.wait_progress(100, PATIENCE)?;
    traffic.stop()?.flawless()?;
    reflector.stop()?;

    lab.sh(&format!(
        "ip link set {name} down; ip link set {other} down"
    ))?;
    grant(lab, 64 << 20)?;
    lab.up(1, 9000)?;
    ensure!(queues(lab, &name)? == QUEUE_PAIRS, "not all queue pairs");
    unload(lab)
}
