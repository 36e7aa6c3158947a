// SPDX-License-Identifier: GPL-2.0
//! Source of the kernel with this project's patches.

use std::path::{Path, PathBuf};

use anyhow::{ensure, Result};
use ehea_harness::Sandbox;

use crate::artifacts::root::BuildRoot;
use crate::cache::{Artifact, Build, Entry};
use crate::key::Key;

/// Path of the source package in the build root.
const TARBALL: &str = "/usr/src/linux-source-7.3.tar.xz";

/// Name of the directory in the package.
const TOP: &str = "linux-source-7.3";

/// Large directories without which powerpc kernels and modules build.
const EXCLUDED: &[&str] = &[
    "drivers/gpu/drm/amd/include",
    "Documentation/devicetree",
    "tools/testing",
];

/// The patched kernel source.
#[derive(Debug)]
pub(crate) struct KernelSource<'a> {
    /// The build root, which holds the tarball.
    pub(crate) root: &'a Entry,
    /// The checkout, with the patches.
    pub(crate) checkout: &'a Path,
    /// True if the source includes the patches for debug kernels. Other kernels do not change with
    /// them.
    pub(crate) debug: bool,
}

impl KernelSource<'_> {
    /// Name of the source directory in the entry.
    pub(crate) const TREE: &'static str = "linux";

    /// Returns the directories of patches in the checkout, in order.
    fn patches(&self) -> &'static [&'static str] {
        match self.debug {
            false => &["kernel/patches"],
            true => &["kernel/patches", "kernel/debug-patches"],
        }
    }
}

/// Unpacks the kernel's source package into `tree`, without the directories `excluded`.
pub(crate) fn unpack(
    build: &Build<'_>,
    sandbox: &Sandbox,
    excluded: &[&str],
    tree: &Path,
) -> Result<()> {
    std::fs::create_dir(tree)?;
    let mut command = sandbox.command("tar");
    command.args(["--strip-components=1", "-xJf", TARBALL]);
    command
        .args(
            excluded
                .iter()
                .map(|path| format!("--exclude={TOP}/{path}/*")),
        )
        .arg("-C")
        .arg(tree);
    build.step.run("unpacking", &mut command)
}

/// Returns the patches in a directory, in order.
pub(crate) fn patches(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "patch") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

impl Artifact for KernelSource<'_> {
    fn kind(&self) -> &'static str {
        "kernel-source"
    }

    fn title(&self) -> String {
        match self.debug {
            false => "kernel source".to_owned(),
            true => "source of debug kernels".to_owned(),
        }
    }

    fn inputs(&self, key: &mut Key) -> Result<()> {
        key.text("build root", &self.root.identity);
        key.text("excluded", EXCLUDED.join(" "));
        for directory in self.patches() {
            key.files(self.checkout, directory)?;
        }
        Ok(())
    }

    fn build(&self, build: &Build<'_>) -> Result<()> {
        let sandbox = Sandbox::new(&self.root.path(BuildRoot::TREE));
        let tree = build.directory.join(Self::TREE);
        unpack(build, &sandbox, EXCLUDED, &tree)?;
        for directory in self.patches() {
            let patches = patches(&self.checkout.join(directory))?;
            ensure!(!patches.is_empty(), "no patches in {directory}");
            for patch in patches {
                let mut command = sandbox.command("patch");
                command
                    .args(["-p1", "--forward", "-i"])
                    .arg(&patch)
                    .current_dir(&tree);
                build.step.run("patching", &mut command)?;
            }
        }
        Ok(())
    }

    fn outputs(&self) -> Vec<PathBuf> {
        [
            "Makefile",
            "Kconfig",
            "rust/kernel/lib.rs",
            "scripts/checkpatch.pl",
            "include/linux/netdevice.h",
        ]
        .iter()
        .map(|path| Path::new(Self::TREE).join(path))
        .collect()
    }
}
