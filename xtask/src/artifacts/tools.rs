// SPDX-License-Identifier: GPL-2.0
//! This project's own small programs for the guest (`guest-tools/`).

use std::path::{Path, PathBuf};

use anyhow::Result;
use ehea_harness::Sandbox;

use crate::artifacts::root::BuildRoot;
use crate::artifacts::witness::CROSS;
use crate::cache::{Artifact, Build, Entry};
use crate::key::Key;

/// Directory of the sources in the checkout.
const SOURCES: &str = "guest-tools";

/// The programs, in one static executable.
#[derive(Debug)]
pub(crate) struct GuestTools<'a> {
    /// The build root, with the cross compiler.
    pub(crate) root: &'a Entry,
    /// The checkout.
    pub(crate) checkout: &'a Path,
    /// Kind of the guest for which they are.
    pub(crate) machine: Machine,
}

/// Byte order of a guest.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Machine {
    /// ppc64le, for which the makefile compiles by default.
    LittleEndian,
    /// ppc64, that of the witness.
    BigEndian,
}

impl GuestTools<'_> {
    /// Name of the executable in the entry.
    pub(crate) const PROGRAM: &'static str = "ehea-net";
}

impl Artifact for GuestTools<'_> {
    fn kind(&self) -> &'static str {
        match self.machine {
            Machine::LittleEndian => "guest-tools",
            Machine::BigEndian => "witness-tools",
        }
    }

    fn title(&self) -> String {
        match self.machine {
            Machine::LittleEndian => "programs for the guest".to_owned(),
            Machine::BigEndian => "programs for the witness's guest".to_owned(),
        }
    }

    fn inputs(&self, key: &mut Key) -> Result<()> {
        key.text("build root", &self.root.identity);
        key.files(self.checkout, SOURCES)
    }

    fn build(&self, build: &Build<'_>) -> Result<()> {
        let mut command = Sandbox::new(&self.root.path(BuildRoot::TREE)).command("make");
        command
            .arg("-C")
            .arg(self.checkout.join(SOURCES))
            .arg(format!("O={}", build.directory.display()));
        if let Machine::BigEndian = self.machine {
            command.arg(format!("CROSS_COMPILE={CROSS}"));
        }
        build.step.run("compiling", &mut command)
    }

    fn outputs(&self) -> Vec<PathBuf> {
        vec![Self::PROGRAM.into()]
    }
}
