// SPDX-License-Identifier: GPL-2.0
//! Files of which a guest is made.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};

use crate::variant::Variant;

/// Environment variable with the path of a JSON file that holds [`Artifacts`].
pub const ARTIFACTS_VARIABLE: &str = "EHEA_ARTIFACTS";

/// Environment variable with the path of a JSON file that holds the [`Artifacts`] of the witness's
/// guest. That guest has the C driver's kernel, which is big-endian, and a userland of its own.
pub const WITNESS_ARTIFACTS_VARIABLE: &str = "EHEA_WITNESS_ARTIFACTS";

/// A guest kernel and the modules built for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kernel {
    /// Kernel image, an ELF file.
    pub vmlinux: PathBuf,
    /// Output directory of the kernel build, against which modules are built.
    pub build: PathBuf,
    /// `ehea.ko`; `None` if only the kernel is needed.
    #[serde(default)]
    pub module: Option<PathBuf>,
    /// `ehea_kunit.ko`; `None` if nothing needs it.
    #[serde(default)]
    pub kunit_module: Option<PathBuf>,
}

/// All files of which a guest is made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Artifacts {
    /// Build root, with whose `/usr` QEMU runs.
    pub root: PathBuf,
    /// `qemu-system-ppc64` with the adapter.
    pub qemu: PathBuf,
    /// Plugin that counts guest instructions; `None` if nothing needs it.
    #[serde(default)]
    pub plugin: Option<PathBuf>,
    /// Userland of the guest, a compressed cpio archive.
    pub userland: PathBuf,
    /// `ehea-net`, this project's program for the guest; `None` if nothing needs it.
    #[serde(default)]
    pub tools: Option<PathBuf>,
    /// Kernels by variant.
    pub kernels: BTreeMap<Variant, Kernel>,
    /// Directory that gets one directory of logs for each guest.
    pub logs: PathBuf,
}

impl Artifacts {
    /// Reads a description in JSON.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} is not a list of artifacts", path.display()))
    }

    /// Reads the description that [`ARTIFACTS_VARIABLE`] names.
    pub fn from_env() -> Result<Self> {
        match std::env::var_os(ARTIFACTS_VARIABLE) {
            Some(path) => Self::load(Path::new(&path)),
            None => bail!("{ARTIFACTS_VARIABLE} is not set: run this through `cargo xtask test --tier e2e` or `cargo xtask demo`"),
        }
    }

    /// Reads the description that [`WITNESS_ARTIFACTS_VARIABLE`] names.
    pub fn witness_from_env() -> Result<Self> {
        match std::env::var_os(WITNESS_ARTIFACTS_VARIABLE) {
            Some(path) => Self::load(Path::new(&path)),
            None => bail!(
                "{WITNESS_ARTIFACTS_VARIABLE} is not set: run this through `cargo xtask witness`"
            ),
        }
    }

    /// Returns the kernel of the variant `variant`.
    pub fn kernel(&self, variant: impl Into<Variant>) -> Result<&Kernel> {
        let variant = variant.into();
        self.kernels
            .get(&variant)
            .with_context(|| format!("the artifacts have no kernel {variant}"))
    }
}
