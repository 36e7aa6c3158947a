// SPDX-License-Identifier: GPL-2.0
//! Kernel of the witness: Debian's Linux 6.12, which contains the original C driver.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, ensure, Context, Result};
use ehea_harness::Sandbox;

use super::{WitnessRoot, CROSS};
use crate::artifacts::jobs;
use crate::artifacts::kconfig::Configuration;
use crate::artifacts::kernel::BUILD_IDENTITY;
use crate::cache::{Artifact, Build, Entry};
use crate::key::{hash_file, Key};

/// Path of the tarball in the build root.
const TARBALL: &str = "/usr/src/linux-source-6.12.tar.xz";

/// File with the hashes of the driver's files, in the format of `sha256sum`.
const HASHES: &str = "kernel/witness.sha256";

/// Directory of the driver in the kernel's source.
const DRIVER: &str = "drivers/net/ethernet/ibm/ehea";

/// Configuration fragments; witness.config explains them.
const FRAGMENTS: [&str; 3] = [
    "kernel/ehea.config",
    "kernel/64k.config",
    "kernel/witness.config",
];

/// Files of a build that guests need besides the modules.
const KEPT: &[&str] = &[
    "vmlinux",
    "System.map",
    ".config",
    "modules.order",
    "modules.builtin",
    "modules.builtin.modinfo",
    "include/config/kernel.release",
];

/// The witness's kernel with its modules.
#[derive(Debug)]
pub(crate) struct WitnessKernel<'a> {
    /// The witness's build root.
    pub(crate) root: &'a Entry,
    /// The checkout, with the configuration fragments and the hashes.
    pub(crate) checkout: &'a Path,
}

/// Fails unless the files in `directory` are exactly those whose hashes are in `list`.
fn check_files(directory: &Path, list: &str) -> Result<()> {
    let mut expected = 0;
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let (hash, name) = line
            .split_once("  ")
            .with_context(|| format!("{HASHES}: not a line of sha256sum: {line}"))?;
        let found = hash_file(&directory.join(name))?;
        ensure!(
            found == hash,
            "{DRIVER}/{name} is not the file that the witness is made of: its SHA-256 is {found} instead \
             of {hash} ({HASHES})"
        );
        expected += 1;
    }
    let found = fs::read_dir(directory)?.count();
    ensure!(
        found == expected,
        "{DRIVER} has {found} files instead of {expected} ({HASHES})"
    );
    Ok(())
}

impl WitnessKernel<'_> {
    /// Name of the image in the entry, beside the modules.
    pub(crate) const IMAGE: &'static str = "vmlinux";

    const SOURCE: &'static str = "source";
    const BUILD: &'static str = "build";

    fn make(&self, sandbox: &Sandbox, build: &Build<'_>) -> Command {
        let mut command = sandbox.command_with_mount(build.directory, build.place, "make");
        command.arg("-C").arg(build.place.join(Self::SOURCE));
        command.arg(format!("O={}", build.place.join(Self::BUILD).display()));
        command.args(["ARCH=powerpc", &format!("CROSS_COMPILE={CROSS}")]);
        command.envs(BUILD_IDENTITY.iter().copied());
        command
    }

    /// Moves what guests need to the entry and removes the rest.
    fn keep(&self, directory: &Path) -> Result<()> {
        let built = directory.join(Self::BUILD);
        let order = fs::read_to_string(built.join("modules.order"))?;
        let modules = order.lines().map(|line| {
            let name = line.strip_suffix(".o").unwrap_or(line);
            format!("{}.ko", name.trim_end_matches(".ko"))
        });
        for name in KEPT.iter().map(|&name| name.to_owned()).chain(modules) {
            let to = directory.join(&name);
            let Some(parent) = to.parent() else {
                bail!("{name} has no directory");
            };
            fs::create_dir_all(parent)?;
            fs::rename(built.join(&name), &to)
                .with_context(|| format!("the build did not make {name}"))?;
        }
        fs::remove_dir_all(&built)?;
        Ok(fs::remove_dir_all(directory.join(Self::SOURCE))?)
    }
}

impl Artifact for WitnessKernel<'_> {
    fn kind(&self) -> &'static str {
        "witness-kernel"
    }

    fn title(&self) -> String {
        "kernel of the witness (Linux 6.12, big-endian)".to_owned()
    }

    fn inputs(&self, key: &mut Key) -> Result<()> {
        key.text("build root", &self.root.identity);
        for path in FRAGMENTS.iter().chain([&HASHES]) {
            key.files(self.checkout, path)?;
        }
        Ok(())
    }

    fn build(&self, build: &Build<'_>) -> Result<()> {
        let sandbox = Sandbox::new(&self.root.path(WitnessRoot::TREE));
        let [source, directory] = [Self::SOURCE, Self::BUILD].map(|d| build.directory.join(d));
        fs::create_dir_all(&source)?;
        fs::create_dir_all(&directory)?;
        let mut command = sandbox.command("tar");
        command
            .args(["--strip-components=1", "-xJf", TARBALL, "-C"])
            .arg(&source);
        build.step.run("unpacking", &mut command)?;
        let list = fs::read_to_string(self.checkout.join(HASHES))
            .with_context(|| format!("cannot read {HASHES}"))?;
        check_files(&source.join(DRIVER), &list)?;

        let fragments = FRAGMENTS.map(|f| self.checkout.join(f));
        let configuration = Configuration {
            sandbox: &sandbox,
            source: &source,
            directory: &directory,
            place: &build.place.join(Self::BUILD),
            fragments: &fragments,
        };
        configuration.write(build, || Ok(self.make(&sandbox, build)))?;
        let mut command = self.make(&sandbox, build);
        command.args([&jobs(), "vmlinux", "modules"]);
        build.step.run("compiling", &mut command)?;
        self.keep(build.directory)
    }

    fn is_resumable(&self) -> bool {
        true
    }

    fn outputs(&self) -> Vec<PathBuf> {
        let mut outputs: Vec<_> = KEPT.iter().map(PathBuf::from).collect();
        outputs.push(Path::new(DRIVER).join("ehea.ko"));
        outputs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_missing_or_new_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let check = |list: &str| check_files(directory.path(), list).map_err(|e| format!("{e:#}"));
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let list = format!("# remark\n{hash}  a.c\n");
        assert!(check(&list).unwrap_err().contains("a.c"));
        fs::write(directory.path().join("a.c"), "abc").unwrap();
        check(&list).unwrap();
        fs::write(directory.path().join("b.c"), "").unwrap();
        assert!(check(&list).unwrap_err().contains("2 files instead of 1"));
        fs::remove_file(directory.path().join("b.c")).unwrap();
        fs::write(directory.path().join("a.c"), "abd").unwrap();
        assert!(check(&list).unwrap_err().contains("a.c is not the file"));
        assert!(check(hash).unwrap_err().contains("not a line"));
    }
}
