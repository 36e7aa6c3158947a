// SPDX-License-Identifier: GPL-2.0
//! Counts of the last whole run of the scenarios.

use anyhow::{Context, Result};

use crate::bench::Figures;
use crate::system::System;
use crate::totals::Totals;

/// Takes the figure `reraised_in_all_scenarios`.
///
/// # Errors
///
/// The scenarios have not run, or not on this build.
pub(super) fn measure(figures: &mut Figures) -> Result<()> {
    let totals = Totals::read(System::Ours)?;
    let reraised = totals.unwanted.get("reraised");
    let reraised = reraised.context("target/scenarios.json has no reraised")?;
    figures.insert("reraised_in_all_scenarios".to_owned(), *reraised as f64);
    Ok(())
}
