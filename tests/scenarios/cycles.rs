// SPDX-License-Identifier: GPL-2.0
//! Repetition of the same thing, in which nothing may accumulate.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{ensure, Result};
use ehea_tests::checks::faults::{reported, works};
use ehea_tests::lab::{port_address, Lab};
use ehea_tests::peer::Plan;

const PATIENCE: Duration = Duration::from_secs(60);

/// The guest is not suspended as long as there is an adapter with a driver, and says why. Everything works
/// afterwards.
pub(crate) fn suspended(lab: &Lab) -> Result<()> {
    lab.load()?;
    let name = lab.up(1, 1500)?;
    let position = lab.guest().console().position();
    let output = lab.run("echo freeze >/sys/power/state")?;
    ensure!(!output.success(), "not refused: {output}");
    reported(lab, position, "cannot be suspended", "remove the driver")?;
    works(lab, &name)?;
    lab.unload()
}

/// An interface is set down and up 50 times while frames keep arriving.
pub(crate) fn down_and_up(lab: &Lab) -> Result<()> {
    lab.load()?;
    let loaded = lab.stats()?.live;
    let name = lab.up(1, 1500)?;
    let opened = lab.stats()?.live;
    let reflector = lab.reflect(&name)?;
    let traffic = Plan::new(10, u64::MAX, |n| 60 + n as usize % 1455)
        .to(port_address(1))
        .patience(PATIENCE)
        .start(Arc::clone(lab.port(1)?));
    for round in 1..=50 {
        lab.sh(&format!("ip link set {name} down"))?;
        let closed = lab.stats()?.live;
        ensure!(
            closed == loaded,
            "round {round}: {closed:?} when down, at first {loaded:?}"
        );
        lab.sh(&format!("ip link set {name} up"))?;
        lab.carrier(&name, true)?;
        let live = lab.stats()?.live;
        ensure!(
            live == opened,
            "round {round}: {live:?} when up, at first {opened:?}"
        );
        traffic.wait_progress(50, PATIENCE)?;
    }
    // Frames that arrive while the interface is down are lost, but what comes back is right.
    traffic.stop()?.sound()?;
    reflector.stop()?;
    lab.unload()
}

/// The external link goes down and up; the carrier follows, and frames flow again.
pub(crate) fn link_flaps(lab: &Lab) -> Result<()> {
    lab.load()?;
    let name = lab.up(1, 1500)?;
    let reflector = lab.reflect(&name)?;
    for round in 0..10 {
        lab.guest().set_port_link(1, false)?;
        lab.carrier(&name, false)?;
        lab.guest().set_port_link(1, true)?;
        lab.carrier(&name, true)?;
        let plan = Plan::new(20 + round, 100, |n| 60 + n as usize).to(port_address(1));
        plan.run(lab.port(1)?)?.flawless()?;
    }
    reflector.stop()?;
    lab.unload()
}

/// The driver is loaded, used and removed 20 times.
pub(crate) fn unload_and_load(lab: &Lab) -> Result<()> {
    let mut first = None;
    for round in 0..20 {
        lab.load()?;
        let name = lab.up(1, 1500)?;
        lab.up(2, 1500)?;
        let live = lab.stats()?.live;
        let expected = first.get_or_insert_with(|| live.clone());
        ensure!(
            live == *expected,
            "round {round}: {live:?}, at first {expected:?}"
        );
        let reflector = lab.reflect(&name)?;
        let plan = Plan::new(40 + round, 200, |n| 60 + n as usize).to(port_address(1));
        plan.run(lab.port(1)?)?.flawless()?;
        reflector.stop()?;
        lab.unload()?;
    }
    Ok(())
}
