// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask witness`: runs the original C driver on the same adapter.

use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::Args;

use crate::commands::test::{self, runner::Runner};
use crate::commands::Task;
use crate::context::Context;
use crate::setup;

/// Runs the scenarios with the C driver. The last line is `N passed, N failed`.
///
/// The C driver was written for the hardware. If it fails on the model of the adapter, either the
/// model is wrong or the C driver has the mistake that the scenario is about. It runs unmodified in
/// a big-endian Linux 6.12, which is built with GCC from Debian's sources. That takes 10 minutes
/// the first time.
#[derive(Args, Debug)]
pub(crate) struct WitnessCommand {
    /// Runs only scenarios whose name contains this.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Runs the scenarios also with an adapter that is rough: rough::…
    #[arg(long)]
    full: bool,
}

impl Task for WitnessCommand {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let mut runner = Runner::new(self.only);
        run(context, &mut runner, self.full);
        Ok(runner.finish())
    }
}

/// Makes what the scenarios need and runs them.
pub(crate) fn run(context: &Context, runner: &mut Runner, full: bool) {
    match command(context, runner.only(), full) {
        Ok(command) => runner.libtest("witness", command),
        Err(error) => runner.failed("witness", &format!("{error:#}")),
    }
}

fn command(context: &Context, only: Option<&str>, full: bool) -> Result<Command> {
    let mut command = test::program(context, "witness");
    if full {
        command.arg("--include-ignored");
    }
    command.args(only);
    setup::hand_over_witness(context, &mut command)?;
    Ok(command)
}
