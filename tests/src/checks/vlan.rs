// SPDX-License-Identifier: GPL-2.0
//! Tagged frames: the adapter removes and inserts tags, and filters by VLAN.

use anyhow::{ensure, Result};

use super::filters::filtered;
use crate::lab::{port_address, Lab};
use crate::peer::{Plan, MAX_FRAME};

/// A VLAN in which the guest takes part. Its bit is not in the first doubleword of the filter.
const MEMBER: u16 = 1234;
/// A VLAN in which the guest does not take part. Its bit is in the same byte of the filter.
const OTHER: u16 = 1235;

/// Returns a plan for frames of all lengths whose tags are those of `wanted` in turn.
fn plan(stream: u32, count: u64, wanted: &'static [Option<u16>]) -> Plan {
    Plan::new(stream, count, |n| 60 + (n as usize * 89) % (MAX_FRAME - 59))
        .to(port_address(1))
        .tagged(move |n| wanted[n as usize % wanted.len()])
}

/// Tagged frames of all lengths go both ways. Frames of other VLANs do not even reach the driver,
/// nor do those of the VLAN once the guest has left it.
pub fn tags(lab: &Lab) -> Result<()> {
    lab.load()?;
    let name = lab.up(1, 9000)?;
    let port = lab.port(1)?;

    let reflector = lab.reflect(&name)?;
    let lost = filtered(lab, &plan(130, 40, &[Some(MEMBER), None]), 40)?;
    ensure!(
        lost == 20,
        "{} frames passed of a VLAN that nobody asked for",
        20 - lost
    );
    reflector.stop()?;

    lab.sh(&format!(
        "ip link add link {name} name vlan0 type vlan id {MEMBER} && ip link set vlan0 up"
    ))?;
    let reflector = lab.reflect("vlan0")?;
    plan(131, 300, &[Some(MEMBER)]).run(port)?.flawless()?;
    let lost = filtered(lab, &plan(132, 40, &[Some(OTHER), Some(MEMBER)]), 40)?;
    ensure!(lost == 20, "{} frames of another VLAN passed", 20 - lost);

    // The filter belongs to the port and outlives the queues.
    lab.sh(&format!("ip link set {name} down; ip link set {name} up"))?;
    lab.carrier(&name, true)?;
    lab.sh("ip link set vlan0 up")?;
    lab.carrier("vlan0", true)?;
    plan(133, 100, &[Some(MEMBER)]).run(port)?.flawless()?;
    reflector.stop()?;

    lab.sh("ip link del vlan0")?;
    let reflector = lab.reflect(&name)?;
    let lost = filtered(lab, &plan(134, 40, &[Some(MEMBER), None]), 40)?;
    ensure!(
        lost == 20,
        "{} frames passed of a VLAN that the guest has left",
        20 - lost
    );
    reflector.stop()?;
    lab.unload()
}
