// SPDX-License-Identifier: GPL-2.0
//! Set-up of what a command needs, in the order of dependencies.

mod beside;
mod hand_over;
mod inside;
mod selftests;
mod states;
mod witness;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{ensure, Result};
use ehea_harness::{Artifacts, Kernel as GuestKernel, Variant, ARTIFACTS_VARIABLE};

use crate::artifacts::callgrind::Callgrind;
use crate::artifacts::kernel::Kernel;
use crate::artifacts::module::{KernelTree, Module};
use crate::artifacts::plugin::Plugin;
use crate::artifacts::qemu::{self, Qemu, QemuTree};
use crate::artifacts::root::BuildRoot;
use crate::artifacts::source::KernelSource;
use crate::artifacts::tools::{GuestTools, Machine};
use crate::artifacts::userland::Userland;
use crate::cache::Entry;
use crate::context::Context;
use crate::key::hash_file;
use crate::prerequisites;

pub(crate) use beside::both;
pub(crate) use hand_over::{hand_over, hand_over_machine};
pub(crate) use inside::Inside;
pub(crate) use selftests::{hand_over_selftests, hand_over_selftests_list, selftests_states};
pub(crate) use states::{cold_setup, other_states, states};
pub(crate) use witness::{hand_over_witness, witness_states};

/// Returns what a guest needs, and makes it if it does not exist. If [`ARTIFACTS_VARIABLE`] is set,
/// the files that it names are used as they are, and modules that it does not name are built for
/// its kernels.
pub(crate) fn guest(context: &Context, variants: &[Variant]) -> Result<Artifacts> {
    if let Some(artifacts) = overridden()? {
        return Ok(Artifacts {
            kernels: kernels(context, variants)?,
            ..artifacts
        });
    }
    prerequisites::ensure()?;
    let root = context.cache.ensure(&BuildRoot)?;
    // The kernel takes by far the longest, and at times uses only one processor.
    let ((qemu, plugin), (kernels, (userland, tools))) = both(
        || qemu(context, &root),
        || both(|| kernels(context, variants), || userland(context, &root)),
    )?;
    Ok(Artifacts {
        qemu,
        plugin: Some(plugin),
        userland,
        tools: Some(tools),
        kernels,
        root: root.path(BuildRoot::TREE),
        logs: context.guest_logs(),
    })
}

/// Returns the guest's userland, and this project's programs for it.
fn userland(context: &Context, root: &Entry) -> Result<(PathBuf, PathBuf)> {
    let tools = context.cache.ensure(&GuestTools {
        root,
        checkout: &context.checkout,
        machine: Machine::LittleEndian,
    })?;
    let userland = context.cache.ensure(&Userland {
        root: root.path(BuildRoot::TREE),
    })?;
    Ok((
        userland.path(Userland::ARCHIVE),
        tools.path(GuestTools::PROGRAM),
    ))
}

/// Returns the artifacts that the environment provides instead of the cache.
fn overridden() -> Result<Option<Artifacts>> {
    std::env::var_os(ARTIFACTS_VARIABLE)
        .map(|_| Artifacts::from_env())
        .transpose()
}

/// Returns kernels with the modules built for them.
pub(crate) fn kernels(
    context: &Context,
    variants: &[Variant],
) -> Result<BTreeMap<Variant, GuestKernel>> {
    let given = overridden()?;
    let mut kernels = BTreeMap::new();
    for &variant in variants {
        let (tree, given) = match &given {
            Some(artifacts) => {
                let kernel = artifacts.kernel(variant)?;
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
                kernel(context, &context.cache.ensure(&BuildRoot)?, variant)?,
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
        kernels.insert(variant, kernel);
    }
    Ok(kernels)
}

/// Returns a kernel for which modules can be built.
pub(crate) fn kernel_tree(context: &Context, variant: Variant) -> Result<KernelTree> {
    match overridden()? {
        Some(artifacts) => {
            let kernel = artifacts.kernel(variant)?;
            let identity = hash_file(&kernel.vmlinux)?;
            Ok(KernelTree {
                root: artifacts.root.clone(),
                build: kernel.build.clone(),
                identity,
            })
        }
        None => kernel(context, &context.cache.ensure(&BuildRoot)?, variant),
    }
}

/// Returns a built kernel.
fn kernel(context: &Context, root: &Entry, variant: Variant) -> Result<KernelTree> {
    let checkout = &context.checkout;
    let source = context.cache.ensure(&KernelSource {
        root,
        checkout,
        debug: variant.debug.is_some(),
    })?;
    let kernel = context.cache.ensure(&Kernel {
        root,
        source: &source,
        checkout,
        variant,
    })?;
    Ok(KernelTree {
        root: root.path(BuildRoot::TREE),
        identity: kernel.identity,
        build: kernel.directory,
    })
}

/// Returns the driver and its KUnit suites for a kernel.
fn modules(context: &Context, kernel: &KernelTree) -> Result<(PathBuf, PathBuf)> {
    let entry = context.cache.ensure(&Module {
        checkout: &context.checkout,
        kernel,
    })?;
    Ok((entry.path(Module::DRIVER), entry.path(Module::KUNIT)))
}

/// Returns the emulator, and the plugin for it.
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

/// Returns the root directory of the build root.
fn root(context: &Context) -> Result<PathBuf> {
    Ok(match overridden()? {
        Some(artifacts) => artifacts.root,
        None => context.cache.ensure(&BuildRoot)?.path(BuildRoot::TREE),
    })
}

/// Returns the program that measures the memory map on this machine, and a root directory with
/// valgrind, which counts its instructions. The build root's compiler makes the program, so that
/// all machines count alike.
pub(crate) fn map_bench(context: &Context) -> Result<(PathBuf, PathBuf)> {
    let callgrind = context.cache.ensure(&Callgrind)?.path(Callgrind::TREE);
    let target = context.target().join("benches");
    let mut command = bench_programs(&Inside::new(context)?, &target);
    ensure!(command.status()?.success(), "ehea-benches can't be built");
    Ok((target.join("release/ehea-bench-map"), callgrind))
}

/// Returns the number of commands that ninja runs to build QEMU.
pub(crate) fn qemu_commands(context: &Context) -> Result<usize> {
    let root = &context.cache.ensure(&BuildRoot)?;
    let checkout = &context.checkout;
    let tree = context.cache.ensure(&QemuTree { root, checkout })?;
    qemu::commands(root, &tree)
}

/// Returns a command that compiles the programs for benchmarks in the build root.
pub(crate) fn bench_programs(inside: &Inside<'_>, target: &Path) -> Command {
    let mut command = inside.cargo("cargo", "build");
    command
        .args(["--quiet", "--release", "--package", "ehea-benches"])
        .arg("--target-dir")
        .arg(target);
    command
}
