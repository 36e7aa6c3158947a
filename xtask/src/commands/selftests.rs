// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask selftests`: runs the kernel's own tests for network drivers.

use std::process::ExitCode;

use anyhow::{ensure, Result};
use clap::Args;

use super::test::runner::Runner;
use crate::commands::{demo, Task};
use crate::context::Context;
use crate::setup;

/// Name of the program in `tests/`.
const PROGRAM: &str = "ehea-selftests";

/// Runs the kernel's own driver selftests (tools/testing/selftests/drivers/net, including hw) from
/// its source package. The last line is `N passed, N failed, N skipped`.
///
/// They run in a guest with two ports on one wire: eth0 is tested, eth1 is the remote end, in a
/// network namespace. Each subtest yields a line `ok NAME`, `not ok NAME # reason` or `skip NAME #
/// reason`. tests/selftests/expected.toml lists those that are not expected to pass, with the
/// reason. The exit status is 0 if every result is the expected one. Results that differ are listed
/// before the last line.
#[derive(Args, Debug)]
pub(crate) struct SelftestsCommand {
    /// Runs only tests with this name or a name that contains it: hw/csum.py, rss …
    #[arg(value_name = "TEST")]
    tests: Vec<String>,
    /// Runs each test on two virtio-net devices, too, and shows both results.
    #[arg(long)]
    control: bool,
    /// Lists the tests instead of running them.
    #[arg(long)]
    list: bool,
}

impl Task for SelftestsCommand {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let mut arguments = self.tests;
        if self.list {
            arguments.push("--list".to_owned());
            let mut command = demo::command(context, PROGRAM, &arguments);
            setup::hand_over_selftests_list(context, &mut command)?;
            return demo::run(command);
        }
        arguments.extend(self.control.then(|| "--control".to_owned()));
        execute(context, &arguments)
    }
}

fn execute(context: &Context, arguments: &[String]) -> Result<ExitCode> {
    let mut command = demo::command(context, PROGRAM, arguments);
    setup::hand_over_selftests(context, &mut command)?;
    demo::run(command)
}

/// Runs all of them as one test, which passes if all results are as expected.
pub(crate) fn run(context: &Context, runner: &mut Runner) {
    runner.check("selftests::as-expected", || {
        ensure!(
            execute(context, &[])? == ExitCode::SUCCESS,
            "there are results other than those in tests/selftests/expected.toml"
        );
        Ok(())
    });
}
