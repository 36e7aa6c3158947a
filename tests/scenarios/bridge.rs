// SPDX-License-Identifier: GPL-2.0
//! A port in a bridge whose other port leads to a network namespace.

use std::time::Duration;

use anyhow::{ensure, Result};
use ehea_tests::lab::{text, Lab};
use ehea_tests::peer::{Plan, Summary};

/// MAC address of the station behind the bridge.
const STATION: [u8; 6] = [0x52, 0x54, 0x00, 0xea, 0x99, 0x01];
/// A VLAN, and another in which nobody takes part.
const VLAN: u16 = 42;
const OTHER_VLAN: u16 = 43;

/// Makes the bridge with port 1 and one end of a pair of virtual devices, whose other end `veth1`
/// is in the namespace `inside`. Runs `commands` when both are in the bridge.
fn build(lab: &Lab, options: &str, commands: &str) -> Result<()> {
    lab.load()?;
    let name = lab.up(1, 1500)?;
    lab.sh(&format!(
        "ip netns add inside && \
         ip link add br0 type bridge {options} && \
         ip link add veth0 type veth peer name veth1 netns inside && \
         ip -n inside link set veth1 address {} && \
         ip link set {name} master br0 && ip link set veth0 master br0",
        text(STATION)
    ))?;
    lab.sh(&commands.replace("DEV", &name))?;
    lab.sh("ip link set br0 up && ip link set veth0 up && ip -n inside link set veth1 up")
        .map(drop)
}

/// Sends frames to the station, where `interface` is reflected.
fn through(lab: &Lab, interface: &str, plan: Plan) -> Result<Summary> {
    let reflector = lab.reflect_in("inside", interface)?;
    let summary = plan.to(STATION).run(lab.port(1)?)?;
    reflector.stop()?;
    Ok(summary)
}

fn remove(lab: &Lab) -> Result<()> {
    lab.sh("ip link del br0 && ip netns del inside")?;
    lab.unload()
}

/// Frames go to and from a station whose address is not that of the port.
pub(crate) fn forwards(lab: &Lab) -> Result<()> {
    build(lab, "", "")?;
    let plan = Plan::new(210, 300, |n| 60 + (n as usize * 89) % 1455);
    through(lab, "veth1", plan)?.flawless()?;
    remove(lab)
}

/// A trunk: the bridge removes and inserts the tag of a VLAN, and accepts no other VLAN.
pub(crate) fn filters_vlans(lab: &Lab) -> Result<()> {
    build(
        lab,
        "vlan_filtering 1 vlan_default_pvid 0",
        "bridge vlan add dev DEV vid 42 && bridge vlan add dev veth0 vid 42 pvid untagged",
    )?;
    let plan = Plan::new(211, 300, |n| 60 + (n as usize * 89) % 1451).tagged(|_| Some(VLAN));
    through(lab, "veth1", plan)?.flawless()?;
    let plan = Plan::new(212, 40, |n| 60 + 30 * n as usize)
        .tagged(|n| Some([OTHER_VLAN, VLAN][n as usize % 2]));
    let summary = through(lab, "veth1", plan)?;
    summary.sound()?;
    ensure!(
        summary.lost == 20,
        "of 20 frames of another VLAN: {summary}"
    );
    remove(lab)
}

/// A bridge that does not handle VLANs passes tagged frames on, too.
pub(crate) fn passes_vlans(lab: &Lab) -> Result<()> {
    build(
        lab,
        "",
        "ip -n inside link add link veth1 name vlan42 type vlan id 42 && ip -n inside link set veth1 up && \
         ip -n inside link set vlan42 up",
    )?;
    let plan = Plan::new(213, 40, |n| 60 + 30 * n as usize)
        .tagged(|_| Some(VLAN))
        .patience(Duration::from_secs(3));
    let summary = through(lab, "vlan42", plan)?;
    remove(lab)?;
    summary.flawless()
}
