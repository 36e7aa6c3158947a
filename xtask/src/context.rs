// SPDX-License-Identifier: GPL-2.0
//! Places of the checkout, the cache and the output.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::cache::Cache;

/// Context in which every command works.
#[derive(Debug)]
pub(crate) struct Context {
    /// Top directory of the checkout.
    pub(crate) checkout: PathBuf,
    /// Cache of things that are slow to make.
    pub(crate) cache: Cache,
}

impl Context {
    /// Finds the checkout and the cache: `$EHEA_CACHE`, else `ehea` in the user's cache directory.
    pub(crate) fn new() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let checkout = manifest
            .parent()
            .context("xtask has no parent directory")?
            .to_owned();
        let variable = |name| {
            std::env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        let cache = variable("EHEA_CACHE")
            .or_else(|| variable("XDG_CACHE_HOME").map(|dir| dir.join("ehea")))
            .or_else(|| variable("HOME").map(|dir| dir.join(".cache/ehea")))
            .context("no place for the cache: set EHEA_CACHE")?;
        let cache = Cache::open(std::path::absolute(cache)?)?;
        Ok(Self { checkout, cache })
    }

    /// Returns a path in the checkout.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.checkout.join(relative)
    }

    /// Returns cargo's output directory, to which this tool's products and logs go, too.
    pub(crate) fn target(&self) -> PathBuf {
        match std::env::var_os("CARGO_TARGET_DIR").filter(|v| !v.is_empty()) {
            Some(path) => self.checkout.join(path),
            None => self.path("target"),
        }
    }

    /// Returns the directory of the guests' logs.
    pub(crate) fn guest_logs(&self) -> PathBuf {
        self.target().join("guests")
    }
}
