// SPDX-License-Identifier: GPL-2.0
//! Kernel of the guest, built with Rust.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use ehea_harness::{Sandbox, Variant};

use crate::artifacts::kconfig::Configuration;
use crate::artifacts::root::BuildRoot;
use crate::artifacts::source::KernelSource;
use crate::artifacts::{jobs, only_directory};
use crate::cache::{Artifact, Build, Entry};
use crate::key::Key;

/// Arguments of every `make` in the kernel. The compiler is LLVM, because the bindings cannot be
/// built with GCC: libclang rejects a constraint of powerpc's inline assembly.
pub(crate) const MAKE_ARGUMENTS: &[&str] = &["ARCH=powerpc", "LLVM=-19"];

/// User, host and time of the kernel's build. They are fixed, so that equal inputs give equal
/// kernels.
pub(crate) const BUILD_IDENTITY: &[(&str, &str)] = &[
    ("KBUILD_BUILD_USER", "ehea"),
    ("KBUILD_BUILD_HOST", "ehea"),
    ("KBUILD_BUILD_TIMESTAMP", "2026-01-01"),
];

/// A built kernel tree: the image and everything with which modules are built.
#[derive(Debug)]
pub(crate) struct Kernel<'a> {
    /// The build root.
    pub(crate) root: &'a Entry,
    /// The patched source.
    pub(crate) source: &'a Entry,
    /// The checkout, with the configuration fragments.
    pub(crate) checkout: &'a Path,
    /// Variant of the kernel, which selects further fragments.
    pub(crate) variant: Variant,
}

/// Prepares `make` for a kernel build in this build root.
pub(crate) fn environment(command: &mut Command, root: &Path) -> Result<()> {
    let rust = only_directory(&root.join("usr/src"), "rustc-")?;
    let name = rust.file_name().context("no Rust source")?;
    command.env(
        "RUST_LIB_SRC",
        Path::new("/usr/src").join(name).join("library"),
    );
    command
        .envs(BUILD_IDENTITY.iter().copied())
        .args(MAKE_ARGUMENTS);
    Ok(())
}

impl Kernel<'_> {
    /// Name of the image in the entry.
    pub(crate) const IMAGE: &'static str = "vmlinux";

    /// Returns the paths of the fragments in the checkout, in order.
    fn fragments(&self) -> Vec<String> {
        let Variant { page_size, debug } = self.variant;
        let mut names = vec!["ehea".to_owned(), "distribution".to_owned()];
        names.push(page_size.to_string());
        names.extend(debug.map(|debug| debug.to_string()));
        names
            .iter()
            .map(|name| format!("kernel/{name}.config"))
            .collect()
    }

    fn make(&self, sandbox: &Sandbox, build: &Build<'_>) -> Result<Command> {
        let mut command = sandbox.command_with_mount(build.directory, build.place, "make");
        command.arg("-C").arg(self.source.path(KernelSource::TREE));
        command.arg(format!("O={}", build.place.display()));
        environment(&mut command, &self.root.path(BuildRoot::TREE))?;
        Ok(command)
    }
}

impl Artifact for Kernel<'_> {
    fn kind(&self) -> &'static str {
        "kernel"
    }

    fn title(&self) -> String {
        match self.variant.debug {
            None => format!("kernel with {} pages", self.variant.page_size),
            Some(debug) => format!("{debug} kernel with {} pages", self.variant.page_size),
        }
    }

    fn inputs(&self, key: &mut Key) -> Result<()> {
        key.text("source", &self.source.identity);
        key.text("make", MAKE_ARGUMENTS.join(" "));
        for fragment in self.fragments() {
            key.files(self.checkout, &fragment)?;
        }
        Ok(())
    }

    fn build(&self, build: &Build<'_>) -> Result<()> {
        let sandbox = Sandbox::new(&self.root.path(BuildRoot::TREE));
        let source = self.source.path(KernelSource::TREE);
        let fragments: Vec<_> = self
            .fragments()
            .iter()
            .map(|f| self.checkout.join(f))
            .collect();
        let configuration = Configuration {
            sandbox: &sandbox,
            source: &source,
            directory: build.directory,
            place: build.place,
            fragments: &fragments,
        };
        configuration.write(build, || self.make(&sandbox, build))?;
        build.step.run(
            "compiling",
            self.make(&sandbox, build)?
                .args([&jobs(), "vmlinux", "modules"]),
        )?;
        strip(build.directory)
    }

    fn is_resumable(&self) -> bool {
        true
    }

    fn outputs(&self) -> Vec<PathBuf> {
        [
            Self::IMAGE,
            ".config",
            "Makefile",
            "Module.symvers",
            "modules.order",
            "modules.builtin",
            "modules.builtin.modinfo",
            "include/config/auto.conf",
            "include/config/kernel.release",
            "include/generated/autoconf.h",
            "rust/libkernel.rmeta",
            "rust/libcore.rmeta",
            "scripts/mod/modpost",
        ]
        .iter()
        .map(PathBuf::from)
        .collect()
    }
}

/// Removes objects and archives, because a module build only needs headers, metadata, programs, and
/// `crtsavres.o`, with which modules are linked.
fn strip(directory: &Path) -> Result<()> {
    for entry in walkdir::WalkDir::new(directory) {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        let removable =
            name.ends_with(".o") || name.ends_with(".a") || name.starts_with(".tmp_vmlinux");
        let top = entry.path().strip_prefix(directory)?.components().next();
        let program = top.is_some_and(|c| c.as_os_str() == "scripts" || c.as_os_str() == "tools");
        if entry.file_type().is_file() && removable && !program && name != "crtsavres.o" {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
