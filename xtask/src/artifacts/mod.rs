// SPDX-License-Identifier: GPL-2.0
//! Artifacts that the tool makes, one file for each kind.

pub(crate) mod callgrind;
pub(crate) mod crates;
pub(crate) mod firmware;
pub(crate) mod kconfig;
pub(crate) mod kernel;
pub(crate) mod model;
pub(crate) mod module;
pub(crate) mod plugin;
pub(crate) mod qemu;
pub(crate) mod root;
pub(crate) mod selftests;
pub(crate) mod source;
pub(crate) mod tools;
pub(crate) mod userland;
pub(crate) mod witness;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Returns the option of make for as many parallel jobs as there are processors.
pub(crate) fn jobs() -> String {
    format!(
        "-j{}",
        std::thread::available_parallelism().map_or(1, usize::from)
    )
}

/// Returns the only subdirectory of `parent` whose name starts with `prefix`.
pub(crate) fn only_directory(parent: &Path, prefix: &str) -> Result<PathBuf> {
    let read =
        std::fs::read_dir(parent).with_context(|| format!("cannot read {}", parent.display()))?;
    let mut found: Vec<_> = read
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.is_dir())
        .collect();
    found.retain(|p| {
        p.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
    });
    found.sort();
    found
        .pop()
        .with_context(|| format!("no directory {prefix}… in {}", parent.display()))
}
