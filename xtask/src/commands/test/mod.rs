// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask test`: runs all checks, in tiers.

mod e2e;
mod host;
mod kunit;
mod machine;
mod module;
pub(crate) mod runner;
mod soak;

use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::{Args, ValueEnum};
use ehea_harness::{Debug, PageSize, Variant};

use crate::commands::{selftests, witness, Task};
use crate::context::Context;
use runner::Runner;

/// Tier of tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Tier {
    /// Tests on this machine: format, lints, unit and property tests, the module's build.
    Host,
    /// Tests in QEMU without a kernel.
    Machine,
    /// Tests in the guest's kernel.
    Kunit,
    /// Tests in a guest with real tools.
    E2e,
    /// Tests in which memory comes and goes for hours, in two guests; only with --full or if asked
    /// for.
    Soak,
    /// Tests of the same adapter with the C driver; only with --full or if asked for.
    Witness,
    /// The kernel's own driver selftests; only with --full or if asked for.
    Selftests,
}

/// Runs the tests. The last line is `N passed, N failed`.
#[derive(Args, Debug)]
pub(crate) struct TestCommand {
    /// Runs only this tier.
    #[arg(long)]
    tier: Option<Tier>,
    /// Runs only tests whose name contains this.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Adds tests that take too long for every change: the other page size, debug kernels, soaks,
    /// the witness, all scenarios with a rough adapter, the kernel's selftests, a million random frames.
    #[arg(long)]
    full: bool,
    /// Number of times that memory comes and goes in the tier soak; 400 by default.
    #[arg(long, value_name = "NUMBER")]
    cycles: Option<u64>,
}

/// Returns the kernels for which the module is built and with which the suites run.
fn variants(full: bool) -> Vec<Variant> {
    let plain = [PageSize::K64, PageSize::K4].map(Variant::from);
    let debug = Debug::ALL.map(|debug| Variant {
        page_size: PageSize::default(),
        debug: Some(debug),
    });
    if full {
        plain.into_iter().chain(debug).collect()
    } else {
        vec![Variant::default()]
    }
}

/// Returns the command for a program of tests that use guests, `tests/NAME`. Its own arguments can
/// be appended.
pub(crate) fn program(context: &Context, name: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["test", "--release", "--package", "ehea-tests"])
        .args(["--test", name, "--"])
        .current_dir(&context.checkout);
    command
}

impl Task for TestCommand {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let mut runner = Runner::new(self.only.clone());
        let variants = variants(self.full);
        if self.tier.is_none() {
            e2e::prepare(context, runner.only(), self.full);
        }
        let wanted = |tier| self.tier.is_none_or(|only| only == tier);
        if wanted(Tier::Host) {
            host::run(context, &mut runner, self.full);
            module::run(context, &mut runner, &variants);
        }
        if wanted(Tier::Machine) {
            machine::run(context, &mut runner);
        }
        if wanted(Tier::Kunit) {
            kunit::run(context, &mut runner, &variants);
        }
        if wanted(Tier::E2e) {
            e2e::run(context, &mut runner, self.full);
        }
        if self.tier == Some(Tier::Soak) || (self.full && wanted(Tier::Soak)) {
            soak::run(context, &mut runner, self.cycles);
        }
        if self.tier == Some(Tier::Witness) || (self.full && wanted(Tier::Witness)) {
            witness::run(context, &mut runner, self.full);
        }
        if self.tier == Some(Tier::Selftests) || (self.full && wanted(Tier::Selftests)) {
            selftests::run(context, &mut runner);
        }
        Ok(runner.finish())
    }
}
