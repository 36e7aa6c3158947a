// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask shell`: starts an interactive guest.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::commands::guest::GuestOptions;
use crate::commands::Task;
use crate::context::Context;

/// Boots a guest with the adapter and the built module, and shows its console. Ctrl-A X ends it;
/// Ctrl-A C switches to QEMU's monitor.
#[derive(Args, Debug)]
pub(crate) struct ShellCommand {
    #[command(flatten)]
    options: GuestOptions,
    /// Files to copy into the guest.
    files: Vec<PathBuf>,
}

impl Task for ShellCommand {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let mut builder = self.options.builder(context)?.name("shell");
        for file in &self.files {
            builder = builder.file(file)?;
        }
        let status = builder.interactive()?;
        Ok(if status.success() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}
