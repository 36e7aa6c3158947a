// SPDX-License-Identifier: GPL-2.0
//! Figures of the memory map: its size, the cost of a translation, and the calls that register
//! memory.

mod guest;
mod host;
mod registration;

use anyhow::{Context, Result};

pub use self::host::Programs;
use super::Figures;

/// Takes the figures.
pub(super) fn measure(
    programs: Option<&Programs>,
    figures: &mut Figures,
    progress: &mut impl FnMut(&str),
) -> Result<()> {
    let programs =
        programs.context("no program to count with: run this through `cargo xtask bench`")?;
    progress("the memory map on this machine");
    host::measure(programs, figures)?;
    progress("the memory map in the guest's kernel");
    guest::measure(figures)?;
    progress("memory registration");
    registration::measure(figures)
}
