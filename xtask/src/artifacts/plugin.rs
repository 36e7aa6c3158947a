// SPDX-License-Identifier: GPL-2.0
//! Plugin of QEMU that counts guest instructions (`qemu/plugin/`).

use std::path::{Path, PathBuf};

use anyhow::{ensure, Context, Result};
use ehea_harness::Sandbox;

use crate::artifacts::qemu::QemuTree;
use crate::artifacts::root::BuildRoot;
use crate::cache::{Artifact, Build, Entry};
use crate::key::Key;

/// Directory of the sources in the checkout.
const SOURCES: &str = "qemu/plugin";

/// Options of the compiler.
const OPTIONS: &[&str] = &[
    "-std=gnu11",
    "-O2",
    "-Wall",
    "-Wextra",
    "-Wstrict-prototypes",
    "-Wmissing-prototypes",
    "-Wshadow",
    "-Werror",
    "-shared",
    "-fPIC",
];

/// The plugin, a shared object.
#[derive(Debug)]
pub(crate) struct Plugin<'a> {
    /// The build root, with the compiler and glib.
    pub(crate) root: &'a Entry,
    /// Source of QEMU, with the header for plugins.
    pub(crate) tree: &'a Entry,
    /// The checkout.
    pub(crate) checkout: &'a Path,
}

impl Plugin<'_> {
    /// Name of the plugin in the entry.
    pub(crate) const OBJECT: &'static str = "count.so";
}

impl Artifact for Plugin<'_> {
    fn kind(&self) -> &'static str {
        "plugin"
    }

    fn title(&self) -> String {
        "instruction counter".to_owned()
    }

    fn inputs(&self, key: &mut Key) -> Result<()> {
        key.text("tree", &self.tree.identity);
        key.text("options", OPTIONS.join(" "));
        key.files(self.checkout, SOURCES)
    }

    fn build(&self, build: &Build<'_>) -> Result<()> {
        let sandbox = Sandbox::new(&self.root.path(BuildRoot::TREE));
        let output = sandbox
            .command("pkg-config")
            .args(["--cflags", "--libs", "glib-2.0"])
            .output()
            .context("cannot run pkg-config")?;
        ensure!(output.status.success(), "the build root has no glib");
        let glib = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut command = sandbox.command("gcc");
        command
            .args(OPTIONS)
            .arg("-I")
            .arg(self.tree.path(QemuTree::HEADERS))
            .arg("-o")
            .arg(build.directory.join(Self::OBJECT))
            .arg(self.checkout.join(SOURCES).join("count.c"))
            .args(glib.split_whitespace());
        build.step.run("compiling", &mut command)
    }

    fn outputs(&self) -> Vec<PathBuf> {
        vec![Self::OBJECT.into()]
    }
}
