// SPDX-License-Identifier: GPL-2.0
//! Ports that come and go while the adapter works.

use anyhow::{ensure, Context, Result};
use ehea_harness::Output;
use ehea_model::fault::ArmedFault;
use ehea_tests::checks::faults::fired;
use ehea_tests::checks::memory::{send_from, start};
use ehea_tests::lab::{wait_until, Bus, Lab};
use ehea_tests::memory::{blocks, not_registered, settled, Dimm, LMB};
use ehea_tests::peer::Traffic;
use serde_json::json;

use super::PATIENCE;

/// Number of rounds.
const ROUNDS: u32 = 5;
/// Exit status of `drmgr` for a port that the partition has.
const OWNED: i32 = 6;
/// Exit status of `drmgr` for a port that the partition has not.
const NOT_OWNED: i32 = 4;

/// Returns the index of the connector of a port of the first adapter.
fn connector(port: usize) -> String {
    format!("{:#x}", 0x6000_0000 + port)
}

/// Fails unless the guest and firmware agree that the guest has the port, or that it has not.
fn is_owned(lab: &Lab, port: usize, owned: bool) -> Result<()> {
    let stats = lab.stats()?;
    let seen = stats.ports.get(port - 1).map(|port| port.owned);
    ensure!(seen == Some(owned), "port {port} in firmware: {seen:?}");
    let interface = lab.interface(port);
    ensure!(
        interface.is_ok() == owned,
        "the interface of port {port}: {interface:?}"
    );
    let query = lab.run(&format!("drmgr -c port -Q -s 'Port {port}'"))?;
    let expected = if owned { OWNED } else { NOT_OWNED };
    ensure!(query.status == expected, "drmgr -Q: {query}");
    let list = lab.run("lsslot -c port")?;
    ensure!(
        list.out().contains(&format!("Port {port}")) == owned,
        "lsslot: {list}"
    );
    Ok(())
}

/// Sets up port 2 as `prepare()` does.
fn use_second(lab: &Lab) -> Result<()> {
    let far = lab.up(2, 9000)?;
    lab.address(&far, 78)
}

/// Changes the device tree as an administrator may.
fn change_tree(lab: &Lab, action: &str, port: usize) -> Result<()> {
    let index = connector(port);
    lab.sh(&format!(
        "echo dt {action} index {index} >/sys/kernel/dlpar"
    ))
    .map(drop)
}

/// Gives a port back, in the steps of `drmgr`. Firmware does not take it while the driver has it.
fn give_back(lab: &Lab, port: usize) -> Result<()> {
    let to_firmware = format!("./ehea-net connector give-back {}", connector(port));
    let kept = lab.run(&to_firmware)?;
    ensure!(!kept.success(), "a port in use was given back: {kept}");
    let output = write(lab, "remove_port", &port.to_string())?;
    ensure!(output.success(), "remove_port: {output}");
    lab.sh(&to_firmware)?;
    change_tree(lab, "remove", port)
}

/// Takes a port, in the steps of `drmgr`.
fn take(lab: &Lab, port: usize) -> Result<()> {
    let from_firmware = format!("./ehea-net connector take {}", connector(port));
    lab.sh(&from_firmware)?;
    change_tree(lab, "add", port)?;
    let output = write(lab, "probe_port", &port.to_string())?;
    ensure!(output.success(), "probe_port: {output}");
    Ok(())
}

/// `drmgr` takes ports. Its version 1.3.13 reads the number of a port with the byte order of the processor, and is aborted because
/// of what it gets in a little-endian partition.
pub(crate) fn by_drmgr(lab: &Lab) -> Result<()> {
    lab.load()?;
    is_owned(lab, 2, true)?;
    lab.sh("drmgr -c port -r -s 'Port 2'")?;
    is_owned(lab, 2, false)?;
    lab.sh("drmgr -c port -a -s 'Port 2'")?;
    is_owned(lab, 2, true)?;
    lab.unload()
}

/// Ports are given back to firmware and taken again while frames flow over another port of the adapter, also while
/// the memory map is rebuilt. No frame is lost. In the end, all ports go, and the adapter; all come back.
pub(crate) fn come_and_go(lab: &Lab) -> Result<()> {
    let (reflector, traffic) = start(lab)?;
    let capabilities = lab.sh(&format!("cat {}/capabilities", lab.driver_directory()))?;
    ensure!(capabilities == "7", "capabilities: {capabilities}");
    let dimm = Dimm::plug(lab, "dimm21", LMB)?;
    let [block] = &blocks(lab, &dimm.range)?[..] else {
        anyhow::bail!("a DIMM of one LMB is not one memory block");
    };
    for round in 0..ROUNDS {
        is_owned(lab, 2, true)?;
        if round > 0 {
            lab.sh(&format!("echo online_movable >{block}/state"))?;
        }
        send_from(lab, &dimm, 1700 + round)?;
        settled(lab, &dimm)?;
        // A removal of memory that takes its time.
        lab.guest().inject_fault(&json!({
            "opcode": "H_ALLOC_HEA_RESOURCE", "resource": "mr",
            "action": { "long_busy": { "code": "H_LONG_BUSY_ORDER_100_MSEC", "times": 3 } },
        }))?;
        let removal = lab.guest().spawn(&format!("echo offline >{block}/state"))?;
        wait_until("the memory map is rebuilt", || {
            let faults = lab.guest().faults::<Vec<ArmedFault>>()?;
            Ok(faults.iter().any(|fault| fault.fired > 0))
        })?;
        give_back(lab, 2)?;
        is_owned(lab, 2, false)?;
        let output = removal.wait()?;
        ensure!(output.success(), "{output}");
        fired(lab)?;
        not_registered(&lab.stats()?, &dimm.range)?;
        traffic.wait_progress(20, PATIENCE)?;
        take(lab, 2)?;
        is_owned(lab, 2, true)?;
        use_second(lab)?;
        traffic.wait_progress(20, PATIENCE)?;
    }
    dimm.unplug(lab)?;
    traffic.stop()?.flawless()?;
    reflector.stop()?;

    give_back(lab, 2)?;
    give_back(lab, 1)?;
    let kept = lab.run("drmgr -c slot -r -s 'HEA 1'")?;
    ensure!(!kept.success(), "an adapter in use was given back: {kept}");
    lab.sh("echo /lhea@71000001 >/sys/bus/ibmebus/remove")?;
    ensure!(lab.bound()?.is_empty(), "the adapter is still bound");
    lab.nothing_left()?;
    lab.sh("drmgr -c slot -r -s 'HEA 1'")?;
    lab.sh("drmgr -c slot -a -s 'HEA 1'")?;
    ensure!(lab.bound()?.len() == 1, "the adapter is not bound");
    for port in [1, 2] {
        is_owned(lab, port, false)?;
        take(lab, port)?;
        is_owned(lab, port, true)?;
    }
    works(lab)?;
    lab.unload()
}

/// Fails unless frames flow over port 1.
fn works(lab: &Lab) -> Result<()> {
    let (reflector, traffic) = start(lab)?;
    traffic.wait_progress(100, PATIENCE)?;
    traffic.stop()?.flawless()?;
    reflector.stop().map(drop)
}

/// Writes to a file of the adapter.
fn write(lab: &Lab, file: &str, text: &str) -> Result<Output> {
    let [device] = &lab.bound()?[..] else {
        anyhow::bail!("not one adapter is bound");
    };
    let path = format!("{}/{device}/{file}", lab.driver_directory());
    // dash calls each failure to write an I/O error.
    lab.run(&format!("bash -c \"echo '{text}' >{path}\""))
}

/// Fails unless a write is refused for this reason.
fn refused(lab: &Lab, (file, text): (&str, &str), reason: &str) -> Result<()> {
    let output = write(lab, file, text)?;
    ensure!(
        !output.success() && output.err().contains(reason),
        "{text} into {file}: {output}"
    );
    Ok(())
}

fn accepted(lab: &Lab, file: &str, text: &str, traffic: &Traffic) -> Result<()> {
    let output = write(lab, file, text)?;
    ensure!(output.success(), "{text} into {file}: {output}");
    traffic.wait_progress(20, PATIENCE)
}

/// A port comes and goes by the driver's files, on either bus, with the errors of the C driver. One that fails to come
/// is reported, and comes when it is asked for again.
pub(crate) fn by_files(lab: &Lab) -> Result<()> {
    let (reflector, traffic) = start(lab)?;
    for text in ["", "x", "-1", "2 3", "65536"] {
        refused(lab, ("probe_port", text), "Invalid argument")?;
        refused(lab, ("remove_port", text), "Invalid argument")?;
    }
    refused(lab, ("probe_port", "2"), "Invalid argument")?;
    refused(lab, ("probe_port", "9"), "Input/output error")?;
    refused(lab, ("remove_port", "9"), "Invalid argument")?;
    let open = lab.stats()?;
    for _ in 0..ROUNDS {
        accepted(lab, "remove_port", "2", &traffic)?;
        ensure!(lab.interface(2).is_err(), "the interface is still there");
        let stats = lab.stats()?;
        ensure!(
            stats.qps.iter().all(|qp| qp.port == 1) && !stats.qps.is_empty(),
            "queue pairs: {:?}",
            stats.qps
        );
        refused(lab, ("remove_port", "2"), "Invalid argument")?;

        let position = lab.guest().console().position();
        // The call with which the driver asks for the port's attributes.
        lab.guest().inject_fault(&json!({
            "opcode": "H_QUERY_HEA_PORT", "category": 0, "action": { "return": "H_HARDWARE" },
        }))?;
        refused(lab, ("probe_port", "2"), "Input/output error")?;
        fired(lab)?;
        lab.guest()
            .console()
            .wait_for(position, "port 2:", PATIENCE)
            .context("the failure is not reported")?;
        accepted(lab, "probe_port", "2", &traffic)?;
        use_second(lab)?;
    }
    let live = lab.stats()?.live;
    ensure!(live == open.live, "before: {:?}, now: {live:?}", open.live);
    traffic.stop()?.flawless()?;
    reflector.stop()?;
    if lab.bus() == Bus::Vio {
        let capable = lab.run("drmgr -C")?;
        ensure!(capable.success(), "{capable}");
    }
    lab.unload()
}
