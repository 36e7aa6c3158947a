// SPDX-License-Identifier: GPL-2.0
//! Valgrind, whose tool callgrind counts a program's instructions.
//!
//! An artifact of its own, since nothing is made with it: a new version must not have kernel and QEMU
//! made again.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::artifacts::root::{apt_proxy, OPTIONS, SUITE};
use crate::cache::{Artifact, Build};
use crate::key::Key;
use crate::mirror::Mirror;
use crate::prerequisites;

/// Valgrind, and what our own programs need; the C library comes along.
const PACKAGES: &[&str] = &["libgcc-s1", "valgrind"];

/// A directory with `usr` and `etc` to run programs with, as the build root has them.
#[derive(Debug)]
pub(crate) struct Callgrind;

impl Callgrind {
    /// The root directory in an entry.
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
        // The program itself: what Debian calls `valgrind` is a shell script.
        vec![Path::new(Self::TREE).join("usr/bin/valgrind.bin")]
    }
}
