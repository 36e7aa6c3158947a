// SPDX-License-Identifier: GPL-2.0
//! The one tool of this repository, which sets up, builds, runs, tests and measures. See `cargo
//! xtask --help`.

mod artifacts;
mod cache;
mod commands;
mod context;
mod house;
mod key;
mod ktap;
mod lints;
mod manifest;
mod mirror;
mod prerequisites;
mod progress;
mod setup;
mod times;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::commands::Task;
use crate::context::Context;

/// Builds, runs, tests and measures the driver.
///
/// Everything that is slow to make is kept in $EHEA_CACHE (by default ~/.cache/ehea).
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Doctor(commands::doctor::DoctorCommand),
    Build(commands::build::BuildCommand),
    Demo(commands::demo::DemoCommand),
    Test(commands::test::TestCommand),
    Selftests(commands::selftests::SelftestsCommand),
    Witness(commands::witness::WitnessCommand),
    Bench(commands::bench::BenchCommand),
    Guest(commands::guest::GuestCommand),
    Shell(commands::shell::ShellCommand),
}

impl Task for Command {
    fn run(self, context: &Context) -> Result<ExitCode> {
        match self {
            Self::Doctor(task) => task.run(context),
            Self::Build(task) => task.run(context),
            Self::Demo(task) => task.run(context),
            Self::Test(task) => task.run(context),
            Self::Selftests(task) => task.run(context),
            Self::Witness(task) => task.run(context),
            Self::Bench(task) => task.run(context),
            Self::Guest(task) => task.run(context),
            Self::Shell(task) => task.run(context),
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match Context::new().and_then(|context| cli.command.run(&context)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
