// SPDX-License-Identifier: GPL-2.0
//! Mappings that the hypervisor refuses, and removal of the driver at any time.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use ehea_tests::checks::cmo::fill;
use ehea_tests::checks::faults::{fired, works};
use ehea_tests::cmo::Device;
use ehea_tests::lab::{port_address, wait_until, Lab};
use ehea_tests::peer::{Echo, Plan};
use serde_json::{json, Value};

use super::{closed, counter, nothing_mapped, unload, ADAPTER, PATIENCE};

/// Time after which a missing frame was in a device that is gone.
const GONE: Duration = Duration::from_secs(5);

/// Returns a fault that refuses `count` mappings of one page, from number `nth` on.
fn refuse_pages(nth: u64, count: u64) -> Value {
    json!({
        "event": "refuse_mapping", "opcode": "H_PUT_TCE", "nth": nth, "count": count,
        "code": "H_NOT_ENOUGH_RESOURCES",
    })
}

/// Allows the kernel's own report: when the first part of a mapping of several pages fails, the
/// kernel tries to give back what it does not have, is refused, and prints a stack trace.
fn accept_report(lab: &Lab) {
    lab.guest().console().allow("tce_freemulti_pSeriesLP");
}

/// Returns a fault that refuses `count` mappings, from number `nth` on.
fn refuse(nth: u64, count: u64) -> Value {
    json!({
        "event": "refuse_mapping", "nth": nth, "count": count, "code": "H_NOT_ENOUGH_RESOURCES",
    })
}

/// Returns the lines of the driver, and of the kernel about mappings, since `position`.
fn logged(lab: &Lab, position: usize) -> Vec<String> {
    let mut lines = lab.guest().console().since(position);
    lines.retain(|line| line.contains("ehea ") || line.contains("iommu") || line.contains("tce"));
    lines
}

/// Frames that cannot be mapped go through bounce slots. If no slot is free, the queue waits for
/// one. No frame is lost, and nothing is logged.
pub(crate) fn mappings_refused(lab: &Lab) -> Result<()> {
    lab.load()?;
    let name = lab.up(1, 1500)?;
    let reflector = lab.reflect(&name)?;
    let position = lab.guest().console().position();
    let traffic = Plan::new(120, u64::MAX, |n| 300 + (n as usize * 61) % 1200)
        .to(port_address(1))
        .patience(PATIENCE)
        .start(Arc::clone(lab.port(1)?));
    traffic.wait_progress(100, PATIENCE)?;
    ensure!(counter(lab, "cmo_tx_mapped")? > 0, "nothing was mapped");
    ensure!(counter(lab, "cmo_tx_bounced")? == 0, "bounced without need");
    lab.guest().inject_fault(&refuse_pages(1, 500))?;
    traffic.wait_progress(300, PATIENCE)?;
    fired(lab)?;
    ensure!(counter(lab, "cmo_tx_bounced")? > 100, "nothing was bounced");
    traffic.wait_progress(100, PATIENCE)?;
    traffic.stop()?.flawless()?;
    reflector.stop()?;

    // The queue is full of frames of which none can be mapped.
    lab.sh(&format!("ip link set {name} down"))?;
    let stalled = counter(lab, "cmo_tx_stalled")?;
    lab.up(1, 1500)?;
    lab.guest()
        .inject_fault(&refuse_pages(1, u64::from(u32::MAX)))?;
    fill(lab, &[1], 1500, || {
        ensure!(
            counter(lab, "cmo_tx_stalled")? > stalled,
            "the queue doesn't wait for bounce slots"
        );
        Ok(())
    })?;
    fired(lab)?;
    let lines = logged(lab, position);
    ensure!(
        lines.iter().all(|line| line.contains("link is")),
        "logged:\n{}",
        lines.join("\n")
    );
    unload(lab)
}

/// Receive buffers that cannot be mapped are mapped later. The ring works with those that it has.
pub(crate) fn buffers_refused(lab: &Lab) -> Result<()> {
    accept_report(lab);
    lab.load()?;
    // The mappings of the queues and of some buffers come before these.
    lab.guest().inject_fault(&refuse(32, 1 << 20))?;
    let name = lab.up(1, 1500)?;
    wait_until("buffers are refused", || {
        Ok(counter(lab, "cmo_rx_map_failed")? >= 2)
    })?;
    let few = Device::read(lab, ADAPTER)?.allocated;
    works(lab, &name)?;
    fired(lab)?;
    wait_until("all buffers are mapped", || {
        Ok(Device::read(lab, ADAPTER)?.allocated > few + (1 << 20))
    })?;
    works(lab, &name)?;
    unload(lab)
}

/// Any mapping of an open may be refused for good. The port is then not open and nothing is mapped,
/// or it does without the mapping. Afterwards it can be opened.
pub(crate) fn open_refused(lab: &Lab) -> Result<()> {
    accept_report(lab);
    lab.load()?;
    let name = lab.interface(1)?;
    for nth in [1, 2, 3, 5, 8, 13, 20, 25, 30, 34, 40] {
        lab.guest().inject_fault(&refuse(nth, 1 << 20))?;
        let opened = lab.run(&format!("ip link set {name} up"))?.success();
        lab.guest().clear_faults()?;
        if opened {
            lab.carrier(&name, true)?;
            works(lab, &name).with_context(|| format!("mapping {nth}"))?;
        }
        lab.sh(&format!("ip link set {name} down"))?;
        closed(lab).with_context(|| format!("mapping {nth}"))?;
    }
    let name = lab.up(1, 1500)?;
    works(lab, &name)?;
    unload(lab)?;

    // This mapping is for the adapter's own queue.
    lab.guest().inject_fault(&refuse(1, 1))?;
    lab.sh("modprobe ehea")?;
    fired(lab)?;
    ensure!(
        lab.bound()?.is_empty(),
        "the device is driven without an event queue"
    );
    nothing_mapped(lab)?;
    lab.sh("rmmod ehea")?;
    nothing_mapped(lab)
}

/// The driver is unbound, or its module removed, in the middle of traffic, of a shortage, and with
/// frames that wait. Nothing stays mapped; otherwise the bus would stop the machine.
pub(crate) fn removed_at_each_point(lab: &Lab) -> Result<()> {
    accept_report(lab);
    let unbind = format!("echo {ADAPTER} >/sys/bus/vio/drivers/ehea/unbind");
    let bind = format!("echo {ADAPTER} >/sys/bus/vio/drivers/ehea/bind");
    for (round, with_fault) in [false, true, false, true].into_iter().enumerate() {
        lab.load()?;
        let name = lab.up(1, 9000)?;
        lab.up(2, 1500)?;
        let reflector = lab.reflect(&name)?;
        let traffic = Plan::new(130, u64::MAX, |n| 60 + (n as usize * 61) % 8900)
            .to(port_address(1))
            .patience(GONE)
            .start(Arc::clone(lab.port(1)?));
        traffic.wait_progress(100, PATIENCE)?;
        if with_fault {
            lab.guest().inject_fault(&refuse(1, 1 << 20))?;
            traffic.wait_progress(20, PATIENCE)?;
        }
        if round < 2 {
            lab.sh(&unbind)?;
            nothing_mapped(lab)?;
            lab.guest().clear_faults()?;
            lab.sh(&bind)?;
            let again = lab.up(1, 1500)?;
            drop(reflector);
            traffic.stop()?.sound()?;
            lab.address(&again, 77)?;
            let echo = Echo::new(Arc::clone(lab.port(1)?));
            lab.sh("ping -c 3 -W 20 10.77.0.2")?;
            echo.stop()?;
            unload(lab)?;
        } else {
            lab.unload()?;
            nothing_mapped(lab)?;
            lab.guest().clear_faults()?;
            traffic.stop()?.sound()?;
        }
    }
    Ok(())
}
