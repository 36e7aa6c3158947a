// SPDX-License-Identifier: GPL-2.0
//! Userland of the witness. Debian has no packages for big-endian POWER, so busybox and ethtool are
//! built from its source packages.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use ehea_harness::Sandbox;

use super::{WitnessRoot, CROSS};
use crate::artifacts::{jobs, kconfig, userland};
use crate::cache::{Artifact, Build, Entry};
use crate::key::Key;

/// Configuration fragment of busybox; its comments explain it.
const BUSYBOX_CONFIG: &str = "guest/busybox.config";

/// Options for `configure` of ethtool. Netlink needs a library, and the C driver does not support
/// it.
const ETHTOOL_OPTIONS: &[&str] = &["--disable-netlink", "--without-bash-completion-dir"];

/// Directories of the guest that neither the programs nor init make.
const DIRECTORIES: &[&str] = &["etc", "root", "usr/bin", "usr/lib", "usr/sbin", "var"];

/// Symbolic links and their targets. Modules and programs are below `/usr`.
const LINKS: &[(&str, &str)] = &[
    ("bin", "usr/bin"),
    ("lib", "usr/lib"),
    ("sbin", "usr/sbin"),
    ("usr/bin/sh", "busybox"),
];

/// The archive with which the witness's guests start.
#[derive(Debug)]
pub(crate) struct WitnessUserland<'a> {
    /// The witness's build root.
    pub(crate) root: &'a Entry,
    /// The checkout.
    pub(crate) checkout: &'a Path,
}

impl WitnessUserland<'_> {
    /// Name of the archive in the entry.
    pub(crate) const ARCHIVE: &'static str = userland::Userland::ARCHIVE;

    fn sandbox(&self) -> Sandbox {
        Sandbox::new(&self.root.path(WitnessRoot::TREE))
    }

    /// Unpacks a source package.
    fn unpack(&self, build: &Build<'_>, package: &str) -> Result<PathBuf> {
        let sources = self.root.path(WitnessRoot::TREE).join("usr/src");
        let mut description = None;
        for entry in fs::read_dir(&sources)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with(&format!("{package}_")) && name.ends_with(".dsc") {
                description = Some(Path::new("/usr/src").join(name));
            }
        }
        let directory = build.directory.join(package);
        // The signature was verified when apt fetched the package.
        let mut command = self.sandbox().command("dpkg-source");
        command
            .args(["--no-check", "-x"])
            .arg(description.with_context(|| format!("no source of {package}"))?)
            .arg(&directory);
        build.step.run("unpacking", &mut command)?;
        Ok(directory)
    }

    fn busybox(&self, build: &Build<'_>, to: &Path) -> Result<()> {
        let source = self.unpack(build, "busybox")?;
        let make = |target: &str| {
            let mut command = self.sandbox().command("sh");
            // If make asks about an option that the fragment makes visible, it gets an empty line
            // and takes the default.
            command.args(["-ec", "yes '' | make \"$@\"", "sh", target, &jobs()]);
            command.arg(format!("CROSS_COMPILE={CROSS}"));
            command.current_dir(&source);
            command
        };
        build.step.run("configuring", &mut make("defconfig"))?;
        let config = source.join(".config");
        let fragment = fs::read_to_string(self.checkout.join(BUSYBOX_CONFIG))
            .with_context(|| format!("cannot read {BUSYBOX_CONFIG}"))?;
        fs::write(
            &config,
            without(&fs::read_to_string(&config)?, &fragment) + &fragment,
        )?;
        build.step.run("configuring", &mut make("oldconfig"))?;
        let missing = kconfig::unmet(&[fragment], &fs::read_to_string(&config)?);
        if !missing.is_empty() {
            bail!("busybox does not take these lines: {}", missing.join(", "));
        }
        build.step.run("compiling busybox", &mut make("busybox"))?;
        fs::copy(source.join("busybox"), to)?;
        Ok(fs::remove_dir_all(&source)?)
    }

    fn ethtool(&self, build: &Build<'_>, to: &Path) -> Result<()> {
        let source = self.unpack(build, "ethtool")?;
        let mut configure = self.sandbox().command("sh");
        configure
            .arg("./configure")
            .arg(format!("--host={}", CROSS.trim_end_matches('-')))
            .arg("LDFLAGS=-static")
            .args(ETHTOOL_OPTIONS)
            .current_dir(&source);
        build.step.run("configuring ethtool", &mut configure)?;
        let mut make = self.sandbox().command("make");
        make.args([&jobs(), "ethtool"]).current_dir(&source);
        build.step.run("compiling ethtool", &mut make)?;
        let mut strip = self.sandbox().command(format!("{CROSS}strip"));
        strip.arg("-o").arg(to).arg(source.join("ethtool"));
        build.step.run("stripping", &mut strip)?;
        Ok(fs::remove_dir_all(&source)?)
    }
}

/// Returns a configuration without the options that a fragment sets, because busybox does not take
/// the last of several lines for one option.
fn without(configuration: &str, fragment: &str) -> String {
    let set: HashSet<&str> = fragment
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name)
        .collect();
    let of = |line: &str| {
        let line = line.trim_start_matches("# ");
        line.split(['=', ' ']).next().unwrap_or_default().to_owned()
    };
    configuration
        .lines()
        .filter(|line| !set.contains(of(line).as_str()))
        .flat_map(|line| [line, "\n"])
        .collect()
}

impl Artifact for WitnessUserland<'_> {
    fn kind(&self) -> &'static str {
        "witness-userland"
    }

    fn title(&self) -> String {
        "guest userland of the witness".to_owned()
    }

    fn inputs(&self, key: &mut Key) -> Result<()> {
        key.text("build root", &self.root.identity);
        key.text("ethtool", ETHTOOL_OPTIONS.join(" "));
        key.text("directories", DIRECTORIES.join(" "));
        key.text("links", format!("{LINKS:?}"));
        key.files(self.checkout, BUSYBOX_CONFIG)
    }

    fn build(&self, build: &Build<'_>) -> Result<()> {
        let tree = build.directory.join("tree");
        for directory in DIRECTORIES {
            fs::create_dir_all(tree.join(directory))?;
        }
        for (link, target) in LINKS {
            symlink(target, tree.join(link))?;
        }
        self.busybox(build, &tree.join("usr/bin/busybox"))?;
        self.ethtool(build, &tree.join("usr/sbin/ethtool"))?;
        userland::archive(build, &self.sandbox(), &tree)
    }

    fn outputs(&self) -> Vec<PathBuf> {
        vec![Self::ARCHIVE.into()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_replaces_lines() {
        let configuration =
            "CONFIG_A=y\n# CONFIG_AB is not set\n# CONFIG_B is not set\nCONFIG_C=1\n";
        assert_eq!(
            without(configuration, "# CONFIG_C\nCONFIG_A=n\nCONFIG_B=y\n"),
            "# CONFIG_AB is not set\nCONFIG_C=1\n"
        );
    }
}
