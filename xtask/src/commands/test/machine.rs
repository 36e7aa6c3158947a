// SPDX-License-Identifier: GPL-2.0
//! The machine tier: this project's firmwares in QEMU, without a kernel.

use std::process::Command;

use anyhow::Result;

use super::runner::Runner;
use crate::context::Context;
use crate::setup;

pub(super) fn run(context: &Context, runner: &mut Runner) {
    match command(context, runner.only()) {
        Ok(command) => runner.libtest("machine", command),
        Err(error) => runner.failed("machine", &format!("{error:#}")),
    }
}

fn command(context: &Context, only: Option<&str>) -> Result<Command> {
    let mut command = super::program(context, "machine");
    command.args(only);
    setup::hand_over_machine(context, &mut command)?;
    Ok(command)
}
