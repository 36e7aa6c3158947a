// SPDX-License-Identifier: GPL-2.0
//! Settings of an interface that is up.

use anyhow::{ensure, Result};

use super::filters::receives;
use crate::lab::{port_address, text, Lab};
use crate::peer::{Plan, MAX_FRAME};

/// A new address is received and the old one is not, and back. Frames fit each MTU.
pub fn address_and_mtu(lab: &Lab) -> Result<()> {
    const OTHER: [u8; 6] = [0x52, 0x54, 0x00, 0xea, 0x77, 0x01];
    lab.load()?;
    let name = lab.up(1, 1500)?;
    let reflector = lab.reflect(&name)?;
    for (stream, mtu) in [(180, 1500), (181, 9000), (182, 576), (183, 9000)] {
        lab.sh(&format!("ip link set {name} mtu {mtu}"))?;
        let longest = (mtu + 14).min(MAX_FRAME);
        let plan = Plan::new(stream, 64, move |n| {
            longest - n as usize * (longest - 60) / 64
        });
        plan.to(port_address(1)).run(lab.port(1)?)?.flawless()?;
    }
    let plan = |stream: u32| Plan::new(stream, 50, |n| 60 + 150 * n as usize);
    let old = port_address(1);
    for (stream, new, other) in [(184, OTHER, old), (188, old, OTHER)] {
        lab.sh(&format!("ip link set {name} address {}", text(new)))?;
        plan(stream).to(new).run(lab.port(1)?)?.flawless()?;
        // Broadcasts are registered with the port's own address.
        plan(stream + 1)
            .to([0xff; 6])
            .run(lab.port(1)?)?
            .flawless()?;
        ensure!(
            !receives(lab, other, new, stream + 2)?,
            "{} is still received",
            text(other)
        );
    }
    reflector.stop()?;
    lab.unload()
}
