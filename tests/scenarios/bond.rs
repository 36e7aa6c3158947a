// SPDX-License-Identifier: GPL-2.0
//! Two ports that act as one.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{ensure, Result};
use ehea_tests::lab::{port_address, text, wait_until, Lab};
use ehea_tests::peer::{Cable, Plan};

const SYSFS: &str = "/sys/class/net/bond0/bonding";
/// Network namespace of the partner.
const FAR: &str = "far";

/// Sends frames to the bond through port `port`. Returns the number of frames that come back
/// through it.
fn by_port(lab: &Lab, port: usize, stream: u32, patience: Duration) -> Result<u64> {
    let plan = Plan::new(stream, 100, |n| 60 + 14 * n as usize)
        .to(port_address(1))
        .patience(patience);
    let summary = plan.run(lab.port(port)?)?;
    summary.sound()?;
    Ok(summary.received)
}

/// Frames go through the active port. When its link goes down, the other port takes over, with the
/// same address.
pub(crate) fn active_backup(lab: &Lab) -> Result<()> {
    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_secs(1);
    lab.load()?;
    let [first, second] = [lab.interface(1)?, lab.interface(2)?];
    lab.sh(&format!(
        "modprobe bonding max_bonds=0 && \
         ip link add bond0 type bond mode active-backup miimon 50 && \
         ip link set {first} master bond0 && ip link set {second} master bond0 && \
         ip link set bond0 up"
    ))?;
    lab.carrier("bond0", true)?;
    let active = |name: &str| {
        wait_until(&format!("{name} is the active port"), || {
            Ok(lab.sh(&format!("cat {SYSFS}/active_slave"))? == name)
        })
    };
    lab.carrier(&first, true)?;
    lab.carrier(&second, true)?;
    lab.sh(&format!("echo {first} >{SYSFS}/active_slave"))?;
    active(&first)?;
    let reflector = lab.reflect("bond0")?;
    ensure!(by_port(lab, 1, 220, LONG)? == 100, "the active port");
    ensure!(by_port(lab, 2, 221, SHORT)? == 0, "the other port");

    lab.guest().set_port_link(1, false)?;
    active(&second)?;
    ensure!(by_port(lab, 2, 222, LONG)? == 100, "after the failover");
    lab.guest().set_port_link(1, true)?;
    lab.carrier(&first, true)?;
    // The other port stays active.
    ensure!(by_port(lab, 2, 223, LONG)? == 100, "with both links");
    lab.guest().set_port_link(2, false)?;
    active(&first)?;
    ensure!(by_port(lab, 1, 224, LONG)? == 100, "and back");
    lab.guest().set_port_link(2, true)?;
    reflector.stop()?;
    lab.sh("ip link del bond0 && rmmod bonding")?;
    // Each port has its own address again.
    ensure!(
        lab.interface(1)? == first && lab.interface(2)? == second,
        "the ports' addresses are not {} and {}",
        text(port_address(1)),
        text(port_address(2))
    );
    lab.unload()
}

/// Waits until both bonds use `ports` ports and know their partner.
fn aggregated(lab: &Lab, ports: u32) -> Result<()> {
    for inside in ["", "ip netns exec far "] {
        wait_until(&format!("{inside}bond0 uses {ports} ports"), || {
            let state = lab.sh(&format!(
                "{inside}sh -c 'cat {SYSFS}/ad_num_ports {SYSFS}/ad_partner_mac'"
            ))?;
            let (number, partner) = state.split_once('\n').unwrap_or_default();
            Ok(number == ports.to_string() && partner != text([0; 6]))
        })?;
    }
    Ok(())
}

/// Sends many flows to the partner. Returns the number of frames that each cable carried there.
fn spread(lab: &Lab, cables: &[Cable; 2]) -> Result<[u64; 2]> {
    const FRAMES: u64 = 400;
    let carried = || cables.each_ref().map(|cable| cable.carried()[0].frames);
    let before = carried();
    lab.sh(&format!("./ehea-net flows 10.80.0.2 4000 100 {FRAMES} 225"))?;
    let mut now = before;
    wait_until("all frames are on the wire", || {
        now = carried();
        Ok(now[0] + now[1] >= before[0] + before[1] + FRAMES)
    })?;
    Ok([now[0] - before[0], now[1] - before[1]])
}

/// Link aggregation with a partner that speaks LACP: flows are spread over both ports, and all go
/// through one port when the cable of the other is pulled.
pub(crate) fn lacp(lab: &Lab) -> Result<()> {
    const OPTIONS: &str =
        "type bond mode 802.3ad miimon 50 lacp_rate fast xmit_hash_policy layer3+4";
    lab.load()?;
    let cable = |a, b| -> Result<Cable> {
        Ok(Cable::new(
            Arc::clone(lab.port(a)?),
            Arc::clone(lab.port(b)?),
        ))
    };
    let cables = [cable(1, 3)?, cable(2, 4)?];
    lab.sh(&format!(
        "modprobe bonding max_bonds=0 && ip netns add {FAR} && \
         ip link add bond0 {OPTIONS} && ip -n {FAR} link add bond0 {OPTIONS}"
    ))?;
    for port in 1..=4 {
        let name = lab.interface(port)?;
        lab.sh(&match port {
            1 | 2 => format!("ip link set {name} master bond0"),
            _ => format!(
                "ip link set {name} netns {FAR} && ip -n {FAR} link set {name} master bond0"
            ),
        })?;
    }
    lab.sh(&format!(
        "ip addr add 10.80.0.1/24 dev bond0 && ip -n {FAR} addr add 10.80.0.2/24 dev bond0 && \
         ip link set bond0 up && ip -n {FAR} link set bond0 up"
    ))?;
    let ping = || lab.sh("ping -c 3 -W 20 10.80.0.2").map(drop);
    aggregated(lab, 2)?;
    ping()?;
    let receiver = lab.sh(&format!(
        "ip netns exec {FAR} socat -u UDP-RECV:4000 /dev/null >/dev/null 2>&1 & echo $!"
    ))?;
    wait_until("the receiver is there", || {
        let receives = format!("ip netns exec {FAR} ss -lun | grep -q ':4000 '");
        Ok(lab.run(&receives)?.success())
    })?;
    let [one, other] = spread(lab, &cables)?;
    ensure!(
        one > 50 && other > 50,
        "{one} and {other} frames of 100 flows on the cables"
    );

    let pull = |up| -> Result<()> {
        lab.guest().set_port_link(1, up)?;
        lab.guest().set_port_link(3, up)
    };
    pull(false)?;
    aggregated(lab, 1)?;
    ping()?;
    let [one, other] = spread(lab, &cables)?;
    ensure!(one == 0, "{one} frames on a cable that was pulled, {other}");
    pull(true)?;
    aggregated(lab, 2)?;
    ping()?;
    lab.sh(&format!(
        "kill {receiver}; ip link del bond0 && ip -n {FAR} link del bond0 && rmmod bonding"
    ))?;
    lab.unload()?;
    lab.sh(&format!("ip netns del {FAR}")).map(drop)
}
