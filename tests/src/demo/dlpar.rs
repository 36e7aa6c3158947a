// SPDX-License-Identifier: GPL-2.0
//! Memory that goes and comes back, and an adapter that comes and goes, by `drmgr`, while TCP traffic runs.

use anyhow::{ensure, Result};

use super::hotplug::{background, send_file, stop};
use super::story::{size, Story};
use super::{Demo, LATER_PORT};
use crate::lab::{wait_until, Lab, Other};
use crate::memory::{not_registered, online_bytes, registered, Dimm, LMB};

/// Number of blocks.
const LMBS: u64 = 2;

/// Runs `drmgr`, and fails unless so much memory is online then.
fn drmgr(lab: &Lab, story: &Story, arguments: &str, expected: u64) -> Result<()> {
    story.run(lab, &format!("drmgr -c mem {arguments}"))?;
    let online = online_bytes(lab)?;
    ensure!(
        online == expected,
        "{} is online, not {}",
        size(online),
        size(expected)
    );
    Ok(())
}

pub(super) fn by_drmgr(demo: &mut Demo) -> Result<()> {
    let Demo { lab, story, .. } = demo;
    story.step("drmgr gives memory back and takes it again, while TCP traffic runs");
    let traffic = background(lab, story)?;
    let dimm = Dimm::plug(lab, "dimm1", LMBS * LMB)?;
    let all = online_bytes(lab)?;
    send_file(lab, story, &dimm)?;
    wait_until("the map was rebuilt", || {
        Ok(registered(&lab.stats()?, &dimm.range).is_ok())
    })?;
    drmgr(lab, story, &format!("-r -q {LMBS}"), all - LMBS * LMB)?;
    not_registered(&lab.stats()?, &dimm.range)?;
    story.checked("the blocks are gone, and out of the map");
    drmgr(lab, story, &format!("-a -q {LMBS}"), all)?;
    story.checked("the blocks are back");

    story.step("An adapter is plugged in; drmgr takes it, and gives it back");
    let later = Other::Later(0);
    lab.plug(later)?;
    story.note("QMP: device_add spapr-ehea");
    story.run(lab, "drmgr -c slot -a -s V1-C2")?;
    let name = lab.up(LATER_PORT, 1500)?;
    story.checked(format!("its interface is there ({name}) and has a carrier"));
    let device = format!("{}/{}", lab.driver_directory(), later.unit());
    story.run(lab, &format!("echo 1 >{device}/remove_port"))?;
    ensure!(
        lab.interface(LATER_PORT).is_err(),
        "the port is still there"
    );
    story.run(lab, &format!("echo 1 >{device}/probe_port"))?;
    let name = lab.up(LATER_PORT, 1500)?;
    story.checked(format!("its port went and came back ({name})"));
    story.run(lab, "drmgr -c slot -r -s V1-C2")?;
    lab.request_unplug(later)?;
    lab.wait_unplugged(later)?;
    story.checked("the adapter is out of the machine");

    dimm.unplug(lab)?;
    let bytes = stop(lab, traffic)?;
    ensure!(bytes > 0, "no background traffic");
    story.checked(format!(
        "the TCP connection lived through all of it: {} sent",
        size(bytes)
    ));
    Ok(())
}
