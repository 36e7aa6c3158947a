// SPDX-License-Identifier: GPL-2.0
//! Adapters that are plugged into a machine that runs, and unplugged.

use std::sync::Arc;

use anyhow::{ensure, Context, Result};
use ehea_model::stats::{Live, Stats};
use ehea_tests::checks::memory::start;
use ehea_tests::cmo::{balanced, Bus as Accounts, Device, MINIMUM};
use ehea_tests::lab::{port_address, wait_until, Bus, Lab, Other, Shape};
use ehea_tests::peer::{Plan, Traffic};

use super::PATIENCE;
use crate::cmo_platform::{floor, set};

/// The adapters that come later. Each has one port.
const LATER: [Other; 2] = [Other::Later(0), Other::Later(1)];
/// Unit addresses of the first adapter and of these, which are the names of their devices on the VIO bus.
const UNITS: [&str; 3] = ["71000001", LATER[0].unit(), LATER[1].unit()];
/// Names of their slots on the VIO bus.
const SLOTS: [&str; 2] = ["V1-C2", "V1-C3"];

/// A guest in whose machine there is room for another adapter.
pub(crate) const SHAPE: Shape = Shape {
    others: &[LATER[0]],
    ..Shape::STANDARD
};

/// A CMO partition in which there is room for two more adapters.
pub(crate) const CMO: Shape = Shape {
    memory: "1G,max=8G",
    adapter: Some(2),
    cmo: Some("16M"),
    others: &LATER,
    ..Shape::PLAIN
};

/// Number of rounds.
const ROUNDS: usize = 5;

/// Starts traffic over a port that has the interface `name`, with frames up to `longest` bytes long.
fn over(lab: &Lab, port: usize, longest: usize) -> Result<Traffic> {
    let plan = Plan::new(50, u64::MAX, move |n| {
        60 + (n as usize * 61) % (longest - 59)
    })
    .to(port_address(port))
    .patience(PATIENCE);
    Ok(plan.start(Arc::clone(lab.port(port)?)))
}

/// Fails unless frames flow over a port.
fn flows(lab: &Lab, port: usize, mtu: usize) -> Result<()> {
    let name = lab.up(port, mtu)?;
    let reflector = lab.reflect(&name)?;
    let traffic = over(lab, port, mtu + 14)?;
    traffic.wait_progress(100, PATIENCE)?;
    traffic.stop()?.flawless()?;
    reflector.stop().map(drop)
}

/// An adapter is plugged in, the partition takes it, frames flow over it, the partition gives it back, and it is
/// unplugged, again and again, while frames flow over the other one. Nothing is left of it, and no frame is lost. On the
/// ibmebus, where users tell firmware what they give back, it stays as long as it is in use.
pub(crate) fn come_and_go(lab: &Lab) -> Result<()> {
    let (reflector, traffic) = start(lab)?;
    let adapter = LATER[0];
    let slot = match lab.bus() {
        Bus::Vio => SLOTS[0],
        Bus::Ibmebus => "'HEA 2'",
    };
    for round in 0..ROUNDS {
        lab.plug(adapter)?;
        ensure!(lab.bound()?.len() == 1, "somebody has taken it");
        take(lab, slot)?;
        ensure!(lab.bound()?.len() == 2, "round {round}: not bound");
        flows(lab, 3, 9000)?;
        traffic.wait_progress(20, PATIENCE)?;
        if round == 0 {
            // It is asked for while it is in use, and comes out when it is given back.
            lab.request_unplug(adapter)?;
            give_back(lab, slot)?;
            lab.wait_unplugged(adapter)?;
            ensure!(lab.bound()?.len() == 1, "still bound");
            continue;
        }
        give_back(lab, slot)?;
        ensure!(lab.bound()?.len() == 1, "round {round}: still bound");
        let stats: Stats = lab.guest().stats_of(&adapter.id())?;
        ensure!(
            stats.live == Live::default() && stats.refused_accesses == 0,
            "left in the adapter: {:?}",
            stats.live
        );
        if round == 1 {
            // It is the partition's to take again.
            take(lab, slot)?;
            give_back(lab, slot)?;
        }
        lab.request_unplug(adapter)?;
        lab.wait_unplugged(adapter)?;
        traffic.wait_progress(20, PATIENCE)?;
    }
    traffic.stop()?.flawless()?;
    reflector.stop()?;
    lab.unload()
}

/// Takes an adapter.
fn take(lab: &Lab, slot: &str) -> Result<()> {
    lab.sh(&format!("drmgr -c slot -a -s {slot}")).map(drop)
}

/// Gives an adapter back. On the ibmebus, where `drmgr` knows nothing of the driver, it is unbound first.
fn give_back(lab: &Lab, slot: &str) -> Result<()> {
    if lab.bus() == Bus::Ibmebus {
        let kept = lab.run(&format!("drmgr -c slot -r -s {slot}"))?;
        ensure!(!kept.success(), "an adapter in use was given back: {kept}");
        lab.sh(&format!(
            "echo /lhea@{} >/sys/bus/ibmebus/remove",
            LATER[0].unit()
        ))?;
    }
    lab.sh(&format!("drmgr -c slot -r -s {slot}")).map(drop)
}

/// Under the smallest entitlement, the bus has enough to spare for one more adapter, and refuses a second one. With more
/// entitlement, that one works, too. When both are gone, the bus has as much to spare as before, and the entitlement can
/// be lowered again. Frames flow all the time.
pub(crate) fn in_cmo(lab: &Lab) -> Result<()> {
    set(lab, floor(1))?;
    lab.load()?;
    let name = lab.up(1, 1500)?;
    let reflector = lab.reflect(&name)?;
    let traffic = over(lab, 1, 1514)?;
    traffic.wait_progress(100, PATIENCE)?;
    for (adapter, slot) in LATER.into_iter().zip(SLOTS) {
        let position = lab.guest().console().position();
        lab.plug(adapter)?;
        take(lab, slot)?;
        let bound = lab.bound()?.len();
        if adapter == LATER[0] {
            ensure!(bound == 2, "not bound, although there is enough to spare");
            flows(lab, 3, 1500)?;
            balanced(lab, &UNITS[..2], 2)?;
        } else {
            ensure!(bound == 2, "bound without entitlement");
            lab.guest()
                .console()
                .wait_for(position, "insufficient free entitlement", PATIENCE)
                .context("the refusal is not reported")?;
        }
        traffic.wait_progress(20, PATIENCE)?;
    }
    set(lab, floor(3))?;
    let bind = format!("{}/bind", lab.driver_directory());
    lab.sh(&format!("echo {} >{bind}", UNITS[2]))?;
    flows(lab, 4, 1500)?;
    balanced(lab, &UNITS, 3)?;
    traffic.wait_progress(20, PATIENCE)?;

    for (adapter, slot) in LATER.into_iter().zip(SLOTS) {
        give_back(lab, slot)?;
        let stats: Stats = lab.guest().stats_of(&adapter.id())?;
        ensure!(
            stats.live == Live::default() && stats.tce_mapped_pages == 0,
            "left: {:?}, {} pages mapped",
            stats.live,
            stats.tce_mapped_pages
        );
        lab.request_unplug(adapter)?;
        lab.wait_unplugged(adapter)?;
        traffic.wait_progress(20, PATIENCE)?;
    }
    // The bus notices that they are gone when it balances.
    let wish = Device::read(lab, UNITS[0])?.desired;
    lab.sh(&format!(
        "echo {wish} >/sys/bus/vio/devices/{}/cmo_desired",
        UNITS[0]
    ))?;
    balanced(lab, &UNITS[..1], 1)?;
    set(lab, floor(1))?;
    wait_until("the bus has as much to spare as before", || {
        let accounts = Accounts::read(lab)?;
        Ok(accounts.entitled == floor(1) && accounts.spare == MINIMUM)
    })?;
    traffic.stop()?.flawless()?;
    reflector.stop()?;
    lab.unload()
}
