// SPDX-License-Identifier: GPL-2.0
//! Valgrind, whose tool callgrind counts the instructions of a program.
//!
//! It is an artifact of its own, since nothing is built with it: a new version must not cause
//! kernel and QEMU to be built again.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::artifacts::root::{apt_proxy, OPTIONS, SUITE};
use crate::cache::{Artifact, Build};
use crate::key::Key;
use crate::mirror::Mirror;
use crate::prerequisites;

/// Packages of valgrind and of what this project's programs need. The C library is among their
/// dependencies.
const PACKAGES: &[&str] = &["libgcc-s1", "valgrind"];

/// A directory with `usr` and `etc` in which programs run, like that of the build root.
#[derive(Debug)]
pub(crate) struct Callgrind;

impl Callgrind {
    /// Name of the root directory in the entry.
    pub(crate) const TREE: &'static str = "root";
}

impl Artifact for Callgrind {
    fn kind(&self) -> &'static str {
        "callgrind"
    }

    fn title(&self) -> String {
        format!("counter of the host's instructions (valgrind of Debian {SUITE})")
    }

    fn inputs(&self, key: &mut Key) -> Result<()> {
        key.text("suite", SUITE);
        key.text("packages", PACKAGES.join(" "));
        key.text("options", OPTIONS.join(" "));
        Ok(())
    }

    fn build(&self, build: &Build<'_>) -> Result<()> {
        let mirror = Mirror::find()?;
        mirror.check(SUITE)?;
        let mut command = prerequisites::contained("mmdebstrap")?;
        command
            .arg("--variant=extract")
            .arg(format!("--include={}", PACKAGES.join(",")))
            .args(OPTIONS)
            .args(apt_proxy())
            .arg(SUITE)
            .arg(build.directory.join(Self::TREE))
            .arg(mirror.line("deb", SUITE));
        build.step.run("unpacking packages", &mut command)
    }

    fn outputs(&self) -> Vec<PathBuf> {
        // The program itself, because Debian's `valgrind` is a shell script.
        vec![Path::new(Self::TREE).join("usr/bin/valgrind.bin")]
    }
}
