// SPDX-License-Identifier: GPL-2.0
//! Figures that repeat on a noisy machine: counts of hypercalls and of guest instructions.

mod cmo;
mod counter;
mod hotplug;
mod itself;
mod map;
mod peers;
mod symbols;
mod unsafe_code;

use std::collections::BTreeMap;

use anyhow::{bail, Result};

pub use hotplug::CYCLES;
pub use map::Programs;

/// Figures by name.
pub type Figures = BTreeMap<String, f64>;

/// Tells where the instructions of one figure of the group `peers` go, given as `rs-tx-64b`.
pub fn profile(what: &str) -> Result<String> {
    peers::profile(what)
}

/// Groups of figures, for `--only`.
pub const GROUPS: &[&str] = &["bench", "cmo", "hotplug", "map", "peers", "unsafe"];

/// Which figures to take, and with what.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only this group, or all.
    pub only: Option<String>,
    /// How often memory comes and goes, for the group `hotplug`.
    pub cycles: u64,
    /// What the group `map` needs.
    pub programs: Option<Programs>,
    /// Figures of the group `bench` that the caller has taken.
    pub given: Figures,
}

/// Takes figures.
pub fn figures(options: &Options, mut progress: impl FnMut(&str)) -> Result<Figures> {
    let only = options.only.as_deref();
    if let Some(group) = only.filter(|group| !GROUPS.contains(group)) {
        bail!("no group {group}: the groups are {}", GROUPS.join(", "));
    }
    let wanted = |group| only.is_none_or(|only| only == group);
    let mut figures = Figures::new();
    if wanted("unsafe") {
        unsafe_code::measure(&mut figures)?;
    }
    if wanted("bench") {
        itself::measure(&options.given, &mut figures, &mut progress)?;
    }
    if wanted("map") {
        map::measure(options.programs.as_ref(), &mut figures, &mut progress)?;
    }
    if wanted("hotplug") {
        hotplug::measure(&mut figures, options.cycles, &mut progress)?;
    }
    if wanted("cmo") {
        cmo::measure(&mut figures, &mut progress)?;
    }
    if wanted("peers") {
        peers::measure(&mut figures, &mut progress)?;
    }
    Ok(figures)
}
