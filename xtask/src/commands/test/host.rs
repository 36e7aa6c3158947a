// SPDX-License-Identifier: GPL-2.0
//! The host tier: format, house rules, clippy, unit and property tests.

use std::process::Command;

use anyhow::{ensure, Context as _, Result};
use ehea_harness::Sandbox;

use super::runner::Runner;
use crate::artifacts::root::BuildRoot;
use crate::context::Context;
use crate::lints;
use crate::setup::{self, Inside};

/// Crate whose tests need a guest.
const GUEST_CRATE: &str = "ehea-tests";
/// Test that passes random frames to the driver's send path.
const FRAMES: &str = "offload::anything_said_of_a_frame";

pub(super) fn run(context: &Context, runner: &mut Runner, full: bool) {
    match lints::files(&context.checkout) {
        Ok(files) => {
            runner.check("host::rustfmt", || rustfmt(context, &files));
            for lint in lints::all() {
                runner.check(&format!("host::{}", lint.name()), || {
                    let violations = lints::run(&*lint, &files);
                    ensure!(violations.is_empty(), "{}", violations.join("\n"));
                    Ok(())
                });
            }
            runner.check("host::imports", || {
                let violations = lints::imports::check(&files)?;
                ensure!(violations.is_empty(), "{}", violations.join("\n"));
                Ok(())
            });
        }
        Err(error) => runner.failed("host::files", &format!("{error:#}")),
    }
    runner.check("host::clippy", || clippy(context));
    runner.check("host::offline-build", || offline(context));
    runner.libtest(
        "host::tests",
        tests(
            context,
            runner.only(),
            &["--workspace", "--exclude", GUEST_CRATE],
        ),
    );
    runner.libtest(
        "host::tests",
        tests(
            context,
            runner.only(),
            &["--package", GUEST_CRATE, "--lib", "--bins"],
        ),
    );
    if full && runner.wants(FRAMES) {
        runner.libtest("host::frames", frames(context));
    }
}

/// Returns the command that passes a million random frames to the driver's send path, 50 in each case.
fn frames(context: &Context) -> Command {
    let packages = ["--release", "--package", "ehea-core", "--test", "model"];
    let mut command = tests(context, Some(FRAMES), &packages);
    command.env("PROPTEST_CASES", "20000");
    command
}

/// Returns a sandbox with the tools of the build root, so that all machines agree on formatting and
/// lints.
fn sandbox(context: &Context) -> Result<Sandbox> {
    Ok(Sandbox::new(
        &context.cache.ensure(&BuildRoot)?.path(BuildRoot::TREE),
    ))
}

fn rustfmt(context: &Context, files: &[lints::SourceFile]) -> Result<()> {
    let mut command = sandbox(context)?.command("rustfmt");
    command
        .args(["--check", "--edition", "2021", "--color", "never"])
        .current_dir(&context.checkout);
    command.args(
        files
            .iter()
            .map(|f| &f.path)
            .filter(|path| path.extension().is_some_and(|e| e == "rs")),
    );
    succeeds(
        &mut command,
        "run `cargo fmt --all`, and `rustfmt` on the files of the module",
    )
}

fn clippy(context: &Context) -> Result<()> {
    // The program is not run through cargo, which would prefer one in ~/.cargo/bin.
    let mut command = Inside::new(context)?.cargo("cargo-clippy", "clippy");
    command.args(["--quiet", "--workspace", "--all-targets", "--target-dir"]);
    command
        .arg(context.target().join("clippy"))
        .args(["--", "-D", "warnings"]);
    succeeds(
        &mut command,
        "the same with your own toolchain: `cargo clippy --workspace --all-targets`",
    )
}

/// Builds in the build root without a network and with an empty cargo home directory.
fn offline(context: &Context) -> Result<()> {
    let home = tempfile::tempdir().context("cannot make a temporary directory")?;
    let inside = Inside::new(context)?.alone(home.path());
    let mut command = setup::bench_programs(&inside, &context.target().join("offline"));
    succeeds(
        &mut command,
        "cargo must find all crates where the set-up has put them",
    )
}

fn succeeds(command: &mut Command, advice: &str) -> Result<()> {
    let output = command.output()?;
    let text = [output.stdout, output.stderr].concat();
    ensure!(
        output.status.success(),
        "{}\n{advice}",
        String::from_utf8_lossy(&text).trim_end()
    );
    Ok(())
}

fn tests(context: &Context, only: Option<&str>, packages: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["test", "--no-fail-fast"]).args(packages);
    command.current_dir(&context.checkout);
    command.args(["--", "--format", "pretty"]).args(only);
    command
}
