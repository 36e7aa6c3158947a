// SPDX-License-Identifier: GPL-2.0
//! Bytes and instructions of the map on this machine, measured with the program `ehea-bench-map`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{ensure, Context, Result};
use ehea_harness::Sandbox;

use crate::bench::Figures;

/// Programs for the measurement.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Path of `ehea-bench-map`.
    pub map: PathBuf,
    /// Root directory with valgrind and everything that `map` needs.
    pub callgrind: PathBuf,
}

/// Layouts whose maps are measured in bytes, by their names in the program and in figures.
const BYTES: [(&str, &str); 4] = [
    ("2g", "2g"),
    ("sparse", "sparse_16g_16g"),
    ("64t", "64t"),
    ("1t-alternating", "1t_alternating"),
];

/// Translations that are counted: the translator, the layout, and the figure.
const TRANSLATIONS: [(&str, &str, &str); 8] = [
    ("map", "64g", "contiguous"),
    ("map", "16", "16_runs"),
    ("map", "1024", "1024_runs"),
    ("map", "1024-irregular", "1024_irregular_runs"),
    ("map", "1024-clustered", "1024_clustered_runs"),
    ("table", "64g", "table_contiguous"),
    ("table", "16", "table_16_runs"),
    ("table", "1024", "table_1024_runs"),
];

/// Number of translations of the shorter run: each existing address once. The longer run has three
/// times as many.
const COUNT: u64 = 8192;

/// Takes the figures.
pub(super) fn measure(programs: &Programs, figures: &mut Figures) -> Result<()> {
    for (layout, label) in BYTES {
        let bytes = output(Command::new(&programs.map).args(["bytes", layout]))?;
        figures.insert(format!("bmap_bytes_{label}"), bytes.trim().parse()?);
    }
    for (what, layout, label) in TRANSLATIONS {
        // Addresses, loop and call are part of both.
        let cost =
            programs.instructions(what, layout)? - programs.instructions("nothing", layout)?;
        figures.insert(format!("translate_insns_{label}"), cost);
    }
    Ok(())
}

impl Programs {
    /// Returns the number of instructions of one translation, including loop and call.
    fn instructions(&self, what: &str, layout: &str) -> Result<f64> {
        let short = self.count(what, layout, COUNT)?;
        let long = self.count(what, layout, 3 * COUNT)?;
        ensure!(long > short, "more translations take no more instructions");
        Ok((long - short) as f64 / (2 * COUNT) as f64)
    }

    /// Returns the number of instructions of a run with `translations` translations.
    fn count(&self, what: &str, layout: &str, translations: u64) -> Result<u64> {
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let counts = directory.path().join("counts");
        let mut command = Sandbox::new(&self.callgrind).command("valgrind.bin");
        command
            .arg("--tool=callgrind")
            .arg(format!("--callgrind-out-file={}", counts.display()))
            .arg(&self.map)
            .args(["translate", what, layout, &translations.to_string()]);
        output(&mut command)?;
        let text = std::fs::read_to_string(&counts).context("callgrind wrote nothing")?;
        total(&text)
    }
}

/// Returns the sum of all instructions in callgrind's file.
fn total(text: &str) -> Result<u64> {
    let mut lines = text.lines();
    let total = lines.find_map(|line| line.strip_prefix("totals: "));
    let total = total.context("no total in callgrind's file")?;
    total
        .trim()
        .parse()
        .with_context(|| format!("a total of {total:?} instructions"))
}

/// Returns the output of a command that must succeed.
fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::total;

    #[test]
    fn totals_are_found() {
        assert_eq!(
            total("events: Ir\nfn=(1)\n12 34\ntotals: 46\n").unwrap(),
            46
        );
        assert!(total("events: Ir\n").is_err());
        assert!(total("totals: 4 6\n").is_err());
    }
}
