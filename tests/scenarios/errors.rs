// SPDX-License-Identifier: GPL-2.0
//! Errors while a port is in use, and recovery from them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use ehea_model::fault::ArmedFault;
use ehea_tests::background::Reflector;
use ehea_tests::checks::faults::{fired, reported, works};
use ehea_tests::checks::filters::receives;
use ehea_tests::counters::{ethtool_counter, ethtool_statistics};
use ehea_tests::lab::{port_address, text, wait_until, Lab};
use ehea_tests::peer::{Plan, Traffic};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until a port was reset `times` times since the driver was loaded and has its carrier.
fn reset(lab: &Lab, name: &str, times: u64) -> Result<()> {
    wait_until("the port is reset", || {
        Ok(ethtool_counter(lab, name, "port_resets")? >= times)
    })?;
    lab.carrier(name, true)?;
    let resets = ethtool_counter(lab, name, "port_resets")?;
    ensure!(resets == times, "{resets} resets instead of {times}");
    Ok(())
}

/// Fails unless resets of a port were requested as often as `expected` says, by reason, since the
/// driver was loaded, and for no other reason.
fn reasons(lab: &Lab, name: &str, expected: &[(&str, u64)]) -> Result<()> {
    let statistics = ethtool_statistics(lab, name)?;
    let counted: BTreeMap<_, _> = statistics
        .iter()
        .filter_map(|(counter, &count)| Some((counter.strip_prefix("port_reset_")?, count)))
        .collect();
    ensure!(counted.len() > 1, "no reasons: {statistics:?}");
    for (reason, &count) in &counted {
        let wanted = expected.iter().find(|(name, _)| name == reason);
        let wanted = wanted.map_or(0, |&(_, count)| count);
        ensure!(count == wanted, "{reason}: {counted:?}");
    }
    Ok(())
}

/// Fails unless the log since `position` has one line with the reason of a reset.
fn logged_once(lab: &Lab, position: usize, reason: &str) -> Result<()> {
    let lines = lab.guest().console().since(position);
    let count = lines.iter().filter(|line| line.contains(reason)).count();
    ensure!(count == 1, "{reason:?} {count} times: {lines:#?}");
    Ok(())
}

/// Sends frames to port 1 and back, with lengths that use all receive queues.
fn traffic(lab: &Lab, stream: u32, patience: Duration) -> Result<Traffic> {
    Ok(
        Plan::new(stream, u64::MAX, |n| 60 + (n as usize * 61) % 8955)
            .to(port_address(1))
            .patience(patience)
            .start(Arc::clone(lab.port(1)?)),
    )
}

/// Loads the driver, sets port 1 up, and reflects its frames.
fn start(lab: &Lab) -> Result<(String, Reflector<'_>)> {
    lab.load()?;
    let name = lab.up(1, 9000)?;
    let reflector = lab.reflect(&name)?;
    Ok((name, reflector))
}

/// Frames with a wrong CRC or checksum are dropped and counted. Completions and events that report
/// a failed queue pair cause a reset of the port.
pub(crate) fn bad_completions(lab: &Lab) -> Result<()> {
    lab.expect_ignored_mmio();
    let (name, reflector) = start(lab)?;
    let live = lab.stats()?.live;
    let traffic = traffic(lab, 100, PATIENCE)?;
    let fault = |status: u16, count: u32| json!({ "event": "corrupt_completion", "port": 1, "nth": 100, "count": count, "status": status });
    for (status, counter) in [(0x1000, "rx_crc_errors"), (0x2000, "rx_errors")] {
        let read = || -> Result<u64> {
            let path = format!("/sys/class/net/{name}/statistics/{counter}");
            Ok(lab.sh(&format!("cat {path}"))?.parse()?)
        };
        let before = read()?;
        lab.guest().inject_fault(&fault(status, 3))?;
        wait_until("bad frames are counted", || Ok(read()? == before + 3))?;
        fired(lab)?;
        traffic.wait_progress(100, PATIENCE)?;
    }
    ensure!(
        ethtool_counter(lab, &name, "port_resets")? == 0,
        "a bad frame caused a reset"
    );
    for (round, status) in (1..).zip([0x0001, 0x0002, 0x000f]) {
        // One: a second may come only after the reset that the first causes, and cause another.
        lab.guest().inject_fault(&fault(status, 1))?;
        wait_until("the port is reset", || {
            Ok(ethtool_counter(lab, &name, "port_resets")? >= round)
        })?;
        lab.guest().clear_faults()?;
        reset(lab, &name, round)?;
        traffic.wait_progress(100, PATIENCE)?;
    }
    let position = lab.guest().console().position();
    lab.guest()
        .inject_fault(&json!({ "event": "queue_pair_error", "port": 1 }))?;
    reported(lab, position, "error of queue pair 0", "resetting")?;
    lab.guest().clear_faults()?;
    reset(lab, &name, 4)?;
    logged_once(lab, position, "error of queue pair 0")?;
    reasons(lab, &name, &[("completion", 3), ("queue_pair", 1)])?;
    traffic.wait_progress(100, PATIENCE)?;
    traffic.stop()?.sound()?;
    reflector.stop()?;
    ensure!(
        lab.stats()?.live == live,
        "resets leave {:?}",
        lab.stats()?.live
    );
    lab.unload()
}

/// A port or the adapter malfunctions, and the ports recover by themselves.
pub(crate) fn malfunction(lab: &Lab) -> Result<()> {
    let (name, reflector) = start(lab)?;
    let traffic = traffic(lab, 101, PATIENCE)?;
    for round in 1..=2 {
        let position = lab.guest().console().position();
        lab.guest()
            .inject_fault(&json!({ "event": "port_malfunction", "port": 1 }))?;
        reported(lab, position, &name, "malfunction")?;
        reset(lab, &name, round)?;
        logged_once(lab, position, "port malfunction, resetting")?;
        reasons(lab, &name, &[("malfunction", round)])?;
        lab.guest().clear_faults()?;
        traffic.wait_progress(100, PATIENCE)?;
    }
    let position = lab.guest().console().position();
    lab.guest()
        .inject_fault(&json!({ "event": "adapter_malfunction" }))?;
    reported(lab, position, "adapter", "malfunction")?;
    lab.guest().clear_faults()?;
    traffic.wait_progress(100, PATIENCE)?;
    traffic.stop()?.sound()?;
    reflector.stop()?;
    lab.unload()
}

/// All completion interrupts are lost: the transmit queue gets stuck, and the watchdog causes a
/// reset of the port.
pub(crate) fn lost_interrupts(lab: &Lab) -> Result<()> {
    // The watchdog is what this scenario is about.
    lab.guest().console().allow("NETDEV WATCHDOG");
    lab.expect_reraise();
    lab.load()?;
    let name = lab.up(1, 1500)?;
    let position = lab.guest().console().position();
    lab.guest().inject_fault(
        &json!({ "event": "drop_interrupt", "queue": "completion", "count": 1_000_000 }),
    )?;
    // The job ends when the stack has all frames back. It would have short ones back at once.
    let job = lab
        .guest()
        .spawn(&format!("./ehea-net blast {name} 100 300 102"))?;
    reported(lab, position, &name, "is stuck")?;
    fired(lab)?;
    reset(lab, &name, 1)?;
    logged_once(lab, position, "is stuck")?;
    reasons(lab, &name, &[("stuck", 1)])?;
    let output = job.wait()?;
    ensure!(output.success(), "{output}");
    lab.port(1)?.drain()?;
    works(lab, &name)?;
    lab.unload()
}

/// A port that does not come up again is reset until it does. It can be set down meanwhile.
pub(crate) fn refused_reset(lab: &Lab) -> Result<()> {
    let (name, reflector) = start(lab)?;
    let live = lab.stats()?.live;
    let refusal = json!({
        "opcode": "H_ALLOC_HEA_RESOURCE", "resource": "qp", "count": 2,
        "action": { "return": "H_NOT_ENOUGH_RESOURCES" },
    });
    let position = lab.guest().console().position();
    lab.guest().inject_fault(&refusal)?;
    lab.guest()
        .inject_fault(&json!({ "event": "port_malfunction", "port": 1 }))?;
    reported(lab, position, "H_ALLOC_HEA_RESOURCE", "reset failed")?;
    // There was the first attempt and two more.
    reset(lab, &name, 3)?;
    // The attempts to repeat it have the same reason.
    reasons(lab, &name, &[("malfunction", 1)])?;
    lab.guest().clear_faults()?;
    works_with(lab, 103)?;
    ensure!(lab.stats()?.live == live, "left: {:?}", lab.stats()?.live);

    let position = lab.guest().console().position();
    lab.guest().inject_fault(&refusal)?;
    lab.guest()
        .inject_fault(&json!({ "event": "port_malfunction", "port": 1 }))?;
    reported(lab, position, "H_ALLOC_HEA_RESOURCE", "reset failed")?;
    lab.sh(&format!("ip link set {name} down"))?;
    lab.guest().clear_faults()?;
    lab.up(1, 9000)?;
    works_with(lab, 104)?;
    reflector.stop()?;
    lab.unload()
}

/// A reset keeps the carrier, unless it fails or the link goes down meanwhile.
pub(crate) fn carrier_kept(lab: &Lab) -> Result<()> {
    lab.expect_ignored_mmio();
    let (name, reflector) = start(lab)?;
    let changes = || -> Result<u64> {
        Ok(lab
            .sh(&format!("cat /sys/class/net/{name}/carrier_changes"))?
            .parse()?)
    };
    let error = json!({ "event": "queue_pair_error", "port": 1 });
    let before = changes()?;
    lab.guest().inject_fault(&error)?;
    reset(lab, &name, 1)?;
    lab.guest().clear_faults()?;
    works_with(lab, 105)?;
    ensure!(changes()? == before, "the reset took the carrier away");

    // The second attempt succeeds.
    lab.guest().inject_fault(&json!({
        "opcode": "H_ALLOC_HEA_RESOURCE", "resource": "qp",
        "action": { "return": "H_NOT_ENOUGH_RESOURCES" },
    }))?;
    lab.guest().inject_fault(&error)?;
    reset(lab, &name, 3)?;
    lab.guest().clear_faults()?;
    let after = changes()?;
    ensure!(
        after == before + 2,
        "the carrier changed {after} - {before} times"
    );
    works_with(lab, 106)?;

    // The reset takes long enough.
    lab.guest().inject_fault(&json!({
        "opcode": "H_ALLOC_HEA_RESOURCE", "resource": "qp",
        "action": { "long_busy": { "code": "H_LONG_BUSY_ORDER_100_MSEC", "times": 20 } },
    }))?;
    let position = lab.guest().console().position();
    lab.guest().inject_fault(&error)?;
    reported(lab, position, "queue pair 0", "resetting")?;
    lab.guest().set_port_link(1, false)?;
    wait_until("the port is reset", || {
        Ok(ethtool_counter(lab, &name, "port_resets")? == 4)
    })?;
    lab.guest().clear_faults()?;
    lab.carrier(&name, false)?;
    lab.sh("sleep 2")?;
    lab.carrier(&name, false)?;
    lab.guest().set_port_link(1, true)?;
    lab.carrier(&name, true)?;
    works_with(lab, 107)?;
    reflector.stop()?;
    lab.unload()
}

/// A reset takes longer than the stack's watchdog waits, because firmware takes its time. It is the only one.
pub(crate) fn long_reset(lab: &Lab) -> Result<()> {
    lab.guest().console().allow("NETDEV WATCHDOG");
    lab.expect_ignored_mmio();
    let (name, reflector) = start(lab)?;
    works_with(lab, 108)?;
    lab.guest().inject_fault(&json!({
        "opcode": "H_ALLOC_HEA_RESOURCE", "resource": "qp",
        "action": { "long_busy": { "code": "H_LONG_BUSY_ORDER_10_SEC", "times": 2 } },
    }))?;
    let position = lab.guest().console().position();
    lab.guest()
        .inject_fault(&json!({ "event": "queue_pair_error", "port": 1 }))?;
    reset(lab, &name, 1)?;
    lab.guest().clear_faults()?;
    let lines = lab.guest().console().since(position);
    ensure!(
        lines.iter().any(|line| line.contains("NETDEV WATCHDOG")),
        "the watchdog was patient: nothing was tested"
    );
    works_with(lab, 109)?;
    // Time for another reset that was requested meanwhile.
    lab.sh("sleep 1")?;
    ensure!(
        ethtool_counter(lab, &name, "port_resets")? == 1,
        "there was another reset"
    );
    reflector.stop()?;
    lab.unload()
}

/// Sends frames through port 1, which is reflected, and checks them.
fn works_with(lab: &Lab, stream: u32) -> Result<()> {
    Plan::new(stream, 200, |n| 60 + 40 * n as usize)
        .to(port_address(1))
        .run(lab.port(1)?)?
        .flawless()
}

/// The driver is removed while frames flow in both directions, also while a port is being reset.
pub(crate) fn unload_in_use(lab: &Lab) -> Result<()> {
    for round in 0..6 {
        let (name, reflector) = start(lab)?;
        lab.up(2, 1500)?;
        let traffic = traffic(lab, 110 + round, Duration::from_secs(2))?;
        traffic.wait_progress(100, PATIENCE)?;
        if round % 2 == 1 {
            lab.guest()
                .inject_fault(&json!({ "event": "port_malfunction", "port": 1 }))?;
        }
        lab.unload()
            .with_context(|| format!("{name}, round {round}"))?;
        lab.guest().clear_faults()?;
        // Frames that were under way are lost.
        traffic.stop()?.sound()?;
        reflector.stop()?;
        lab.port(1)?.drain()?;
    }
    Ok(())
}

/// Settings change while frames flow; none of them is lost.
pub(crate) fn configured_in_use(lab: &Lab) -> Result<()> {
    let (name, reflector) = start(lab)?;
    // The frames are short enough for each MTU.
    let traffic = Plan::new(120, u64::MAX, |n| 60 + (n as usize * 61) % 1455)
        .to(port_address(1))
        .patience(PATIENCE)
        .start(Arc::clone(lab.port(1)?));
    traffic.wait_progress(100, PATIENCE)?;
    for command in [
        "ip link set DEV promisc on",
        "ip link set DEV allmulticast on",
        "ip link set DEV promisc off",
        "ip link set DEV allmulticast off",
        "ip maddr add 01:00:5e:00:00:07 dev DEV",
        "ip maddr del 01:00:5e:00:00:07 dev DEV",
        "ip link set DEV mtu 1500",
        "ip link set DEV mtu 9000",
        "ethtool -s DEV speed 1000 duplex full autoneg off",
        "ethtool -s DEV autoneg on",
        "ethtool DEV",
    ] {
        lab.sh(&command.replace("DEV", &name))?;
        traffic.wait_progress(50, PATIENCE)?;
    }
    traffic.stop()?.flawless()?;

    // The address changes and changes back.
    let other = [0x52, 0x54, 0x00, 0xea, 0x77, 0x01];
    let to = |address, stream| -> Result<u64> {
        let plan = Plan::new(stream, 50, |n| 60 + n as usize).to(address);
        let summary = plan.patience(Duration::from_secs(2)).run(lab.port(1)?)?;
        summary.sound()?;
        Ok(summary.received)
    };
    lab.sh(&format!("ip link set {name} address {}", text(other)))?;
    ensure!(to(other, 121)? == 50, "the new address is not received");
    ensure!(
        to(port_address(1), 122)? == 0,
        "the old address is received"
    );
    lab.sh(&format!("ip link set {name} promisc on"))?;
    ensure!(
        to(port_address(1), 123)? == 50,
        "promiscuous mode doesn't work"
    );
    lab.sh(&format!(
        "ip link set {name} promisc off; ip link set {name} address {}",
        text(port_address(1))
    ))?;
    ensure!(
        to(port_address(1), 124)? == 50,
        "the first address is not received"
    );
    reflector.stop()?;
    lab.unload()
}

/// Returns the lines that the driver has logged since `position` and that contain `text`.
fn lines(lab: &Lab, position: usize, text: &str) -> usize {
    let lines = lab.guest().console().since(position);
    lines.iter().filter(|line| line.contains(text)).count()
}

/// Failures that last are logged once: the counters that are fetched each second, and a reset.
pub(crate) fn said_once(lab: &Lab) -> Result<()> {
    lab.load()?;
    let name = lab.up(1, 1500)?;
    let fault = |call: &str| json!({ "opcode": call, "count": 1_000_000, "action": { "return": "H_HARDWARE" } });
    for round in 0..2 {
        let position = lab.guest().console().position();
        lab.guest().inject_fault(&fault("H_QUERY_HEA_PORT"))?;
        reported(lab, position, "H_QUERY_HEA_PORT", "H_HARDWARE")?;
        lab.sh("sleep 4")?;
        let count = lines(lab, position, "H_QUERY_HEA_PORT");
        ensure!(
            count == 1,
            "round {round}: {count} lines about the counters"
        );
        lab.guest().clear_faults()?;
        lab.sh("sleep 2")?;
    }
    let position = lab.guest().console().position();
    let resets = ethtool_counter(lab, &name, "port_resets")?;
    lab.guest().inject_fault(&fault("H_ALLOC_HEA_RESOURCE"))?;
    lab.guest()
        .inject_fault(&json!({ "event": "port_malfunction", "port": 1 }))?;
    wait_until("the reset is repeated", || {
        Ok(ethtool_counter(lab, &name, "port_resets")? >= resets + 4)
    })?;
    let count = lines(lab, position, "reset failed");
    ensure!(count == 1, "{count} lines about the reset");
    lab.guest().clear_faults()?;
    reported(lab, position, &name, ": reset")?;
    lab.carrier(&name, true)?;
    works(lab, &name)?;
    lab.unload()
}

/// Firmware refuses what a change of the filter needs, when it is changed and in a reset. The change
/// has its effect all the same, a little later, and there is one line in the log.
pub(crate) fn filter_refused(lab: &Lab) -> Result<()> {
    const STATION: [u8; 6] = [0x52, 0x54, 0x00, 0xea, 0x88, 0x01];
    lab.load()?;
    let name = lab.up(1, 9000)?;
    let reflector = lab.reflect(&name)?;
    let mut stream = 160;
    for (call, count) in [("H_MODIFY_HEA_PORT", 3), ("H_REG_BCMC", 2)] {
        let refusal =
            json!({ "opcode": call, "count": count, "action": { "return": "H_HARDWARE" } });
        let position = lab.guest().console().position();
        lab.guest().inject_fault(&refusal)?;
        lab.sh(&format!("ip link set {name} promisc on"))?;
        reported(lab, position, call, "H_HARDWARE")?;
        wait_until("the filter is set", || {
            let faults = lab.guest().faults::<Vec<ArmedFault>>()?;
            Ok(faults.iter().all(|fault| fault.fired == count))
        })?;
        wait_until("frames for other stations are received", || {
            stream += 1;
            receives(lab, STATION, port_address(1), stream)
        })?;
        let lines = lines(lab, position, call);
        ensure!(lines == 1, "{lines} lines about {call}");
        lab.guest().clear_faults()?;
        lab.sh(&format!("ip link set {name} promisc off"))?;
    }
    lab.sh(&format!("ip link set {name} promisc on"))?;
    let resets = ethtool_counter(lab, &name, "port_resets")?;
    // The first of these calls is made when the port is closed, the second when it is opened, and the
    // third is the filter's.
    lab.guest().inject_fault(
        &json!({ "opcode": "H_MODIFY_HEA_PORT", "nth": 3, "action": { "return": "H_HARDWARE" } }),
    )?;
    lab.guest()
        .inject_fault(&json!({ "event": "port_malfunction", "port": 1 }))?;
    reset(lab, &name, resets + 1)?;
    let faults = lab.guest().faults::<Vec<ArmedFault>>()?;
    ensure!(faults.iter().all(|fault| fault.fired == 1), "{faults:?}");
    lab.guest().clear_faults()?;
    wait_until("frames for other stations are received", || {
        stream += 1;
        receives(lab, STATION, port_address(1), stream)
    })?;
    let resets_now = ethtool_counter(lab, &name, "port_resets")?;
    ensure!(resets_now == resets + 1, "{resets_now} resets");
    reflector.stop()?;
    lab.unload()
}
