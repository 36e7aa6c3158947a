// SPDX-License-Identifier: GPL-2.0
//! Figures of the source itself: its structure, and how much of it is unsafe, in C, or unused.

mod c;
mod rust;

use std::path::Path;

use anyhow::Result;

use crate::lints::{imports, SourceFile};

/// Folders of which the driver consists, and those that are not counted because they are for tests.
const DRIVER: &str = "drivers/ehea";
const ABSTRACTIONS: &str = "rust";
const HELPERS: &str = "rust/helpers";
const NOT_COUNTED: &[&str] = &["drivers/ehea/tests", "rust/testing"];

/// Returns the figures of the files `files`, each with its name.
pub(crate) fn figures(files: &[SourceFile]) -> Result<Vec<(&'static str, f64)>> {
    let below = |folder: &'static str, extensions: &'static [&'static str]| {
        files.iter().filter(move |file| {
            let extension = file.path.extension().and_then(|e| e.to_str());
            file.path.starts_with(folder)
                && extension.is_some_and(|e| extensions.contains(&e))
                && !NOT_COUNTED.iter().any(|not| file.path.starts_with(not))
        })
    };
    let mut in_abstractions = rust::Counts::default();
    for file in below(ABSTRACTIONS, &["rs"]) {
        in_abstractions.add(file)?;
    }
    let mut everywhere = in_abstractions;
    for file in below(DRIVER, &["rs"]) {
        everywhere.add(file)?;
    }
    let helpers: Vec<_> = below(HELPERS, &["c"])
        .flat_map(|file| c::functions(&file.text))
        .collect();
    let branching = helpers.iter().filter(|function| function.branches);
    let structure = imports::structure(files)?;
    let figures = [
        ("circles", structure.circles),
        ("upward_imports", structure.upward),
        ("extern_declarations", everywhere.foreign),
        ("unsafe_blocks_rust", in_abstractions.unsafe_blocks),
        ("helpers_c", helpers.len()),
        ("helpers_c_with_branches", branching.count()),
        ("dead_code_allowances", everywhere.unused_allowances),
        (
            "lines_driver",
            lines(below(DRIVER, &["rs"]).map(|file| file.text.as_str())),
        ),
        (
            "lines_rust",
            lines(below(ABSTRACTIONS, &["rs", "c", "h"]).map(|file| file.text.as_str())),
        ),
    ];
    Ok(figures
        .into_iter()
        .map(|(name, figure)| (name, figure as f64))
        .collect())
}

/// Returns the number of lines that are not empty.
fn lines<'a>(texts: impl Iterator<Item = &'a str>) -> usize {
    texts
        .flat_map(str::lines)
        .filter(|line| !line.trim().is_empty())
        .count()
}

/// Returns the figures of a checkout.
pub(crate) fn of_checkout(checkout: &Path) -> Result<Vec<(&'static str, f64)>> {
    figures(&crate::lints::files(checkout)?)
}
