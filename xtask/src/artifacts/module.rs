// SPDX-License-Identifier: GPL-2.0
//! The driver as a kernel module, and the module with its KUnit suites.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use ehea_harness::Sandbox;
use walkdir::WalkDir;

use crate::artifacts::{jobs, kernel};
use crate::cache::{Artifact, Build};
use crate::key::Key;

/// Sources of the modules in the checkout.
const SOURCES: &[&str] = &["Kbuild", "Kconfig", "drivers/ehea", "rust", "kunit"];

/// A kernel for which modules are built.
#[derive(Clone, Debug)]
pub(crate) struct KernelTree {
    /// Build root with the compilers.
    pub(crate) root: PathBuf,
    /// Output directory of the kernel's build.
    pub(crate) build: PathBuf,
    /// Identity of the kernel; different kernels have different ones.
    pub(crate) identity: String,
}

/// The two modules.
#[derive(Debug)]
pub(crate) struct Module<'a> {
    /// The checkout.
    pub(crate) checkout: &'a Path,
    /// Kernel for which the modules are built.
    pub(crate) kernel: &'a KernelTree,
}

impl Module<'_> {
    /// Name of the driver in the entry.
    pub(crate) const DRIVER: &'static str = "ehea.ko";
    /// Name of the KUnit suites in the entry.
    pub(crate) const KUNIT: &'static str = "ehea_kunit.ko";
    /// Name of the compilers' output in the entry.
    pub(crate) const LOG: &'static str = "build.log";

    const SOURCE: &'static str = "source";
}

/// Copies the sources of the modules, so that nothing is written to the checkout.
pub(crate) fn copy_sources(checkout: &Path, to: &Path) -> Result<()> {
    for source in SOURCES {
        for entry in WalkDir::new(checkout.join(source)) {
            let entry = entry.with_context(|| format!("no {source} in the checkout"))?;
            let target = to.join(entry.path().strip_prefix(checkout)?);
            if entry.file_type().is_dir() {
                std::fs::create_dir_all(&target)?;
            } else if is_source(entry.path()) {
                std::fs::create_dir_all(target.parent().context("a file without a directory")?)?;
                std::fs::copy(entry.path(), &target)?;
            }
        }
    }
    Ok(())
}

/// Checks whether a file is a source, and not something that a build by hand (`make KDIR=…`) left
/// in the checkout.
fn is_source(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    !name.starts_with('.')
        && (matches!(&*extension, "rs" | "c" | "h") || name == "Kbuild" || name == "Kconfig")
        && !name.ends_with(".mod.c")
}

/// Completes a `make modules` command for the sources in `directory`.
pub(crate) fn make(kernel: &KernelTree, mut command: Command, directory: &Path) -> Result<Command> {
    command
        .arg("-C")
        .arg(&kernel.build)
        .arg(format!("M={}", directory.display()));
    kernel::environment(&mut command, &kernel.root)?;
    command.args([&jobs(), "modules"]);
    Ok(command)
}

impl Artifact for Module<'_> {
    fn kind(&self) -> &'static str {
        "module"
    }

    fn title(&self) -> String {
        "driver module".to_owned()
    }

    fn inputs(&self, key: &mut Key) -> Result<()> {
        key.text("kernel", &self.kernel.identity);
        for source in SOURCES {
            for entry in WalkDir::new(self.checkout.join(source)).sort_by_file_name() {
                let entry = entry.with_context(|| format!("no {source} in the checkout"))?;
                if entry.file_type().is_file() && is_source(entry.path()) {
                    let relative = entry
                        .path()
                        .strip_prefix(self.checkout)?
                        .to_string_lossy()
                        .into_owned();
                    key.files(self.checkout, &relative)?;
                }
            }
        }
        Ok(())
    }

    fn build(&self, build: &Build<'_>) -> Result<()> {
        let (here, there) = (
            build.directory.join(Self::SOURCE),
            build.place.join(Self::SOURCE),
        );
        copy_sources(self.checkout, &here)?;
        let sandbox = Sandbox::new(&self.kernel.root);
        let command = sandbox.command_with_mount(build.directory, build.place, "make");
        build
            .step
            .run("compiling", &mut make(self.kernel, command, &there)?)?;
        for name in [Self::DRIVER, Self::KUNIT] {
            std::fs::rename(here.join(name), build.directory.join(name))
                .with_context(|| format!("the build did not make {name}"))?;
        }
        std::fs::copy(build.step.log(), build.directory.join(Self::LOG))?;
        std::fs::remove_dir_all(&here)?;
        Ok(())
    }

    fn outputs(&self) -> Vec<PathBuf> {
        [Self::DRIVER, Self::KUNIT, Self::LOG]
            .iter()
            .map(PathBuf::from)
            .collect()
    }
}

/// Warnings that rustc prints on every call for powerpc. They are about flags of the kernel, not of
/// this project.
const KNOWN_WARNINGS: &[&str] = &[
    "feature specified for `-Ctarget-feature`: `mma`",
    "feature specified for `-Ctarget-feature`: `vsx`",
    "feature specified for `-Ctarget-feature`: `hard-float`",
    "feature specified for `-Ctarget-feature`: `altivec`",
];

/// Returns the warnings in a build's output that are this project's, each with the place that the
/// line after it names.
pub(crate) fn warnings(log: &str) -> Vec<String> {
    let ours = |line: &str| {
        let lower = line.to_ascii_lowercase();
        (lower.contains("warning:") || lower.contains("warning["))
            && !KNOWN_WARNINGS.iter().any(|known| line.contains(known))
            && !lower.ends_with("emitted")
    };
    let mut lines = log.lines().peekable();
    let mut warnings = Vec::new();
    while let Some(line) = lines.next() {
        if ours(line) {
            let place = lines
                .peek()
                .and_then(|next| next.trim().strip_prefix("--> "));
            warnings.push(match place {
                Some(place) => format!("{place}: {line}"),
                None => line.to_owned(),
            });
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_own_warnings_are_forgiven() {
        let log = "  RUSTC [M] drivers/ehea/ehea.o\n\
            warning: unknown and unstable feature specified for `-Ctarget-feature`: `mma`\n  |\n  = note: x\n\
            warning: 4 warnings emitted\nwarning: unused variable: `x`\n  --> a.rs:1:2\nWARNING: modpost: missing MODULE_LICENSE()\n";
        assert_eq!(
            warnings(log),
            [
                "a.rs:1:2: warning: unused variable: `x`",
                "WARNING: modpost: missing MODULE_LICENSE()"
            ]
        );
    }

    #[test]
    fn build_products_are_no_sources() {
        for (name, source) in [
            ("a.rs", true),
            ("Kbuild", true),
            ("a.o", false),
            (".a.o.cmd", false),
            ("a.mod.c", false),
        ] {
            assert_eq!(is_source(Path::new(name)), source, "{name}");
        }
    }
}
