// SPDX-License-Identifier: GPL-2.0
//! Hand-over of artifacts to the programs that boot guests.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{bail, Result};
use ehea_harness::{MachineArtifacts, Variant, ARTIFACTS_VARIABLE, MACHINE_ARTIFACTS_VARIABLE};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{both, guest, overridden, qemu};
use crate::artifacts::firmware::Firmwares;
use crate::artifacts::model;
use crate::artifacts::root::BuildRoot;
use crate::context::Context;
use crate::prerequisites;
use crate::progress::Step;

/// Environment variable with the path of this project's programs for the guest.
const GUEST_TOOLS_VARIABLE: &str = "EHEA_GUEST_TOOLS";

/// Makes what guests need and passes it to `command`, a `cargo run` or `cargo test`, in its
/// environment. What `command` is going to run is compiled at the same time.
pub(crate) fn hand_over(
    context: &Context,
    variants: &[Variant],
    command: &mut Command,
) -> Result<()> {
    let (artifacts, ()) = both(|| guest(context, variants), || compile(context, command))?;
    command.env(ARTIFACTS_VARIABLE, describe(context, &artifacts)?);
    if let Some(tools) = artifacts.tools {
        command.env(GUEST_TOOLS_VARIABLE, tools);
    }
    Ok(())
}

/// Compiles what a `cargo run` or `cargo test` is going to run.
fn compile(context: &Context, command: &Command) -> Result<()> {
    let mut arguments = command.get_args().take_while(|argument| *argument != "--");
    let mut compile = prerequisites::cargo()?;
    match arguments.next() {
        Some(run) if run == "run" => compile.arg("build"),
        Some(test) if test == "test" => compile.args(["test", "--no-run"]),
        _ => return Ok(()),
    };
    compile.args(arguments).current_dir(&context.checkout);
    let log = context.target().join("programs.log");
    let step = Step::start_quietly("programs that use guests", &log)?;
    // The library for which QEMU waits comes first.
    let compiled = model::compile(&context.checkout, &context.target(), &step)
        .and_then(|_| step.run("compiling", &mut compile));
    if compiled.is_err() {
        // The whole output is shown, because it is the compiler's message.
        let output = step.output()?;
        step.failed();
        bail!("the programs that use guests do not compile\n{output}");
    }
    step.done();
    Ok(())
}

/// Makes what machines without a kernel need and passes it to `command`, as [`hand_over`] does.
pub(crate) fn hand_over_machine(context: &Context, command: &mut Command) -> Result<()> {
    let (artifacts, ()) = both(|| machine(context), || compile(context, command))?;
    command.env(MACHINE_ARTIFACTS_VARIABLE, describe(context, &artifacts)?);
    Ok(())
}

/// Returns what a machine without a kernel needs.
fn machine(context: &Context) -> Result<MachineArtifacts> {
    let root = context.cache.ensure(&BuildRoot)?;
    let firmware = context.cache.ensure(&Firmwares {
        root: &root,
        checkout: &context.checkout,
    })?;
    let given = overridden()?.map(|artifacts| (artifacts.root, artifacts.qemu));
    let (root, qemu) = match given {
        Some(given) => given,
        None => (root.path(BuildRoot::TREE), qemu(context, &root)?.0),
    };
    Ok(MachineArtifacts {
        root,
        qemu,
        firmware: firmware.directory,
        logs: context.guest_logs(),
    })
}

/// Writes a description of artifacts and returns its path.
pub(super) fn describe(context: &Context, artifacts: &impl Serialize) -> Result<PathBuf> {
    let text = serde_json::to_string_pretty(artifacts)?;
    // Equal contents have equal names, so that runs do not overwrite what others read and files do
    // not accumulate.
    let name = format!("artifacts-{:.16}", format!("{:x}", Sha256::digest(&text)));
    let path = context.target().join(format!("{name}.json"));
    let new = path.with_extension(std::process::id().to_string());
    std::fs::create_dir_all(context.target())?;
    std::fs::write(&new, text)?;
    std::fs::rename(&new, &path)?;
    Ok(path)
}
