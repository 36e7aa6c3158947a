// SPDX-License-Identifier: GPL-2.0
//! The adapter model as a library for QEMU, compiled in cargo's output directory.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;

use crate::key::Key;
use crate::prerequisites;
use crate::progress::Step;

/// Sources of the model.
const SOURCES: &[&str] = &[
    "model/src",
    "model/Cargo.toml",
    "drivers/ehea/abi",
    "Cargo.toml",
];

/// Name of the library that cargo makes.
pub(super) const LIBRARY: &str = "libehea_model.a";

/// Hash of the sources from which this run has compiled the model.
static COMPILED: Mutex<Option<String>> = Mutex::new(None);

/// Adds the sources of the model to `key`.
pub(super) fn inputs(checkout: &Path, key: &mut Key) -> Result<()> {
    SOURCES
        .iter()
        .try_for_each(|path| key.files(checkout, path))
}

/// Compiles the model with the toolchain that compiled this tool, unless this run has already
/// compiled the same sources. Cargo compiles one thing at a time in a directory, and those who need
/// the library must not wait for everything else.
pub(crate) fn compile(checkout: &Path, target: &Path, step: &Step) -> Result<PathBuf> {
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    let mut key = Key::default();
    inputs(checkout, &mut key)?;
    let sources = key.digest();
    if compiled.as_ref() != Some(&sources) {
        let mut command = prerequisites::cargo()?;
        command
            .args(["build", "--release", "--package", "ehea-model"])
            .arg("--target-dir")
            .arg(target)
            .current_dir(checkout);
        step.run("compiling the model", &mut command)?;
        *compiled = Some(sources);
    }
    Ok(target.join("release").join(LIBRARY))
}
