// SPDX-License-Identifier: GPL-2.0
//! Crates that `Cargo.lock` names, for the cargo of the build root.
//!
//! This machine's own cargo fetches them with its configured proxy, certificates and mirror. The
//! build root has no such configuration.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::cache::{Artifact, Build};
use crate::key::Key;
use crate::prerequisites;

/// The crates, as `cargo vendor` stores them.
#[derive(Debug)]
pub(crate) struct Crates<'a> {
    /// The checkout.
    pub(crate) checkout: &'a Path,
}

impl Crates<'_> {
    /// Name of the cargo configuration that makes cargo use the crates, in the entry.
    pub(crate) const CONFIGURATION: &'static str = "config.toml";

    const LOCK: &'static str = "Cargo.lock";
    const DIRECTORY: &'static str = "crates";
}

impl Artifact for Crates<'_> {
    fn kind(&self) -> &'static str {
        "crates"
    }

    fn title(&self) -> String {
        "crates for the build root's cargo".to_owned()
    }

    fn inputs(&self, key: &mut Key) -> Result<()> {
        key.files(self.checkout, Self::LOCK)
    }

    fn build(&self, build: &Build<'_>) -> Result<()> {
        let mut command = prerequisites::cargo()?;
        command
            .args(["vendor", "--locked", "--versioned-dirs"])
            // Without this option, a mirror that replaces the registry would not be used.
            .arg("--respect-source-config")
            .arg(build.directory.join(Self::DIRECTORY))
            .current_dir(self.checkout);
        build.step.run("fetching", &mut command)?;
        let configuration = format!(
            "[source.crates-io]\nreplace-with = \"fetched\"\n\n[source.fetched]\ndirectory = {:?}\n",
            build.place.join(Self::DIRECTORY)
        );
        std::fs::write(build.directory.join(Self::CONFIGURATION), configuration)?;
        Ok(())
    }

    fn outputs(&self) -> Vec<PathBuf> {
        vec![Self::CONFIGURATION.into()]
    }
}
