// SPDX-License-Identifier: GPL-2.0
//! Gathers what a command needs, in the order in which it depends on each other.

mod inside;
mod states;
mod witness;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{ensure, Result};
use ehea_harness::{
    Artifacts, Kernel as GuestKernel, MachineArtifacts, PageSize, ARTIFACTS_VARIABLE,
    MACHINE_ARTIFACTS_VARIABLE,
};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::artifacts::callgrind::Callgrind;
use crate::artifacts::firmware::Firmwares;
use crate::artifacts::kernel::Kernel;
use crate::artifacts::module::{KernelTree, Module};
use crate::artifacts::plugin::Plugin;
use crate::artifacts::qemu::{Qemu, QemuTree};
use crate::artifacts::root::BuildRoot;
use crate::artifacts::source::KernelSource;
use crate::artifacts::tools::{GuestTools, Machine};
use crate::artifacts::userland::Userland;
use crate::cache::Entry;
use crate::context::Context;
use crate::key::hash_file;

pub(crate) use inside::Inside;
pub(crate) use states::{bench_states, states};
pub(crate) use witness::{hand_over_witness, witness_states};

/// Environment variable with the path of our own programs for the guest.
const GUEST_TOOLS_VARIABLE: &str = "EHEA_GUEST_TOOLS";

/// What a guest needs, made if it isn't there. With [`ARTIFACTS_VARIABLE`] set, the files that it
/// names are used as they are; modules that it does not name are built for its kernels.
pub(crate) fn guest(context: &Context, page_sizes: &[PageSize]) -> Result<Artifacts> {
    if let Some(artifacts) = overridden()? {
        return Ok(Artifacts {
            kernels: kernels(context, page_sizes)?,
            ..artifacts
        });
    }
    let root = context.cache.ensure(&BuildRoot)?;
    let userland = context.cache.ensure(&Userland {
        root: root.path(BuildRoot::TREE),
    })?;
    let tools = context.cache.ensure(&GuestTools {
        root: &root,
        checkout: &context.checkout,
        machine: Machine::LittleEndian,
    })?;
    let (qemu, plugin) = qemu(context, &root)?;
    Ok(Artifacts {
        qemu,
        plugin: Some(plugin),
        userland: userland.path(Userland::ARCHIVE),
        tools: Some(tools.path(GuestTools::PROGRAM)),
        kernels: kernels(context, page_sizes)?,
        root: root.path(BuildRoot::TREE),
        logs: context.guest_logs(),
    })
}

/// What the environment gives instead of the cache.
fn overridden() -> Result<Option<Artifacts>> {
    std::env::var_os(ARTIFACTS_VARIABLE)
        .map(|_| Artifacts::from_env())
        .transpose()
}

/// Kernels with the modules built for them.
pub(crate) fn kernels(
    context: &Context,
    page_sizes: &[PageSize],
) -> Result<BTreeMap<PageSize, GuestKernel>> {
    let given = overridden()?;
    let mut kernels = BTreeMap::new();
    for &page_size in page_sizes {
        let (tree, given) = match &given {
            Some(artifacts) => {
                let kernel = artifacts.kernel(page_size)?;
                let (root, build) = (artifacts.root.clone(), kernel.build.clone());
                (
                    KernelTree {
                        root,
                        build,
                        identity: hash_file(&kernel.vmlinux)?,
                    },
                    Some(kernel.clone()),
                )
            }
            None => (
                kernel(context, &context.cache.ensure(&BuildRoot)?, page_size)?,
                None,
            ),
        };
        let mut kernel = given.unwrap_or_else(|| GuestKernel {
            vmlinux: tree.build.join(Kernel::IMAGE),
            build: tree.build.clone(),
            module: None,
            kunit_module: None,
        });
        if kernel.module.is_none() {
            let (module, kunit_module) = modules(context, &tree)?;
            kernel.module = Some(module);
            kernel.kunit_module = Some(kunit_module);
        }
        kernels.insert(page_size, kernel);
    }
    Ok(kernels)
}

/// The kernel with this page size, as modules are built for it.
pub(crate) fn kernel_tree(context: &Context, page_size: PageSize) -> Result<KernelTree> {
    match overridden()? {
        Some(artifacts) => {
            let kernel = artifacts.kernel(page_size)?;
            let identity = hash_file(&kernel.vmlinux)?;
            Ok(KernelTree {
                root: artifacts.root.clone(),
                build: kernel.build.clone(),
                identity,
            })
        }
        None => kernel(context, &context.cache.ensure(&BuildRoot)?, page_size),
    }
}

/// The built kernel with this page size.
fn kernel(context: &Context, root: &Entry, page_size: PageSize) -> Result<KernelTree> {
    let checkout = &context.checkout;
    let source = context.cache.ensure(&KernelSource { root, checkout })?;
    let kernel = context.cache.ensure(&Kernel {
        root,
        source: &source,
        checkout,
        page_size,
    })?;
    Ok(KernelTree {
        root: root.path(BuildRoot::TREE),
        identity: kernel.identity,
        build: kernel.directory,
    })
}

/// The driver and its KUnit suites for a kernel.
fn modules(context: &Context, kernel: &KernelTree) -> Result<(PathBuf, PathBuf)> {
    let entry = context.cache.ensure(&Module {
        checkout: &context.checkout,
        kernel,
    })?;
    Ok((entry.path(Module::DRIVER), entry.path(Module::KUNIT)))
}

/// The emulator, and the plugin for it.
fn qemu(context: &Context, root: &Entry) -> Result<(PathBuf, PathBuf)> {
    let checkout = &context.checkout;
    let tree = context.cache.ensure(&QemuTree { root, checkout })?;
    let target = context.target();
    let cache = &context.cache;
    let qemu = cache.ensure(&Qemu {
        root,
        tree: &tree,
        checkout,
        target: &target,
        cache,
    })?;
    let plugin = cache.ensure(&Plugin {
        root,
        tree: &tree,
        checkout,
    })?;
    Ok((qemu.path(Qemu::BINARY), plugin.path(Plugin::OBJECT)))
}

/// The root directory of the build root.
fn root(context: &Context) -> Result<PathBuf> {
    Ok(match overridden()? {
        Some(artifacts) => artifacts.root,
        None => context.cache.ensure(&BuildRoot)?.path(BuildRoot::TREE),
    })
}

/// The program that measures the memory map on this machine, and a root directory with valgrind to
/// count its instructions. All machines count alike: the build root's compiler makes the program.
pub(crate) fn map_bench(context: &Context) -> Result<(PathBuf, PathBuf)> {
    let callgrind = context.cache.ensure(&Callgrind)?.path(Callgrind::TREE);
    let target = context.target().join("benches");
    let mut command = bench_programs(&Inside::new(context)?, &target);
    ensure!(command.status()?.success(), "ehea-benches can't be built");
    Ok((target.join("release/ehea-bench-map"), callgrind))
}

/// A command that compiles the programs for benchmarks in the build root.
pub(crate) fn bench_programs(inside: &Inside<'_>, target: &Path) -> Command {
    let mut command = inside.cargo("cargo", "build");
    command
        .args(["--quiet", "--release", "--package", "ehea-benches"])
        .arg("--target-dir")
        .arg(target);
    command
}

/// Makes what guests need and lets `command` know through its environment.
pub(crate) fn hand_over(
    context: &Context,
    page_sizes: &[PageSize],
    command: &mut Command,
) -> Result<()> {
    let artifacts = guest(context, page_sizes)?;
    command.env(ARTIFACTS_VARIABLE, describe(context, &artifacts)?);
    if let Some(tools) = artifacts.tools {
        command.env(GUEST_TOOLS_VARIABLE, tools);
    }
    Ok(())
}

/// Makes what machines without a kernel need and lets `command` know through its environment.
pub(crate) fn hand_over_machine(context: &Context, command: &mut Command) -> Result<()> {
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
    let artifacts = MachineArtifacts {
        root,
        qemu,
        firmware: firmware.directory,
        logs: context.guest_logs(),
    };
    command.env(MACHINE_ARTIFACTS_VARIABLE, describe(context, &artifacts)?);
    Ok(())
}

/// Writes a description of artifacts and returns its path.
fn describe(context: &Context, artifacts: &impl Serialize) -> Result<PathBuf> {
    let text = serde_json::to_string_pretty(artifacts)?;
    // Equal contents have equal names: runs do not overwrite what others read, and files do not pile up.
    let name = format!("artifacts-{:.16}", format!("{:x}", Sha256::digest(&text)));
    let path = context.target().join(format!("{name}.json"));
    let new = path.with_extension(std::process::id().to_string());
    std::fs::create_dir_all(context.target())?;
    std::fs::write(&new, text)?;
    std::fs::rename(&new, &path)?;
    Ok(path)
}
