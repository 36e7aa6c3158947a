// SPDX-License-Identifier: GPL-2.0
//! Shows the driver at work, step by step.

fn main() -> anyhow::Result<()> {
    ehea_tests::demo::run()
}
