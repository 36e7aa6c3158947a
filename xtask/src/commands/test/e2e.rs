// SPDX-License-Identifier: GPL-2.0
//! The end-to-end tier: the scenarios in `tests/`.

use std::process::Command;

use anyhow::Result;
use ehea_harness::PageSize;

use super::runner::Runner;
use crate::context::Context;
use crate::progress::say;
use crate::setup;

pub(super) fn run(context: &Context, runner: &mut Runner, full: bool) {
    match command(context, runner.only(), full) {
        Ok(command) => runner.libtest("e2e", command),
        Err(error) => runner.failed("e2e", &format!("{error:#}")),
    }
}

/// Makes side by side what the tiers need. They report what does not work out.
pub(super) fn prepare(context: &Context, full: bool) {
    if command(context, None, full).is_err() {
        say("not all that the tests need can be made: the rest is tested");
    }
}

fn command(context: &Context, only: Option<&str>, full: bool) -> Result<Command> {
    let page_sizes: &[PageSize] = if full {
        &[PageSize::K64, PageSize::K4]
    } else {
        &[PageSize::K64]
    };
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args([
        "test",
        "--release",
        "--package",
        "ehea-tests",
        "--test",
        "scenarios",
        "--",
    ]);
    if full {
        command.arg("--include-ignored");
    }
    command.args(only).current_dir(&context.checkout);
    setup::hand_over(context, page_sizes, &mut command)?;
    Ok(command)
}
