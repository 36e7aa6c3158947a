// SPDX-License-Identifier: GPL-2.0
//! Manifest of a cache entry, written when the entry was made.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{ensure, Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use crate::key::hash_file;
use crate::times::Making;

/// Name of the file with the [`Manifest`].
pub(crate) const MANIFEST: &str = "manifest.json";

/// File whose modification time is the last use of an entry.
pub(crate) const USED: &str = "used";

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Output {
    path: PathBuf,
    size: u64,
    modified_ns: u128,
    sha256: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) title: String,
    pub(crate) identity: String,
    pub(crate) inputs: Vec<(String, String)>,
    pub(crate) outputs: Vec<Output>,
    /// [`listing`] of the entry, unless its files change.
    pub(crate) listing: Option<String>,
    /// Record of the entry's making.
    #[serde(default)]
    pub(crate) making: Option<Making>,
}

/// Returns a hash over the names and sizes of all files of an entry.
pub(crate) fn listing(directory: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    for entry in WalkDir::new(directory).sort_by_file_name() {
        let entry = entry?;
        let name = entry.path().strip_prefix(directory)?;
        if name == Path::new(MANIFEST) || name == Path::new(USED) || entry.file_type().is_dir() {
            continue;
        }
        hash.update(name.as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update(entry.metadata()?.len().to_be_bytes());
    }
    Ok(format!("{:x}", hash.finalize()))
}

/// Describes an output for the manifest.
pub(crate) fn describe(directory: &Path, path: PathBuf) -> Result<Output> {
    let full = directory.join(&path);
    let metadata = fs::metadata(&full)
        .with_context(|| format!("the build did not make {}", path.display()))?;
    let modified_ns = modified(&metadata)?;
    Ok(Output {
        sha256: hash_file(&full)?,
        size: metadata.len(),
        modified_ns,
        path,
    })
}

fn modified(metadata: &fs::Metadata) -> Result<u128> {
    Ok(metadata
        .modified()?
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos())
}

/// Compares an entry with its manifest: names and sizes always, and the contents of outputs that
/// were touched.
pub(crate) fn check(directory: &Path) -> Result<Manifest> {
    let text = fs::read_to_string(directory.join(MANIFEST)).context("no manifest")?;
    let manifest: Manifest = serde_json::from_str(&text).context("unreadable manifest")?;
    for output in &manifest.outputs {
        let path = directory.join(&output.path);
        let name = output.path.display();
        let metadata = fs::metadata(&path).with_context(|| format!("{name} is missing"))?;
        ensure!(
            metadata.len() == output.size,
            "{name} has {} bytes instead of {}",
            metadata.len(),
            output.size
        );
        if modified(&metadata)? != output.modified_ns {
            ensure!(hash_file(&path)? == output.sha256, "{name} has changed");
        }
    }
    if let Some(expected) = &manifest.listing {
        ensure!(
            listing(directory)? == *expected,
            "files are missing, new or of another size"
        );
    }
    Ok(manifest)
}
