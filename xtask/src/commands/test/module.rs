// SPDX-License-Identifier: GPL-2.0
//! Checks of the module's build: it has no warnings and satisfies the kernel's tools.

use std::process::Command;

use anyhow::{bail, ensure, Context as _, Result};
use ehea_harness::{Sandbox, Variant};

use super::runner::Runner;
use crate::artifacts::module::{self, warnings, Module};
use crate::artifacts::root::BuildRoot;
use crate::artifacts::source::KernelSource;
use crate::context::Context;
use crate::progress::Step;
use crate::{lints, setup};

pub(super) fn run(context: &Context, runner: &mut Runner, variants: &[Variant]) {
    for &variant in variants {
        runner.check(&format!("host::module-build-{variant}"), || {
            build(context, variant)
        });
    }
    runner.check("host::module-clippy", || clippy(context));
    runner.check("host::checkpatch", || checkpatch(context));
}

fn no_warnings(log: &str) -> Result<()> {
    let warnings = warnings(log);
    ensure!(warnings.is_empty(), "{}", warnings.join("\n"));
    Ok(())
}

fn build(context: &Context, variant: Variant) -> Result<()> {
    let kernels = setup::kernels(context, &[variant])?;
    let module = kernels
        .get(&variant)
        .and_then(|k| k.module.as_ref())
        .context("no module was built")?;
    let log = module.with_file_name(Module::LOG);
    no_warnings(
        &std::fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?,
    )
}

/// Builds once more, with clippy in place of rustc.
fn clippy(context: &Context) -> Result<()> {
    let kernel = setup::kernel_tree(context, Variant::default())?;
    let directory = context.target().join("module-clippy");
    if directory.exists() {
        std::fs::remove_dir_all(&directory)?;
    }
    module::copy_sources(&context.checkout, &directory)?;
    let step = Step::start(
        "clippy for the module",
        &context.target().join("module-clippy.log"),
    )?;
    let mut command = module::make(
        &kernel,
        Sandbox::new(&kernel.root).command("make"),
        &directory,
    )?;
    step.run("checking", command.arg("CLIPPY=1"))?;
    no_warnings(&std::fs::read_to_string(step.log())?)?;
    step.done();
    Ok(())
}

fn checkpatch(context: &Context) -> Result<()> {
    let root = context.cache.ensure(&BuildRoot)?;
    let source = context.cache.ensure(&KernelSource {
        root: &root,
        checkout: &context.checkout,
        debug: false,
    })?;
    let mut command: Command = Sandbox::new(&root.path(BuildRoot::TREE)).command("perl");
    command.arg(
        source
            .path(KernelSource::TREE)
            .join("scripts/checkpatch.pl"),
    );
    command.args([
        "--no-tree",
        "--no-summary",
        "--terse",
        "--show-types",
        // Tables of operations that are filled in when the device is made are not constant.
        "--ignore=CONST_STRUCT",
        "--file",
    ]);
    let files = lints::files(&context.checkout)?;
    let is_kernel = |file: &&lints::SourceFile| {
        file.path.starts_with("rust") && file.path.extension().is_some_and(|e| e == "c" || e == "h")
    };
    command
        .args(files.iter().filter(is_kernel).map(|f| &f.path))
        .current_dir(&context.checkout);
    let output = command.output().context("cannot run checkpatch")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || !text.trim().is_empty() {
        bail!(
            "{}{}",
            text.trim_end(),
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(())
}
