// SPDX-License-Identifier: GPL-2.0
//! Build root with the compiler for big-endian POWER and the sources that it compiles.

use std::path::{Path, PathBuf};

use anyhow::{ensure, Context, Result};
use sha2::{Digest, Sha256};

use crate::artifacts::root::{apt_proxy, BuildRoot, OPTIONS, SUITE};
use crate::cache::{Artifact, Build};
use crate::key::Key;
use crate::mirror::Mirror;
use crate::prerequisites;

const PACKAGES: &[&str] = &[
    "bc",
    "bison",
    "ca-certificates",
    "cpio",
    "dpkg-dev",
    "flex",
    "gcc",
    "gcc-powerpc64-linux-gnu",
    "kmod",
    "libc6-dev",
    "libc6-dev-ppc64-cross",
    "libelf-dev",
    "libssl-dev",
    "linux-source-6.12",
    "make",
    "perl",
    "python3-minimal",
    "rsync",
    "xz-utils",
];

/// Source packages, fetched to `/usr/src`.
const SOURCES: &[&str] = &["busybox", "ethtool"];

/// Release whose version of a source package is used instead, because mirrors do not have all
/// sources of the newer release.
const FALLBACK: &str = "bookworm";

/// Shell script that fetches source packages. Its arguments are a line of sources.list for
/// [`FALLBACK`], the name of that release, and the packages.
const FETCH: &str = r#"
fetch() {
	apt-get -q -oAPT::Sandbox::User=root --download-only source "$1"
}
line=$1 fallback=$2
shift 2
cd /usr/src
apt-get -q update
missing=
for package; do
	fetch "$package" || missing="$missing $package"
done
if [ -n "$missing" ]; then
	echo "$line" >>/etc/apt/sources.list
	apt-get -q update
	for package in $missing; do
		rm -f "$package"_*
		fetch "$package/$fallback"
	done
fi
rm -rf /var/lib/apt/lists/*
{ dpkg-query -W; ls /usr/src; } >/versions
"#;

/// Name of the list of installed packages with their versions, in the entry.
const VERSIONS: &str = "versions";

/// The witness's build root.
#[derive(Debug)]
pub(crate) struct WitnessRoot;

impl WitnessRoot {
    /// Name of the root directory in the entry.
    pub(crate) const TREE: &'static str = BuildRoot::TREE;
}

impl Artifact for WitnessRoot {
    fn kind(&self) -> &'static str {
        "witness-root"
    }

    fn title(&self) -> String {
        format!("build root for the witness (Debian {SUITE})")
    }

    fn inputs(&self, key: &mut Key) -> Result<()> {
        key.text("suite", SUITE);
        key.text("packages", PACKAGES.join(" "));
        key.text("sources", format!("{} {FETCH}", SOURCES.join(" ")));
        key.text("fallback", FALLBACK);
        key.text("options", OPTIONS.join(" "));
        Ok(())
    }

    fn build(&self, build: &Build<'_>) -> Result<()> {
        ensure!(
            prerequisites::is_root(),
            "making the build root needs root's rights (mmdebstrap, apt): run the command as root once"
        );
        let mirror = Mirror::find()?;
        mirror.check(SUITE)?;
        let tree = build.directory.join(Self::TREE);
        let mut command = prerequisites::contained("mmdebstrap")?;
        command
            .arg("--variant=apt")
            .arg(format!("--include={}", PACKAGES.join(",")))
            .args(OPTIONS)
            .args(apt_proxy())
            .arg(SUITE)
            .arg(&tree)
            .arg(mirror.line("deb", SUITE))
            .arg(mirror.line("deb-src", SUITE));
        build.step.run("unpacking packages", &mut command)?;
        let mut command = BuildRoot::inside(&tree, &mirror, "sh");
        let fallback = mirror.line("deb-src", FALLBACK);
        command.args(["-ec", FETCH, "sh", &fallback, FALLBACK]);
        command.args(SOURCES);
        build.step.run("sources of the userland", &mut command)?;
        std::fs::rename(tree.join(VERSIONS), build.directory.join(VERSIONS))
            .context("no list of versions")
    }

    fn outputs(&self) -> Vec<PathBuf> {
        let tree = Path::new(Self::TREE);
        vec![
            tree.join("usr/bin/powerpc64-linux-gnu-gcc"),
            tree.join("usr/bin/make"),
            tree.join("usr/src/linux-source-6.12.tar.xz"),
            VERSIONS.into(),
        ]
    }

    fn identity(&self, directory: &Path, key: &str) -> Result<String> {
        let versions = std::fs::read(directory.join(VERSIONS))?;
        Ok(format!("{key} {:x}", Sha256::digest(&versions)))
    }
}
