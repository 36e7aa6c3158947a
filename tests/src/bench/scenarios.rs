// SPDX-License-Identifier: GPL-2.0
//! What the last whole run of the scenarios has counted.

use anyhow::{ensure, Context, Result};

use super::Figures;
use crate::system::System;
use crate::totals::Totals;

/// Takes the figure `reraised_in_all_scenarios`.
///
/// # Errors
///
/// The scenarios have not run, or only some of them.
pub(super) fn measure(figures: &mut Figures) -> Result<()> {
    let totals = Totals::read(System::Ours)?;
    ensure!(
        totals.whole,
        "the last run had {} scenarios, not all: run `cargo xtask test --tier e2e` first",
        totals.scenarios
    );
    let reraised = totals.unwanted.get("reraised");
    let reraised = reraised.context("target/scenarios.json has no reraised")?;
    figures.insert("reraised_in_all_scenarios".to_owned(), *reraised as f64);
    Ok(())
}
