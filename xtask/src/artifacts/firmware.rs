// SPDX-License-Identifier: GPL-2.0
//! Bare-metal firmwares for the machine tier (`tests/machine/firmware`).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ehea_harness::Sandbox;

use crate::artifacts::root::BuildRoot;
use crate::cache::{Artifact, Build, Entry};
use crate::key::Key;

/// Directory of the sources in the checkout.
const SOURCES: &str = "tests/machine/firmware";

/// Options of the assembler. The code is big-endian, because the machine starts so.
const ASSEMBLER: &[&str] = &[
    "--target=powerpc64-linux-gnu",
    "-mcpu=pwr9",
    "-Wall",
    "-Werror",
    "-c",
];

/// Options of the linker, which makes a plain image of memory from address 0 on.
const LINKER: &[&str] = &["--oformat=binary", "-Ttext=0", "-e", "_start"];

/// All firmwares, one file each.
#[derive(Debug)]
pub(crate) struct Firmwares<'a> {
    /// The build root, with the assembler.
    pub(crate) root: &'a Entry,
    /// The checkout.
    pub(crate) checkout: &'a Path,
}

impl Firmwares<'_> {
    /// Returns the names of the firmwares, which are those of their sources without `.S`.
    fn names(&self) -> Result<Vec<String>> {
        let directory = self.checkout.join(SOURCES);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&directory)
            .with_context(|| format!("cannot read {}", directory.display()))?
        {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "S") {
                let name = path.file_stem().unwrap_or_default();
                names.push(name.to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }
}

impl Artifact for Firmwares<'_> {
    fn kind(&self) -> &'static str {
        "firmware"
    }

    fn title(&self) -> String {
        "firmwares".to_owned()
    }

    fn inputs(&self, key: &mut Key) -> Result<()> {
        key.text("build root", &self.root.identity);
        key.text("assembler", ASSEMBLER.join(" "));
        key.text("linker", LINKER.join(" "));
        key.files(self.checkout, SOURCES)
    }

    fn build(&self, build: &Build<'_>) -> Result<()> {
        let sandbox = Sandbox::new(&self.root.path(BuildRoot::TREE));
        for name in self.names()? {
            let object = build.directory.join(format!("{name}.o"));
            let mut command = sandbox.command("clang-19");
            command.args(ASSEMBLER).arg("-o").arg(&object);
            command.arg(self.checkout.join(SOURCES).join(format!("{name}.S")));
            build.step.run("assembling", &mut command)?;
            let mut command = sandbox.command("ld.lld-19");
            command.args(LINKER).arg("-o");
            command.arg(build.directory.join(format!("{name}.bin")));
            command.arg(&object);
            build.step.run("linking", &mut command)?;
        }
        Ok(())
    }

    fn outputs(&self) -> Vec<PathBuf> {
        // build() has reported what cannot be listed.
        let names = self.names().unwrap_or_default();
        names
            .iter()
            .map(|name| format!("{name}.bin").into())
            .collect()
    }
}
