// SPDX-License-Identifier: GPL-2.0
//! The driver in a CMO partition: the memory that it maps with plenty of entitlement, with the
//! minimum, and in between.

pub(crate) mod faults;
pub(crate) mod kept;
pub(crate) mod queues;
pub(crate) mod resets;
pub(crate) mod shares;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{ensure, Result};
use ehea_tests::checks::cmo::fill;
use ehea_tests::cmo::{balanced, Bus, Device, MINIMUM};
use ehea_tests::counters::ethtool_counter;
use ehea_tests::lab::{port_address, Lab, Other, Shape};
use ehea_tests::peer::Plan;

/// Unit address of the adapter.
const ADAPTER: &str = "71000001";

/// Time after which frames count as lost; those that are merely late arrive earlier.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two ports, with as much entitlement as they can use.
pub(crate) const PLENTY: Shape = Shape {
    memory: "1G,max=8G",
    adapter: Some(2),
    cmo: Some("64M"),
    ..Shape::PLAIN
};
/// The same with less memory, which gives the scenario its own guest: something stays in the adapter.
pub(crate) const KEPT: Shape = Shape {
    memory: "1G,max=4G",
    ..PLENTY
};
/// Two ports, with the entitlement that the bus guarantees: the minimum of one device, and the
/// spare.
pub(crate) const LEAST: Shape = Shape {
    cmo: Some("3125248"),
    ..PLENTY
};

/// Two adapters with one port each and an ibmveth, with the entitlement that the bus guarantees to
/// three devices.
pub(crate) const THREE: Shape = Shape {
    adapter: Some(1),
    cmo: Some("6250496"),
    others: &[Other::Adapter, Other::Veth],
    ..Shape::PLAIN
};

/// Returns the sum of the counter `name` over both ports.
fn counter(lab: &Lab, name: &str) -> Result<u64> {
    let mut sum = 0;
    for port in 1..=2 {
        sum += ethtool_counter(lab, &lab.interface(port)?, name)?;
    }
    Ok(sum)
}

/// Fails unless nothing is mapped but the queue of events that the adapter has while it has a
/// driver.
fn closed(lab: &Lab) -> Result<()> {
    let allocated = Device::read(lab, ADAPTER)?.allocated;
    ensure!(
        allocated == 4096,
        "{allocated} bytes are mapped while all ports are closed"
    );
    Ok(())
}

/// Removes the driver and checks that nothing is mapped any more, according to the bus and to the
/// model.
fn unload(lab: &Lab) -> Result<()> {
    for port in 1..=2 {
        lab.sh(&format!("ip link set {} down", lab.interface(port)?))?;
    }
    closed(lab)?;
    lab.unload()?;
    nothing_mapped(lab)
}

/// Fails if anything is mapped.
pub(crate) fn nothing_mapped(lab: &Lab) -> Result<()> {
    let device = Device::read(lab, ADAPTER)?;
    let bus = Bus::read(lab)?;
    let pages = lab.stats()?.tce_mapped_pages;
    ensure!(
        device.allocated == 0 && bus.curr == 0 && pages == 0,
        "{pages} pages are mapped; {device:?}, {bus:?}"
    );
    Ok(())
}

/// The driver wishes for what it uses at full load, to within 5 %, and never less, whatever the MTU
/// and the number of open ports.
pub(crate) fn wish_is_honest(lab: &Lab) -> Result<()> {
    for (ports, mtu) in [(&[1][..], 1500), (&[1, 2][..], 1500), (&[1, 2][..], 9000)] {
        lab.load()?;
        fill(lab, ports, mtu, || {
            let (_, devices) = balanced(lab, &[ADAPTER], 1)?;
            let device = devices[0];
            let least = device.desired - device.desired / 20;
            ensure!(
                device.entitled == device.desired
                    && (least..=device.desired).contains(&device.allocated),
                "MTU {mtu}, ports {ports:?}: {device:?}"
            );
            Ok(())
        })?;
        ensure!(
            counter(lab, "cmo_tx_bounced")? == 0 || mtu == 9000,
            "bounced"
        );
        unload(lab)?;
    }
    Ok(())
}

/// The minimum entitlement lets both ports carry frames of all lengths at the same time. No frame
/// is lost, and no more than the minimum is mapped.
pub(crate) fn minimum(lab: &Lab) -> Result<()> {
    for mtu in [1500, 9000] {
        lab.load()?;
        let names = [lab.up(1, mtu)?, lab.up(2, mtu)?];
        let reflectors = [lab.reflect(&names[0])?, lab.reflect(&names[1])?];
        let mut all = Vec::new();
        for port in 1..=2 {
            let longest = mtu - 45;
            let plan = Plan::new(110 + port as u32, u64::MAX, move |n| {
                60 + (n as usize * 61) % longest
            });
            let plan = plan.to(port_address(port)).patience(PATIENCE);
            all.push(plan.start(Arc::clone(lab.port(port)?)));
        }
        for _ in 0..20 {
            for traffic in &all {
                traffic.wait_progress(200, PATIENCE)?;
            }
            let device = Device::read(lab, ADAPTER)?;
            ensure!(device.allocated <= MINIMUM, "MTU {mtu}: {device:?}");
        }
        for traffic in all {
            traffic.stop()?.flawless()?;
        }
        for reflector in reflectors {
            reflector.stop()?;
        }
        let device = Device::read(lab, ADAPTER)?;
        ensure!(
            device.entitled == MINIMUM && device.allocated > MINIMUM / 4,
            "MTU {mtu}: {device:?}"
        );
        unload(lab)?;
    }
    Ok(())
}
