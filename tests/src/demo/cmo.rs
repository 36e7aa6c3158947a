// SPDX-License-Identifier: GPL-2.0
//! A partition with Cooperative Memory Overcommitment: what the bus grants, and what the driver
//! maps.

use anyhow::{ensure, Result};

use super::story::{size, Story};
use crate::cmo::{balanced, Device, MINIMUM};
use crate::lab::{port_address, Lab, Shape};
use crate::peer::Plan;

/// Unit address of the adapter.
const UNIT: &str = "71000001";

/// A partition whose entitlement is the minimum of one device, and the spare.
const SHAPE: Shape = Shape {
    adapter: Some(1),
    cmo: Some("3125248"),
    ..Shape::PLAIN
};

/// Number of frames that are sent through the port with the minimum.
const FRAMES: u64 = 2000;

/// Boots a second guest, which has little entitlement, and operates a port in it.
pub(super) fn within_the_entitlement(story: &mut Story) -> Result<()> {
    story.step(
        "Another guest boots, in a partition with CMO and the least entitlement that there is",
    );
    let mut lab = Lab::boot("demo-cmo", &SHAPE)?;
    lab.begin("demo")?;
    story.run(
        &lab,
        "grep -H . /sys/bus/vio/cmo_entitled /sys/bus/vio/cmo_min",
    )?;
    story.run(&lab, "modprobe ehea")?;
    let name = lab.up(1, 1500)?;
    let reflector = lab.reflect(&name)?;
    let plan = Plan::new(401, FRAMES, |n| 60 + (n as usize * 37) % 1455);
    plan.to(port_address(1))
        .window(64)
        .run(lab.port(1)?)?
        .flawless()?;
    reflector.stop()?;
    let (_, devices) = balanced(&lab, &[UNIT], 1)?;
    story.show(
        &lab,
        &format!("grep . /sys/bus/vio/devices/{UNIT}/cmo_*"),
        |_| true,
    )?;
    for device in &devices {
        ensure!(
            device.desired >= MINIMUM && device.allocated > 0,
            "the driver has nothing mapped: {device:?}"
        );
    }
    let refused = lab.stats()?.cmo_refused;
    ensure!(
        refused == 0,
        "the adapter was refused {refused} accesses to memory that is not mapped"
    );
    story.checked(format!(
        "{FRAMES} frames went both ways, none was lost; the adapter touched nothing that is not mapped"
    ));
    story.run(&lab, &format!("ip link set {name} down"))?;
    story.run(&lab, "rmmod ehea")?;
    let left = Device::read(&lab, UNIT)?;
    ensure!(left.allocated == 0, "still charged: {left:?}");
    story.checked("nothing is charged any more");
    story.figure("least entitlement that a port works with", size(MINIMUM));
    lab.end()?;
    lab.shutdown()
}
