// SPDX-License-Identifier: GPL-2.0
//! Runs the kernel's own driver selftests in a guest.

use std::process::ExitCode;

use clap::Parser;
use ehea_tests::selftests::{self, Options};

fn main() -> anyhow::Result<ExitCode> {
    selftests::run(&Options::parse())
}
