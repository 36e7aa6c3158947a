// SPDX-License-Identifier: GPL-2.0
//! Figures that repeat on a noisy machine: counts of hypercalls and of guest instructions.

mod cmo;
mod memory;
mod peers;
mod unsafe_code;

use std::collections::BTreeMap;

use anyhow::{bail, Result};

/// Figures by name.
pub type Figures = BTreeMap<String, f64>;

/// Tells where the instructions of one figure of the group `peers` go, given as `rs-tx-64b`.
pub fn profile(what: &str) -> Result<String> {
    peers::profile(what)
}

/// Groups of figures, for `--only`.
pub const GROUPS: &[&str] = &["cmo", "memory", "peers", "unsafe"];

/// Takes the figures of a group, or all.
pub fn figures(only: Option<&str>, mut progress: impl FnMut(&str)) -> Result<Figures> {
    if let Some(group) = only.filter(|group| !GROUPS.contains(group)) {
        bail!("no group {group}: the groups are {}", GROUPS.join(", "));
    }
    let wanted = |group| only.is_none_or(|only| only == group);
    let mut figures = Figures::new();
    if wanted("unsafe") {
        unsafe_code::measure(&mut figures)?;
    }
    if wanted("memory") {
        progress("memory registration");
        memory::measure(&mut figures)?;
    }
    if wanted("cmo") {
        cmo::measure(&mut figures, &mut progress)?;
    }
    if wanted("peers") {
        peers::measure(&mut figures, &mut progress)?;
    }
    Ok(figures)
}
