// SPDX-License-Identifier: GPL-2.0
//! Cargo of the build root, with which all machines find the same lints and count the same instructions.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use ehea_harness::Sandbox;

use super::root;
use crate::artifacts::crates::Crates;
use crate::context::Context;

/// Variables by which tools of this machine would be used instead of the build root's.
const TOOLS: &[&str] = &[
    "CARGO",
    "RUSTC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOC",
    "RUSTUP_TOOLCHAIN",
];

/// Runs cargo of the build root in the checkout. It never uses the network: the crates were fetched by
/// this machine's own cargo.
#[derive(Debug)]
pub(crate) struct Inside<'a> {
    context: &'a Context,
    sandbox: Sandbox,
    /// Of its own: what this machine's cargo is configured for is not in the build root.
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

    /// As on a machine without a network, with nothing in cargo's home directory, which is `home`.
    pub(crate) fn alone(self, home: &Path) -> Self {
        Self {
            sandbox: self.sandbox.without_network(),
            home: home.to_owned(),
            ..self
        }
    }

    /// A subcommand of `program`, which is `cargo` or one of its subcommands' programs.
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
