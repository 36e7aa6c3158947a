// SPDX-License-Identifier: GPL-2.0
//! Counts of unwanted events in the model, by scenario and over a run.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{ensure, Context, Result};
use ehea_model::stats::Stats;
use serde::{Deserialize, Serialize};

use crate::lab::Lab;
use crate::system::System;

/// Names of unwanted events, and what it means if they happen.
pub const UNWANTED: [(&str, &str); 5] = [
    (
        "reraised",
        "completion events were raised again, because nobody had looked at completions for too long",
    ),
    ("ignored_mmio", "register accesses did nothing"),
    (
        "removed_accesses",
        "the adapter was to use memory that had been given back to the machine",
    ),
    (
        "late_accesses",
        "accesses of the adapter were under way to memory whose owner was freed",
    ),
    ("reentries", "the model was called from within itself"),
];

/// Counts by name, those of [`UNWANTED`].
pub type Counts = BTreeMap<String, u64>;

/// Returns the counts of unwanted events, over all of the statistics' time.
pub fn unwanted(stats: &Stats) -> Counts {
    let counts = [
        stats.reraised,
        stats.ignored_mmio,
        stats.removed_accesses,
        stats.late_accesses,
        stats.reentries,
    ];
    let names = UNWANTED.map(|(name, _)| name.to_owned());
    names.into_iter().zip(counts).collect()
}

/// Totals of a run of scenarios, for `target/scenarios.json` and `target/witness.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Number of scenarios that were run.
    pub scenarios: u64,
    /// Counts of events for which no scenario asked.
    pub unwanted: Counts,
    /// Counts of events for which scenarios asked.
    pub asked_for: Counts,
    /// Number of calls that firmware of its own accord did not look at.
    pub moody_answers: u64,
}

/// Contents of the file of a run.
#[derive(Debug, Serialize, Deserialize)]
struct Recorded {
    /// Files of which the guests were made: QEMU with the model, kernel and driver. The cache names
    /// each file by its inputs.
    guests: Vec<PathBuf>,
    #[serde(flatten)]
    totals: Totals,
}

impl Recorded {
    /// Returns the files of which guests are made now.
    fn guests(system: System) -> Result<Vec<PathBuf>> {
        let kernel = system.kernel()?;
        let mut parts = vec![system.artifacts()?.qemu, kernel.vmlinux];
        parts.extend(kernel.module);
        Ok(parts)
    }
}

impl Totals {
    /// Adds the counts since the current scenario of `lab` began.
    pub fn add(&mut self, lab: &Lab) {
        self.scenarios += 1;
        // A guest that does not answer has failed already.
        let Ok(counts) = lab.unwanted() else {
            return;
        };
        for (name, count) in counts {
            let totals = match lab.expects(&name) {
                true => &mut self.asked_for,
                false => &mut self.unwanted,
            };
            *totals.entry(name).or_default() += count;
        }
        self.moody_answers += lab.moody_answers().unwrap_or_default();
    }

    /// Returns the file of a driver's scenarios, beside the directory of the guests' logs.
    fn path(system: System) -> Result<PathBuf> {
        let logs = system.artifacts()?.logs;
        let target = logs.parent().context("the guests' logs are nowhere")?;
        Ok(target.join(match system {
            System::Ours => "scenarios.json",
            System::Witness => "witness.json",
        }))
    }

    /// Writes the totals to the file that [`Totals::read`] reads.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write(self, system: System) -> Result<()> {
        let path = Self::path(system)?;
        let recorded = Recorded {
            guests: Recorded::guests(system)?,
            totals: self,
        };
        std::fs::write(&path, serde_json::to_string_pretty(&recorded)? + "\n")
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Reads the totals of the last whole run of a driver's scenarios.
    ///
    /// # Errors
    ///
    /// There was no run, or its guests were made of other files than those of now.
    pub fn read(system: System) -> Result<Self> {
        let path = Self::path(system)?;
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "no {}: run `cargo xtask test --tier e2e` first",
                path.display()
            )
        })?;
        let recorded: Recorded = serde_json::from_str(&text)
            .with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(
            recorded.guests == Recorded::guests(system)?,
            "{} is of another build: run `cargo xtask test --tier e2e` again",
            path.display()
        );
        Ok(recorded.totals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_reads_back() {
        let recorded = Recorded {
            guests: vec!["qemu".into(), "vmlinux".into()],
            totals: Totals {
                scenarios: 3,
                unwanted: [("reraised".to_owned(), 2)].into(),
                ..Totals::default()
            },
        };
        let text = serde_json::to_string_pretty(&recorded).unwrap();
        let read: Recorded = serde_json::from_str(&text).unwrap();
        assert_eq!(read.guests, recorded.guests);
        assert_eq!(read.totals.scenarios, 3);
        assert_eq!(read.totals.unwanted, recorded.totals.unwanted);
    }
}
