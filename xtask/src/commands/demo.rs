// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask demo`: shows the main job step by step.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use clap::Args;
use ehea_harness::Variant;

use crate::commands::Task;
use crate::context::Context;
use crate::setup;

/// Sets everything up, boots a guest and shows the driver at work: modprobe, link, ping, iperf3,
/// memory added and removed, rmmod. Each step is checked; a table of figures follows at the end.
#[derive(Args, Debug)]
pub(crate) struct DemoCommand {}

impl Task for DemoCommand {
    fn run(self, context: &Context) -> Result<ExitCode> {
        program(context, Systems::default(), "ehea-demo", &[])
    }
}

/// Systems that a program boots besides guests with this driver.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Systems {
    /// True if it boots guests of the witness.
    pub(crate) witness: bool,
    /// True if it boots machines without a kernel.
    pub(crate) machine: bool,
}

/// Runs a program of `tests/` with everything that it needs.
pub(crate) fn program(
    context: &Context,
    systems: Systems,
    name: &str,
    arguments: &[String],
) -> Result<ExitCode> {
    let mut command = command(context, name, arguments);
    match systems.witness {
        false => setup::hand_over(context, &[Variant::default()], &mut command)?,
        true => setup::hand_over_witness(context, &mut command)?,
    }
    if systems.machine {
        setup::hand_over_machine(context, &mut command)?;
    }
    run(command)
}

/// Returns the command that builds a program of `tests/` and runs it.
pub(crate) fn command(context: &Context, name: &str, arguments: &[String]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args([
            "run",
            "--quiet",
            "--release",
            "--package",
            "ehea-tests",
            "--bin",
            name,
            "--",
        ])
        .args(arguments);
    command.current_dir(&context.checkout);
    command
}

/// Runs such a command and returns its exit code.
pub(crate) fn run(mut command: Command) -> Result<ExitCode> {
    let status = command.status().context("cannot run cargo")?;
    Ok(ExitCode::from(
        status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .unwrap_or(1),
    ))
}
