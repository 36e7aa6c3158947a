// SPDX-License-Identifier: GPL-2.0
//! The end-to-end tier: the scenarios in `tests/`.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use anyhow::{ensure, Context as _, Result};
use ehea_harness::Variant;

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

/// Makes what several tiers need, side by side. The tiers report what cannot be made.
pub(super) fn prepare(context: &Context, only: Option<&str>, full: bool) {
    if command(context, only, full).is_err() {
        say("not all that the tests need can be made: the rest is tested");
    }
}

fn command(context: &Context, only: Option<&str>, full: bool) -> Result<Command> {
    let variants = match only {
        Some(only) if full => named(&list(context, only)?),
        _ => super::variants(full),
    };
    let mut command = super::program(context, "scenarios");
    if full {
        command.arg("--include-ignored");
    }
    command.args(only);
    setup::hand_over(context, &variants, &mut command)?;
    Ok(command)
}

/// Asks the program for the names of the tests, one in each line.
fn list(context: &Context, only: &str) -> Result<String> {
    let mut command = super::program(context, "scenarios");
    command.args(["--list", only]).stderr(Stdio::inherit());
    let output = command.output().context("cannot run cargo")?;
    ensure!(output.status.success(), "the scenarios can't be listed");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns the kernels with which tests of these names run. A name begins with the name of its
/// kernel, unless that is the default one. The hash MMU does not make a different kernel.
fn named(names: &str) -> Vec<Variant> {
    let kernels: BTreeSet<Variant> = names
        .lines()
        // A name such as `[K2] name` marks a test that fails because of that fault.
        .filter_map(|line| line.rsplit("] ").next()?.split("::").next())
        .map(|kernel| kernel.trim_end_matches("-hash").parse())
        .map(Result::unwrap_or_default)
        .collect();
    kernels.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kernels_that_are_asked_for_are_made() {
        let variants = |names| -> Vec<_> {
            let variants = named(names);
            variants.iter().map(Variant::to_string).collect()
        };
        assert_eq!(variants("traffic::ping: test\n"), ["64k"]);
        assert_eq!(
            variants("[K8] 4k-hash::hotplug::idle: test\n4k::hotplug::idle: test\n"),
            ["4k"]
        );
        assert_eq!(
            variants("64k-kasan::traffic::ping: test\n64k-hash::hotplug::idle: test\n"),
            ["64k", "64k-kasan"]
        );
    }
}
