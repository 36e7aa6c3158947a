// SPDX-License-Identifier: GPL-2.0
//! Userland of the guest: Debian packages for ppc64el, unpacked and archived, never run on the
//! host.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ehea_harness::Sandbox;

use crate::artifacts::root::SUITE;
use crate::cache::{Artifact, Build};
use crate::key::Key;
use crate::mirror::Mirror;
use crate::prerequisites;

const PACKAGES: &str = include_str!("../../../guest/packages");

/// Files and directories that no guest needs.
const REMOVED: &[&str] = &[
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/zoneinfo",
    "usr/lib/systemd",
    "var/cache/apt",
    "var/lib/apt",
    "var/lib/dpkg",
];

/// The archive with which every guest starts.
#[derive(Debug)]
pub(crate) struct Userland {
    /// The build root, whose cpio is used.
    pub(crate) root: PathBuf,
}

impl Userland {
    /// Name of the archive in the entry.
    pub(crate) const ARCHIVE: &str = "userland.cpio.gz";

    /// Adds everything that goes into the archive to `key`, also for archives based on it.
    pub(crate) fn key(key: &mut Key, packages: &[&str]) {
        key.text("suite", SUITE);
        key.text("packages", packages.join(","));
        key.text("removed", REMOVED.join(" "));
    }
}

/// Returns the packages of the guest's userland.
pub(crate) fn packages() -> Vec<&'static str> {
    listed(PACKAGES)
}

/// Returns the packages in a list, which has one in each line and remarks after `#`.
pub(crate) fn listed(list: &str) -> Vec<&str> {
    let lines = list
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty()).collect()
}

/// Unpacks Debian packages for ppc64el and their dependencies into `tree`, without what no guest
/// needs.
pub(crate) fn unpack(build: &Build<'_>, packages: &[&str], tree: &Path) -> Result<()> {
    let mirror = Mirror::find()?;
    mirror.check(SUITE)?;
    let unpack = |suite: &str| {
        let mut command = prerequisites::contained("mmdebstrap")?;
        command.args(["--architectures=ppc64el", "--variant=extract"]);
        command.arg(format!("--include={}", packages.join(",")));
        command
            .args(["--aptopt=Acquire::Retries \"3\"", SUITE])
            .arg(tree)
            .arg(mirror.line("deb", suite));
        build.step.run("unpacking packages", &mut command)
    };
    let mut result = unpack(SUITE);
    if result.is_err() {
        for alias in mirror.aliases(SUITE) {
            remove(tree)?;
            result = unpack(alias);
            if result.is_ok() {
                break;
            }
        }
    }
    result?;
    for path in REMOVED {
        remove(&tree.join(path))?;
    }
    Ok(())
}

impl Artifact for Userland {
    fn kind(&self) -> &'static str {
        "userland"
    }

    fn title(&self) -> String {
        "guest userland".to_owned()
    }

    fn inputs(&self, key: &mut Key) -> Result<()> {
        Self::key(key, &packages());
        Ok(())
    }

    fn build(&self, build: &Build<'_>) -> Result<()> {
        let tree = build.directory.join("tree");
        unpack(build, &packages(), &tree)?;
        archive(build, &Sandbox::new(&self.root), &tree)
    }

    fn outputs(&self) -> Vec<PathBuf> {
        vec![Self::ARCHIVE.into()]
    }
}

/// Packs the directory tree into [`Userland::ARCHIVE`] and removes it.
pub(crate) fn archive(build: &Build<'_>, sandbox: &Sandbox, tree: &Path) -> Result<()> {
    let mut command = sandbox.command("sh");
    command.args(["-ec", "find . -print0 | LC_ALL=C sort -z | cpio --null --quiet -R 0:0 -o -H newc | gzip -n -1 >\"$0\""]);
    command
        .arg(build.directory.join(Userland::ARCHIVE))
        .current_dir(tree);
    build.step.run("archiving", &mut command)?;
    remove(tree)
}

pub(crate) fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
