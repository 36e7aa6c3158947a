// SPDX-License-Identifier: GPL-2.0
//! The soak tier: memory comes and goes for hours.

use std::process::Command;

use anyhow::Result;
use ehea_harness::Variant;

use super::runner::Runner;
use crate::context::Context;
use crate::setup;

/// Environment variable with the number of cycles.
const CYCLES_VARIABLE: &str = "EHEA_SOAK_CYCLES";

pub(super) fn run(context: &Context, runner: &mut Runner, cycles: Option<u64>) {
    match command(context, runner.only(), cycles) {
        Ok(command) => runner.libtest("soak", command),
        Err(error) => runner.failed("soak", &format!("{error:#}")),
    }
}

fn command(context: &Context, only: Option<&str>, cycles: Option<u64>) -> Result<Command> {
    let mut command = super::program(context, "soaks");
    command.args(only);
    if let Some(cycles) = cycles {
        command.env(CYCLES_VARIABLE, cycles.to_string());
    }
    setup::hand_over(context, &[Variant::default()], &mut command)?;
    Ok(command)
}
