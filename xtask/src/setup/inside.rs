// SPDX-License-Identifier: GPL-2.0
//! Cargo of the build root, with which all machines find the same lints and count the same
//! instructions.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use ehea_harness::Sandbox;

use super::root;
use crate::artifacts::crates::Crates;
use crate::context::Context;

/// Variables that would make tools of this machine be used instead of the build root's.
const TOOLS: &[&str] = &[
    "CARGO",
    "RUSTC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOC",
    "RUSTUP_TOOLCHAIN",
];

/// Runner of the build root's cargo in the checkout. It never uses the network, because this
/// machine's own cargo has fetched the crates.
#[derive(Debug)]
pub(crate) struct Inside<'a> {
    context: &'a Context,
    sandbox: Sandbox,
    /// Cargo's home directory. It is a separate one, because the build root does not have what this
    /// machine's cargo is configured for.
    home: PathBuf,
    crates: PathBuf,
}

impl<'a> Inside<'a> {
    /// Makes what cargo needs.
    pub(crate) fn new(context: &'a Context) -> Result<Self> {
        let checkout = &context.checkout;
        let crates = context.cache.ensure(&Crates { checkout })?;
        Ok(Self {
            context,
            sandbox: Sandbox::new(&root(context)?),
            home: context.target().join("cargo-home"),
            crates: crates.path(Crates::CONFIGURATION),
        })
    }

    /// Returns the same without a network and with the home directory `home`, which is empty.
    pub(crate) fn alone(self, home: &Path) -> Self {
        Self {
            sandbox: self.sandbox.without_network(),
            home: home.to_owned(),
            ..self
        }
    }

    /// Returns a command for a subcommand of `program`, which is `cargo` or the program of one of
    /// its subcommands.
    pub(crate) fn cargo(&self, program: &str, subcommand: &str) -> Command {
        let mut command = self.sandbox.command(program);
        command
            .args([subcommand, "--frozen", "--config"])
            .arg(&self.crates)
            .env("CARGO_HOME", &self.home)
            .current_dir(&self.context.checkout);
        for variable in TOOLS {
            command.env_remove(variable);
        }
        command
    }
}
