// SPDX-License-Identifier: GPL-2.0
//! Figures about the test-bench: what it does that no machine does, and what it takes.

mod scenarios;
mod work;

use anyhow::Result;

use super::Figures;
use crate::machine::{misrouted, stale_code};

/// Number of DIMMs that are plugged in while a register is read.
const PLUGS: u64 = 200;

/// Number of times that a DIMM with code is exchanged for another.
const EXCHANGES: u64 = 20;

/// Takes the figures, but for those of the set-up.
pub(super) fn measure(figures: &mut Figures, progress: &mut impl FnMut(&str)) -> Result<()> {
    progress("accesses while memory comes");
    let misrouted = misrouted(PLUGS)?;
    figures.insert(
        format!("misrouted_mmio_in_{PLUGS}_plugs"),
        (misrouted.by_adapter + misrouted.by_firmware) as f64,
    );
    progress("code in memory that was exchanged");
    let stale = stale_code(EXCHANGES)?;
    figures.insert("stale_code_runs".to_owned(), stale as f64);
    progress("the longest turns of the adapter");
    let longest = work::longest()?;
    figures.insert("longest_work_frames".to_owned(), longest.frames as f64);
    figures.insert("longest_work_bytes".to_owned(), longest.bytes as f64);
    scenarios::measure(figures)
}
