// SPDX-License-Identifier: GPL-2.0
//! Costs of operation within an entitlement.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use ehea_harness::parse_size;

use super::{peers, Figures};
use crate::checks::cmo::fill;
use crate::cmo::Device;
use crate::counters::ethtool_statistics;
use crate::lab::{port_address, wait_until, Lab, Shape};
use crate::peer::{idle_frame, Plan, ETHERNET_HEADER};

/// Unit address of the adapter.
const ADAPTER: &str = "71000001";

/// One port, with more entitlement than it can use.
const PLENTY: Shape = Shape {
    adapter: Some(1),
    cmo: Some("64M"),
    ..Shape::PLAIN
};
/// One port, with the entitlement that the bus guarantees: the minimum of one device, and the
/// spare.
const LEAST: Shape = Shape {
    cmo: Some("3125248"),
    ..PLENTY
};

/// Number of frames that are sent or received for a figure.
const FRAMES: u64 = 20_000;
/// MTU for these frames.
const MTU: usize = 1500;

/// Takes the figures.
pub(super) fn measure(figures: &mut Figures, progress: &mut impl FnMut(&str)) -> Result<()> {
    progress("entitlement that is wished, and used at full load");
    let lab = Lab::boot("bench-cmo", &PLENTY)?;
    need(&lab, figures)?;
    progress("mappings per packet");
    mappings(&lab, figures)?;
    lab.shutdown()?;

    progress("frames lost with the minimum");
    let lab = Lab::boot("bench-cmo-least", &LEAST)?;
    lab.load()?;
    let name = lab.up(1, MTU)?;
    let reflector = lab.reflect(&name)?;
    let plan = Plan::new(1, FRAMES, |n| 60 + (n as usize * 61) % 1454);
    let summary = plan.to(port_address(1)).run(lab.port(1)?)?;
    reflector.stop()?;
    figures.insert(
        "cmo_min_entitlement_frames_lost".into(),
        summary.lost as f64,
    );
    lab.unload()?;
    lab.shutdown()?;

    progress("instructions to send, outside of CMO and within");
    let [off, on, veth] = peers::sending_within(parse_size("64M")?)?;
    figures.insert("cmo_tx_insns_64b_off".into(), off);
    figures.insert("cmo_tx_insns_64b_on".into(), on);
    figures.insert("veth_tx_insns_64b_on".into(), veth);
    Ok(())
}

/// Takes the figures of what the driver wishes for one port in its default configuration, and of
/// what it has mapped when the port has all it can have.
fn need(lab: &Lab, figures: &mut Figures) -> Result<()> {
    lab.load()?;
    let mut full = None;
    fill(lab, &[1], MTU, || {
        full = Some(Device::read(lab, ADAPTER)?);
        Ok(())
    })?;
    let full = full.context("the queue was never full")?;
    figures.insert("cmo_desired_bytes_default".into(), full.desired as f64);
    figures.insert(
        "cmo_allocated_bytes_full_load".into(),
        full.allocated as f64,
    );
    lab.unload()
}

/// Takes the figures of mappings for a frame that is received, and for one that is sent and too
/// long to be copied.
fn mappings(lab: &Lab, figures: &mut Figures) -> Result<()> {
    lab.load()?;
    let name = lab.up(1, MTU)?;
    let per_frame = |count: u64| count as f64 / FRAMES as f64;
    let received = || -> Result<u64> {
        let path = format!("/sys/class/net/{name}/statistics/rx_packets");
        Ok(lab.sh(&format!("cat {path}"))?.parse()?)
    };
    let (before, frames) = (lab.stats()?.tce_maps, received()?);
    let port = lab.port(1)?;
    let frame = idle_frame(port_address(1), ETHERNET_HEADER + MTU);
    for _ in 0..FRAMES {
        while !port.try_send(&frame)? {
            port.wait_to_send(Duration::from_millis(20))?;
        }
    }
    wait_until("all frames came", || Ok(received()? >= frames + FRAMES))?;
    let after = lab.stats()?.tce_maps;
    figures.insert("cmo_maps_per_rx_packet".into(), per_frame(after - before));

    let mapped = || -> Result<u64> {
        let statistics = ethtool_statistics(lab, &name)?;
        statistics
            .get("cmo_tx_mapped")
            .copied()
            .context("cmo_tx_mapped")
    };
    let before = mapped()?;
    let length = ETHERNET_HEADER + MTU;
    let job = lab
        .guest()
        .spawn(&format!("./ehea-net blast {name} {FRAMES} {length} 2"))?;
    wait_until("all frames went", || {
        port.drain()?;
        job.finished()
    })?;
    let output = job.wait()?;
    ensure!(output.success(), "{output}");
    figures.insert(
        "cmo_maps_per_tx_packet".into(),
        per_frame(mapped()? - before),
    );
    lab.unload()
}
