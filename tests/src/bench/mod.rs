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

/// Returns where the instructions of one figure of the group `peers` are executed. `what` has the
/// form `rs-tx-64b`.
pub fn profile(what: &str) -> Result<String> {
    peers::profile(what)
}

/// Groups of figures, for `--only`.
pub const GROUPS: &[&str] = &["bench", "cmo", "hotplug", "house", "map", "peers", "unsafe"];

/// Figures to take, and what is needed for them.
#[derive(Clone, Debug)]
pub struct Options {
    /// Group to take; `None` for all.
    pub only: Option<String>,
    /// Number of times that memory comes and goes, for the group `hotplug`.
    pub cycles: u64,
    /// Programs that the group `map` needs.
    pub programs: Option<Programs>,
    /// Figures of these groups that the caller has taken: all of `house`, some of `bench`.
    pub given: Figures,
}

/// Takes figures and adds each to `figures` at once. Figures before an error have been taken.
pub fn measure(
    options: &Options,
    figures: &mut Figures,
    mut progress: impl FnMut(&str),
) -> Result<()> {
    let only = options.only.as_deref();
    if let Some(group) = only.filter(|group| !GROUPS.contains(group)) {
        bail!("no group {group}: the groups are {}", GROUPS.join(", "));
    }
    figures.extend(options.given.clone());
    let wanted = |group| only.is_none_or(|only| only == group);
    if wanted("unsafe") {
        unsafe_code::measure(figures)?;
    }
    if wanted("map") {
        map::measure(options.programs.as_ref(), figures, &mut progress)?;
    }
    if wanted("hotplug") {
        hotplug::measure(figures, options.cycles, &mut progress)?;
    }
    if wanted("cmo") {
        cmo::measure(figures, &mut progress)?;
    }
    if wanted("peers") {
        peers::measure(figures, &mut progress)?;
    }
    if wanted("bench") {
        itself::measure(figures, &mut progress)?;
    }
    Ok(())
}
