// SPDX-License-Identifier: GPL-2.0
//! Commands of the tool, one file each.

pub(crate) mod bench;
pub(crate) mod build;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod guest;
pub(crate) mod selftests;
pub(crate) mod shell;
pub(crate) mod test;
pub(crate) mod witness;

use std::process::ExitCode;

use anyhow::Result;

use crate::context::Context;

/// A command with its arguments.
pub(crate) trait Task {
    /// Runs the command. The exit code is the command's own; an error means exit code 1.
    fn run(self, context: &Context) -> Result<ExitCode>;
}
