// SPDX-License-Identifier: GPL-2.0
//! Another kernel starts: to take a dump after a crash, or because it was asked for (kexec).

use std::sync::Arc;
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use super::faults::works;
use crate::lab::{port_address, Lab};
use crate::peer::Plan;
use crate::system::System;

/// Both ports are in use when the kernel crashes, one of them by frames in both directions. The
/// driver's crash hook gives back everything that firmware had given it, so that the next kernel
/// finds the adapter as the first one did.
pub fn given_back(lab: &Lab) -> Result<()> {
    given_back_after(lab, || Ok(()))
}

/// Checks the same as [`given_back`], and calls `before` just before the crash.
pub fn given_back_after(lab: &Lab, before: impl FnOnce() -> Result<()>) -> Result<()> {
    lab.guest().console().allow("sysrq triggered crash");
    another_kernel(
        lab,
        |kernel| {
            lab.sh(&format!("./ehea-net kdump {kernel}"))?;
            before()?;
            lab.sh("(sleep 1; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 &")?;
            Ok(())
        },
        || {
            // There is little memory: this driver makes do with one queue pair, however many are
            // possible.
            let live = lab.stats()?.live;
            ensure!(
                live.qp == 1 || lab.system() == System::Witness,
                "in the kernel for a dump: {live:?}"
            );
            Ok(())
        },
    )
}

/// Both ports are in use when another kernel is started without a crash. Devices are shut down
/// before: the next kernel finds the adapter as the first one did.
pub fn started_anew(lab: &Lab) -> Result<()> {
    another_kernel(
        lab,
        |kernel| {
            lab.sh(&format!(
                "(sleep 1; ./ehea-net kexec {kernel}) >/dev/console 2>&1 &"
            ))?;
            Ok(())
        },
        || Ok(()),
    )
}

/// Brings both ports up with traffic, and has another kernel started by `start`, which gets the
/// arguments that name this kernel. Checks that nothing is left of what the first kernel had, and that
/// the driver works in the second one. Calls `check` there while a port is up.
fn another_kernel(
    lab: &Lab,
    start: impl FnOnce(&str) -> Result<()>,
    check: impl FnOnce() -> Result<()>,
) -> Result<()> {
    lab.load()?;
    let name = lab.up(1, 9000)?;
    lab.up(2, 1500)?;
    works(lab, &name)?;
    lab.sh(&format!(
        "./ehea-net multicast {name} add 01:00:5e:00:00:77"
    ))?;
    let live = lab.stats()?.live;
    ensure!(live.qp >= 2 && live.bcmc > 0, "in use: {live:?}");
    lab.sh("(cd / && find . -xdev ! -name vmlinux | cpio -o -H newc) >/run/initrd")?;
    let _reflector = lab.reflect(&name)?;
    let traffic = Plan::new(71, u64::MAX, |n| 60 + (n as usize * 97) % 8000)
        .to(port_address(1))
        .patience(Duration::from_secs(2))
        .start(Arc::clone(lab.port(1)?));
    traffic.wait_progress(100, Duration::from_secs(60))?;
    let position = lab.guest().console().position();
    start("vmlinux /run/initrd 'console=hvc0 nr_cpus=1 EHEA_MODE=agent'")?;
    let patience = Duration::from_secs(180);
    let ready = lab
        .guest()
        .console()
        .wait_for(position, "guest: takes commands", patience);
    ready.context("no kernel followed")?;
    // Frames under way are lost with the kernel.
    traffic.stop()?;
    lab.nothing_left()?;
    lab.load()?;
    let name = lab.up(1, 9000)?;
    works(lab, &name)?;
    check()?;
    lab.unload()
}
