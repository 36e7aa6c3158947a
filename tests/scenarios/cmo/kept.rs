// SPDX-License-Identifier: GPL-2.0
//! A queue pair that firmware does not let go.

use anyhow::{ensure, Context, Result};
use ehea_model::stats::QpStats;
use ehea_tests::checks::faults::works;
use ehea_tests::lab::{port_address, wait_until, Lab};
use ehea_tests::peer::idle_frame;
use serde_json::json;

use super::{nothing_mapped, unload};
use crate::refusals::kept;

/// Number of frames that the adapter receives for the queue pair. They are in buffers.
const FRAMES: u64 = 20;

/// Makes firmware refuse to disable and to free queue pairs, in each of the ways that there are.
fn refuse(lab: &Lab) -> Result<()> {
    for (opcode, resource) in [
        ("H_MODIFY_HEA_QP", None),
        ("H_DISABLE_AND_GET_HEA", None),
        ("H_FREE_RESOURCE", Some("qp")),
    ] {
        let mut fault = json!({
            "opcode": opcode, "count": 1 << 20, "action": { "return": "H_HARDWARE" },
        });
        if let Some(resource) = resource {
            fault["resource"] = json!(resource);
        }
        lab.guest().inject_fault(&fault)?;
    }
    Ok(())
}

/// Returns the only queue pair.
fn only(lab: &Lab) -> Result<QpStats> {
    let mut pairs = lab.stats()?.qps;
    let pair = pairs.pop().context("no queue pair")?;
    ensure!(pairs.is_empty(), "more than one queue pair");
    Ok(pair)
}

/// Sends frames that the adapter receives for the queue pair that it has kept.
fn receive(lab: &Lab) -> Result<()> {
    let before = only(lab)?.rx_frames;
    for _ in 0..FRAMES {
        lab.port(1)?.try_send(&idle_frame(port_address(1), 400))?;
    }
    wait_until("the adapter receives", || {
        Ok(only(lab)?.rx_frames >= before + FRAMES)
    })
}

/// Firmware refuses to disable and to free the queue pair of a port that is closed. The adapter receives frames
/// into buffers that are still mapped, and which are not anybody else's. When firmware changes its mind, nothing is
/// left; if it never does, the driver can be removed all the same.
pub(crate) fn not_let_go(lab: &Lab) -> Result<()> {
    kept(lab);
    // Nobody looks at the completions of a queue pair whose port is closed.
    lab.expect_reraise();
    lab.expect_left();
    lab.load()?;
    let name = lab.up(1, 1500)?;
    works(lab, &name)?;
    refuse(lab)?;
    lab.sh(&format!("ip link set {name} down"))?;
    receive(lab)?;
    lab.guest().clear_faults()?;
    let name = lab.up(1, 1500)?;
    works(lab, &name)?;
    unload(lab)?;

    lab.load()?;
    let name = lab.up(1, 1500)?;
    works(lab, &name)?;
    refuse(lab)?;
    lab.sh("rmmod ehea")?;
    nothing_mapped(lab)?;
    lab.guest().clear_faults()
}
