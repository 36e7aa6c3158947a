// SPDX-License-Identifier: GPL-2.0
//! Addresses that a port receives.

use anyhow::{bail, ensure, Context, Result};

use crate::lab::{port_address, text, Lab};
use crate::peer::Plan;

/// Returns the number of frames that the adapter gave to the driver of a port.
pub(super) fn given_to_driver(lab: &Lab, port: usize) -> Result<u64> {
    let stats = lab.stats()?;
    let port = stats.ports.get(port - 1).context("no such port")?;
    Ok(port.rx_frames)
}

/// Returns the number of frames of a plan that the adapter did not give to the driver, which must
/// be those that do not come back. The last frame must come back.
pub(super) fn filtered(lab: &Lab, plan: &Plan, count: u64) -> Result<u64> {
    let before = given_to_driver(lab, 1)?;
    let summary = plan.run(lab.port(1)?)?;
    summary.sound()?;
    let given = given_to_driver(lab, 1)? - before;
    ensure!(
        given + summary.lost == count,
        "{} of {count} frames came back, but the driver got {given}",
        summary.received
    );
    Ok(summary.lost)
}

/// Checks whether frames to `address` reach the driver and come back. All of them must be treated
/// alike. Every second frame is to `own`, which is always received.
pub fn receives(lab: &Lab, address: [u8; 6], own: [u8; 6], stream: u32) -> Result<bool> {
    const COUNT: u64 = 40;
    let plan = Plan::new(stream, COUNT, |n| 60 + 200 * n as usize)
        .to_each(move |n| [address, own][n as usize % 2]);
    match filtered(lab, &plan, COUNT)? {
        0 => Ok(true),
        n if n == COUNT / 2 => Ok(false),
        n => bail!("{n} of {} frames to {} were lost", COUNT / 2, text(address)),
    }
}

/// Fails unless the addresses in `wanted` are received, or are not, as it says.
fn expect(lab: &Lab, what: &str, stream: &mut u32, wanted: &[([u8; 6], bool)]) -> Result<()> {
    for &(address, received) in wanted {
        *stream += 1;
        ensure!(
            receives(lab, address, port_address(1), *stream)? == received,
            "{what}: {} is {}",
            text(address),
            if received { "not received" } else { "received" }
        );
    }
    Ok(())
}

/// Groups are received if somebody asks for them, all groups on request, and frames of other
/// stations only in promiscuous mode.
pub fn groups_and_promiscuous(lab: &Lab) -> Result<()> {
    const GROUP: [u8; 6] = [0x01, 0x00, 0x5e, 0x01, 0x02, 0x03];
    const OTHER_GROUP: [u8; 6] = [0x01, 0x00, 0x5e, 0x01, 0x02, 0x04];
    const STATION: [u8; 6] = [0x52, 0x54, 0x00, 0xea, 0x88, 0x01];
    const ALL: [u8; 6] = [0xff; 6];
    lab.load()?;
    let name = lab.up(1, 9000)?;
    let reflector = lab.reflect(&name)?;
    let mut stream = 140;
    let groups = |group, other| {
        [
            (GROUP, group),
            (OTHER_GROUP, other),
            (STATION, false),
            (ALL, true),
        ]
    };
    let mut step = |what, commands: &[&str], wanted: &[([u8; 6], bool)]| -> Result<()> {
        for command in commands {
            lab.sh(&command.replace("DEV", &name).replace("GROUP", &text(GROUP)))?;
        }
        expect(lab, what, &mut stream, wanted)
    };
    step("at first", &[], &groups(false, false))?;
    step(
        "one group",
        &["./ehea-net multicast DEV add GROUP"],
        &groups(true, false),
    )?;
    step(
        "all groups",
        &["ifconfig DEV allmulti"],
        &groups(true, true),
    )?;
    step(
        "one group again",
        &["ifconfig DEV -allmulti"],
        &groups(true, false),
    )?;
    step(
        "promiscuous",
        &["ip link set DEV promisc on"],
        &[(STATION, true), (GROUP, true), (ALL, true)],
    )?;
    step(
        "no longer",
        &["ip link set DEV promisc off"],
        &groups(true, false),
    )?;
    step(
        "down and up",
        &["ip link set DEV down", "ip link set DEV up"],
        &[],
    )?;
    lab.carrier(&name, true)?;
    step("after that", &[], &groups(true, false))?;
    step(
        "no group",
        &["./ehea-net multicast DEV del GROUP"],
        &groups(false, false),
    )?;
    reflector.stop()?;
    lab.unload()
}
