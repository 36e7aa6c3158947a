// SPDX-License-Identifier: GPL-2.0
//! The build root: a Debian with every tool and source from which everything else is made.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{ensure, Context, Result};
use sha2::{Digest, Sha256};

use crate::cache::{Artifact, Build};
use crate::key::Key;
use crate::mirror::Mirror;
use crate::prerequisites;

/// The Debian release of the build root and of the guest.
pub(crate) const SUITE: &str = "trixie";

/// Release from which newer versions come. Rust for powerpc needs 1.95 or newer.
const BACKPORTS: &str = "trixie-backports";

/// Packages from backports.
const NEWER: &[&str] = &[
    "cargo",
    "linux-source-7.3",
    "rust-clippy",
    "rust-src",
    "rustc",
    "rustfmt",
];

/// Packages of the release itself: kernel, then QEMU.
const PACKAGES: &[&str] = &[
    "bc",
    "bindgen",
    "bison",
    "clang-19",
    "cpio",
    "flex",
    "gcc",
    "gcc-powerpc64le-linux-gnu",
    "git",
    "kmod",
    "libc6-dev",
    "libc6-dev-ppc64el-cross",
    "libclang-19-dev",
    "libelf-dev",
    "libssl-dev",
    "lld-19",
    "llvm-19",
    "make",
    "patch",
    "perl",
    "python3",
    "rsync",
    "xz-utils",
    "device-tree-compiler",
    "dpkg-dev",
    "libfdt-dev",
    "libglib2.0-dev",
    "libpixman-1-dev",
    "libslirp-dev",
    "meson",
    "ninja-build",
    "pkg-config",
    "python3-pycotap",
    "python3-venv",
    "qemu-system-data",
];

/// Source packages, fetched to `/usr/src`.
const SOURCES: &[&str] = &["qemu"];

/// Options of apt and dpkg. Nobody reads manuals in the build root, and it is made again if it
/// breaks.
pub(crate) const OPTIONS: &[&str] = &[
    "--aptopt=Acquire::Retries \"3\"",
    "--aptopt=APT::Install-Recommends \"false\"",
    "--dpkgopt=force-unsafe-io",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
];

/// Name of the root directory in the entry.
const TREE: &str = "root";

/// Name of the list of installed packages with their versions, in the entry.
const VERSIONS: &str = "versions";

/// The build root.
#[derive(Debug)]
pub(crate) struct BuildRoot;

impl BuildRoot {
    /// Name of the root directory in the entry.
    pub(crate) const TREE: &str = TREE;

    /// Returns a command that runs in the tree itself, which is writable, and has the network.
    pub(crate) fn inside(tree: &Path, mirror: &Mirror, program: &str) -> Command {
        let mut command = Command::new("bwrap");
        command.arg("--bind").arg(tree).arg("/");
        command.args([
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            "--unshare-pid",
            "--die-with-parent",
        ]);
        for path in ["/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs"] {
            command.args(["--ro-bind-try", path, path]);
        }
        if let Some(directory) = mirror.directory() {
            command.arg("--ro-bind").arg(directory).arg(directory);
        }
        command.args(["--chdir", "/", "--", program]);
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("LC_ALL", "C.UTF-8");
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }
}

impl Artifact for BuildRoot {
    fn kind(&self) -> &'static str {
        "root"
    }

    fn title(&self) -> String {
        format!("build root (Debian {SUITE})")
    }

    fn inputs(&self, key: &mut Key) -> Result<()> {
        key.text("suites", format!("{SUITE} {BACKPORTS}"));
        key.text("newer packages", NEWER.join(" "));
        key.text("packages", PACKAGES.join(" "));
        key.text("sources", SOURCES.join(" "));
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
        let step = build.step;
        let tree = build.directory.join(TREE);
        let mut command = prerequisites::contained("mmdebstrap")?;
        command
            .args(["--variant=apt", "--include=ca-certificates"])
            .args(OPTIONS);
        command.args(apt_proxy()).arg(SUITE).arg(&tree);
        command
            .arg(mirror.line("deb", SUITE))
            .arg(mirror.line("deb", BACKPORTS))
            .arg(mirror.line("deb-src", SUITE));
        step.run("base system", &mut command)?;

        let apt = |arguments: &[&str]| {
            let mut command = Self::inside(&tree, &mirror, "apt-get");
            command.args(["-q", "-y"]).args(arguments);
            command
        };
        // mmdebstrap leaves the package lists empty.
        step.run("package lists", &mut apt(&["update"]))?;
        let mut newer = vec!["install", "-t", BACKPORTS];
        newer.extend(NEWER);
        step.run("Rust and kernel source", &mut apt(&newer))?;
        let mut packages = vec!["install"];
        packages.extend(PACKAGES);
        step.run("build tools", &mut apt(&packages))?;
        let mut sources = vec!["--download-only", "source"];
        sources.extend(SOURCES);
        step.run(
            "QEMU source",
            apt(&sources).arg("-oAPT::Sandbox::User=root"),
        )?;
        let mut command = Self::inside(&tree, &mirror, "sh");
        command.args([
            "-ec",
            "mv /*.dsc /*.tar.* /usr/src/; apt-get clean; rm -rf /var/lib/apt/lists/*",
        ]);
        step.run("tidying up", &mut command)?;
        let mut command = Self::inside(&tree, &mirror, "sh");
        command.args([
            "-ec",
            &format!("dpkg-query -W >/{VERSIONS}; rustc --version; clang-19 --version"),
        ]);
        step.run("versions", &mut command)?;
        std::fs::rename(tree.join(VERSIONS), build.directory.join(VERSIONS))
            .context("no list of versions")?;
        Ok(())
    }

    fn outputs(&self) -> Vec<PathBuf> {
        let programs = [
            "bindgen",
            "clang-19",
            "dpkg",
            "gcc",
            "ld.lld-19",
            "make",
            "ninja",
            "rustc",
            "sh",
        ];
        let mut outputs: Vec<_> = programs
            .iter()
            .map(|name| Path::new(TREE).join("usr/bin").join(name))
            .collect();
        outputs.push(Path::new(TREE).join("usr/share/qemu/slof.bin"));
        outputs.push(Path::new(TREE).join("usr/src/linux-source-7.3.tar.xz"));
        outputs.push(VERSIONS.into());
        outputs
    }

    fn identity(&self, directory: &Path, key: &str) -> Result<String> {
        let versions = std::fs::read(directory.join(VERSIONS))?;
        Ok(format!("{key} {:x}", Sha256::digest(&versions)))
    }
}

/// Returns apt options with the proxies of this machine, for an apt that does not read this
/// machine's configuration.
pub(crate) fn apt_proxy() -> Vec<String> {
    let output = Command::new("apt-config")
        .args(["dump", "Acquire::http::Proxy"])
        .output();
    let https = Command::new("apt-config")
        .args(["dump", "Acquire::https::Proxy"])
        .output();
    let mut options = Vec::new();
    for output in [output, https].into_iter().flatten() {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        options.extend(
            text.lines()
                .filter(|l| !l.ends_with("\"\";"))
                .map(|l| format!("--aptopt={l}")),
        );
    }
    options
}
