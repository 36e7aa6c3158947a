// SPDX-License-Identifier: GPL-2.0
//! Errors while a port is in use.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use ehea_tests::background::Reflector;
use ehea_tests::checks::faults::{fired, reported};
use ehea_tests::counters::{ethtool_statistics, resets};
use ehea_tests::lab::{port_address, wait_until, Lab};
use ehea_tests::peer::{Plan, Traffic};
use serde_json::{json, Value};

const PATIENCE: Duration = Duration::from_secs(60);

/// Sends frames through port 1 in the background, with lengths that use all receive queues.
pub(crate) fn start(lab: &Lab, stream: u32) -> Result<(String, Reflector<'_>, Traffic)> {
    lab.load()?;
    let name = lab.up(1, 9000)?;
    let reflector = lab.reflect(&name)?;
    let traffic = Plan::new(stream, u64::MAX, |n| 60 + (n as usize * 61) % 8955)
        .to(port_address(1))
        .patience(PATIENCE)
        .start(Arc::clone(lab.port(1)?));
    traffic.wait_progress(100, PATIENCE)?;
    Ok((name, reflector, traffic))
}

/// Waits until a port was reset `times` times, and works.
fn reset(lab: &Lab, name: &str, traffic: &Traffic, times: u64) -> Result<()> {
    wait_until("the port is reset", || Ok(resets(lab, name)? >= times))?;
    lab.carrier(name, true)?;
    traffic.wait_progress(200, PATIENCE)?;
    let resets = resets(lab, name)?;
    ensure!(resets == times, "{resets} resets instead of {times}");
    Ok(())
}

fn corrupt(status: u16) -> Value {
    json!({ "event": "corrupt_completion", "port": 1, "nth": 20, "count": 3, "status": status })
}

/// Frames with wrong checksums are counted under the right names. A fatal completion causes a reset
/// of the port.
pub(crate) fn bad_completions(lab: &Lab) -> Result<()> {
    let (name, reflector, traffic) = start(lab, 310)?;
    let live = lab.stats()?.live;
    for (status, counter) in [(0x1000, "Frame cksum errors"), (0x2000, "IP cksum errors")] {
        let read = || -> Result<u64> {
            let statistics = ethtool_statistics(lab, &name)?;
            statistics.get(counter).copied().context(counter)
        };
        let before = read()?;
        lab.guest().inject_fault(&corrupt(status))?;
        wait_until("bad frames are counted", || Ok(read()? == before + 3))?;
        fired(lab)?;
        traffic.wait_progress(100, PATIENCE)?;
    }
    ensure!(resets(lab, &name)? == 0, "a bad frame caused a reset");
    let mut fault = corrupt(0x000f);
    fault["count"] = 1.into();
    let position = lab.guest().console().position();
    lab.guest().inject_fault(&fault)?;
    reported(lab, position, "Critical receive error", "Resetting port")?;
    fired(lab)?;
    reset(lab, &name, &traffic, 1)?;
    traffic.stop()?.sound()?;
    reflector.stop()?;
    ensure!(lab.stats()?.live == live, "left: {:?}", lab.stats()?.live);
    lab.unload()
}

/// A queue pair fails. The driver fetches the error data, understands them, and resets the port.
pub(crate) fn failed_queue_pair(lab: &Lab) -> Result<()> {
    let (name, reflector, traffic) = start(lab, 311)?;
    let live = lab.stats()?.live;
    for round in 1..=3 {
        let position = lab.guest().console().position();
        lab.guest()
            .inject_fault(&json!({ "event": "queue_pair_error", "port": 1 }))?;
        reported(
            lab,
            position,
            "QP (resource=",
            "AER=0x80000000, AERR=0x0, port=1",
        )?;
        lab.guest().clear_faults()?;
        reset(lab, &name, &traffic, round)?;
    }
    traffic.stop()?.sound()?;
    reflector.stop()?;
    ensure!(lab.stats()?.live == live, "left: {:?}", lab.stats()?.live);
    lab.unload()
}

/// The carrier follows the link, and frames flow again on the first queue.
pub(crate) fn link_flap(lab: &Lab) -> Result<()> {
    // Quirk 5: the other queues, which the driver has but does not use, stay stopped for ever.
    lab.guest().console().allow("NETDEV WATCHDOG");
    let (name, reflector, traffic) = start(lab, 312)?;
    traffic.stop()?.flawless()?;
    for round in 0..5 {
        lab.guest().set_port_link(1, false)?;
        lab.carrier(&name, false)?;
        lab.guest().set_port_link(1, true)?;
        lab.carrier(&name, true)?;
        let plan = Plan::new(320 + round, 100, |n| 60 + n as usize).to(port_address(1));
        plan.run(lab.port(1)?)?.flawless()?;
    }
    reflector.stop()?;
    lab.unload()
}
