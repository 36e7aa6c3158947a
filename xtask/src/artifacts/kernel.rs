// SPDX-License-Identifier: GPL-2.0
//! The guest's kernel, built with Rust.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};
use ehea_harness::{PageSize, Sandbox};

use crate::artifacts::root::BuildRoot;
use crate::artifacts::source::KernelSource;
use crate::artifacts::{jobs, only_directory};
use crate::cache::{Artifact, Build, Entry};
use crate::key::Key;

/// What every `make` in the kernel takes. With GCC the bindings don't build: libclang rejects a
/// constraint of powerpc's inline assembly.
pub(crate) const MAKE_ARGUMENTS: &[&str] = &["ARCH=powerpc", "LLVM=-19"];

/// Who, where and when the kernel was built: fixed, so that equal inputs give equal kernels.
const BUILD_IDENTITY: &[(&str, &str)] = &[
    ("KBUILD_BUILD_USER", "ehea"),
    ("KBUILD_BUILD_HOST", "ehea"),
    ("KBUILD_BUILD_TIMESTAMP", "2026-01-01"),
];

/// A built kernel tree: the image and all that modules are built with.
#[derive(Debug)]
pub(crate) struct Kernel<'a> {
    /// The build root.
    pub(crate) root: &'a Entry,
    /// The patched source.
    pub(crate) source: &'a Entry,
    /// The checkout, with the configuration fragments.
    pub(crate) checkout: &'a Path,
    /// Which of the fragments for the page size.
    pub(crate) page_size: PageSize,
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
    /// The image in the entry.
    pub(crate) const IMAGE: &'static str = "vmlinux";

    fn fragments(&self) -> [String; 2] {
        [
            "kernel/ehea.config".to_owned(),
            format!("kernel/{}.config", self.page_size),
        ]
    }

    fn make(&self, sandbox: &Sandbox, build: &Build<'_>) -> Result<Command> {
        let mut command = sandbox.command_with_mount(build.directory, build.place, "make");
        command.arg("-C").arg(self.source.path(KernelSource::TREE));
        command.arg(format!("O={}", build.place.display()));
        environment(&mut command, &self.root.path(BuildRoot::TREE))?;
        Ok(command)
    }

    /// Fails with the names of all options that the configuration does not have as asked.
    fn check_configuration(&self, directory: &Path) -> Result<()> {
        let configuration = std::fs::read_to_string(directory.join(".config"))?;
        let mut missing = Vec::new();
        for fragment in self.fragments() {
            let text = std::fs::read_to_string(self.checkout.join(&fragment))?;
            missing.extend(unmet(&text, &configuration));
        }
        if !missing.is_empty() {
            bail!(
                "the kernel's configuration does not take these lines: {}",
                missing.join(", ")
            );
        }
        Ok(())
    }
}

/// Lines of a fragment that a configuration does not satisfy.
fn unmet(fragment: &str, configuration: &str) -> Vec<String> {
    let lines: std::collections::HashSet<&str> = configuration.lines().collect();
    let mut unmet = Vec::new();
    for line in fragment
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
    {
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        let met = match value {
            "n" => !["y", "m"]
                .iter()
                .any(|v| lines.contains(format!("{name}={v}").as_str())),
            _ => lines.contains(line),
        };
        if !met {
            unmet.push(line.to_owned());
        }
    }
    unmet
}

impl Artifact for Kernel<'_> {
    fn kind(&self) -> &'static str {
        "kernel"
    }

    fn title(&self) -> String {
        format!("kernel with {} pages", self.page_size)
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
        build.step.run(
            "configuring",
            self.make(&sandbox, build)?.arg("allnoconfig"),
        )?;
        let mut merge = sandbox.command_with_mount(
            build.directory,
            build.place,
            "scripts/kconfig/merge_config.sh",
        );
        merge
            .arg("-m")
            .arg("-O")
            .arg(build.place)
            .arg(build.place.join(".config"));
        merge
            .args(self.fragments().iter().map(|f| self.checkout.join(f)))
            .current_dir(&source);
        build.step.run("configuring", &mut merge)?;
        build.step.run(
            "configuring",
            self.make(&sandbox, build)?.arg("olddefconfig"),
        )?;
        self.check_configuration(build.directory)?;
        build.step.run(
            "compiling",
            self.make(&sandbox, build)?
                .args([&jobs(), "vmlinux", "modules"]),
        )?;
        strip(build.directory)
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

/// Removes objects and archives: a module build needs headers, metadata and programs. Modules are
/// linked with `crtsavres.o`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_a_fragment_is_checked() {
        let configuration = "CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_N=32\n";
        let fragment = "# remark\nCONFIG_A=y\nCONFIG_B=y\nCONFIG_C=n\nCONFIG_D=n\nCONFIG_E=y # why\nCONFIG_N=32\nCONFIG_A=n\n";
        assert_eq!(
            unmet(fragment, configuration),
            ["CONFIG_B=y", "CONFIG_E=y", "CONFIG_A=n"]
        );
    }
}
