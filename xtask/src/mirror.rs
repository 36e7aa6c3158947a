// SPDX-License-Identifier: GPL-2.0
//! Choice of the Debian mirror: the one that this machine uses, or the one that the user names.

use std::path::Path;
use std::process::Command;

use anyhow::{bail, Context, Result};

use crate::prerequisites;

/// Environment variable that names the mirror.
pub(crate) const VARIABLE: &str = "EHEA_DEBIAN_MIRROR";

/// Keys of the Debian archive. The path is the same on the host and in the build root.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Names by which the archive knows releases besides their code names.
const ALIASES: [&str; 3] = ["stable", "oldstable", "testing"];

/// The Debian archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirror {
    uri: String,
    source: String,
}

impl Mirror {
    /// Finds the mirror without contacting it.
    pub(crate) fn find() -> Result<Self> {
        if let Some(uri) = std::env::var(VARIABLE).ok().filter(|v| !v.is_empty()) {
            return Ok(Self {
                uri,
                source: format!("from {VARIABLE}"),
            });
        }
        let mut uri = choose(&index_targets()?);
        if uri.is_none() && prerequisites::is_root() {
            // A machine whose package lists were removed has no information before it gets them
            // again.
            prerequisites::update_lists()?;
            uri = choose(&index_targets()?);
        }
        let uri = uri.with_context(|| {
            format!("apt on this machine has no package lists of a Debian mirror: run `apt-get update`, or set {VARIABLE} to the address of one")
        })?;
        let uri = resolve_list(uri)?;
        Ok(Self {
            uri,
            source: "from this machine's apt configuration".to_owned(),
        })
    }

    /// Checks that the archive of this release is reachable.
    pub(crate) fn check(&self, suite: &str) -> Result<()> {
        if self.release(suite)?.is_none() {
            bail!(
                "cannot reach the Debian mirror {} ({}): check the network and the proxy, or set {VARIABLE} to the address of another mirror",
                self.uri,
                self.source
            );
        }
        Ok(())
    }

    /// Returns other names of this release in the archive. A mirror that is being updated may have
    /// files that do not match under one name, and the complete files of the last update under
    /// another.
    pub(crate) fn aliases(&self, suite: &str) -> Vec<&'static str> {
        let is_it = |alias: &&str| {
            let release = self.release(alias).ok().flatten();
            release.is_some_and(|text| codename(&text) == Some(suite))
        };
        ALIASES.into_iter().filter(is_it).collect()
    }

    /// Returns the release file of a suite, or `None` if it cannot be fetched.
    fn release(&self, suite: &str) -> Result<Option<String>> {
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let file = directory.path().join("InRelease");
        let url = format!("{}/dists/{suite}/InRelease", self.uri.trim_end_matches('/'));
        let mut helper = Command::new("/usr/lib/apt/apt-helper");
        helper
            .args(["-o", "Acquire::Retries=3", "download-file", &url])
            .arg(&file);
        let output = helper
            .output()
            .context("cannot run apt-helper: this is not a machine with apt")?;
        let text = std::fs::read_to_string(&file).ok();
        Ok(text.filter(|_| output.status.success()))
    }

    /// Returns a line of sources.list. `kind` is `deb` or `deb-src`.
    pub(crate) fn line(&self, kind: &str, suite: &str) -> String {
        format!("{kind} [signed-by={KEYRING}] {} {suite} main", self.uri)
    }

    /// Returns the directory that a build root must see to use the mirror, if the mirror is one.
    pub(crate) fn directory(&self) -> Option<&Path> {
        self.uri
            .strip_prefix("file:")
            .or_else(|| self.uri.strip_prefix("copy:"))
            .map(|path| Path::new(path.strip_prefix("//").unwrap_or(path)))
    }
}

impl std::fmt::Display for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.uri, self.source)
    }
}

/// Asks apt for `site|origin|component|suite` of every package list.
fn index_targets() -> Result<String> {
    let format = "$(SITE)|$(ORIGIN)|$(COMPONENT)|$(SUITE)|$(CREATED_BY)";
    let output = Command::new("apt-get")
        .args(["indextargets", "--format", format])
        .output();
    let output = output.context("cannot run apt-get: this is not a Debian machine")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns the first Debian archive that is not the security archive.
fn choose(targets: &str) -> Option<String> {
    targets.lines().find_map(|line| {
        let fields: Vec<_> = line.split('|').collect();
        let [site, "Debian", "main", suite, "Packages"] = fields[..] else {
            return None;
        };
        (!suite.ends_with("-security") && !site.ends_with("-security")).then(|| site.to_owned())
    })
}

/// Returns the code name in a release file.
fn codename(release: &str) -> Option<&str> {
    let line = release.lines().find_map(|l| l.strip_prefix("Codename:"));
    line.map(str::trim)
}

/// Follows apt's method `mirror+file:`, which names a file with one address in each line.
fn resolve_list(uri: String) -> Result<String> {
    let Some(path) = uri.strip_prefix("mirror+file:") else {
        return Ok(uri);
    };
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let first = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'));
    let first = first.and_then(|line| line.split_whitespace().next());
    Ok(first
        .with_context(|| format!("{path} lists no mirror"))?
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_vendors_and_the_security_archive_are_skipped() {
        let targets = "http://vendor.test/apt|Vendor|main|stable|Packages\n\
             http://mirror.test/debian-security|Debian|main|oldstable-security|Packages\n\
             http://mirror.test/debian|Debian|contrib|oldstable|Packages\n\
             http://mirror.test/debian|Debian|main|oldstable|DEP-11\n\
             http://mirror.test/debian|Debian|main|oldstable|Packages\n";
        assert_eq!(
            choose(targets).as_deref(),
            Some("http://mirror.test/debian")
        );
        assert_eq!(choose(""), None);
    }

    #[test]
    fn a_local_mirror_is_a_directory() {
        let mirror = |uri: &str| Mirror {
            uri: uri.to_owned(),
            source: String::new(),
        };
        assert_eq!(
            mirror("file:///srv/debian").directory(),
            Some(Path::new("/srv/debian"))
        );
        assert_eq!(mirror("http://mirror.test/debian").directory(), None);
        assert_eq!(
            mirror("http://mirror.test/debian").line("deb", "trixie"),
            format!("deb [signed-by={KEYRING}] http://mirror.test/debian trixie main")
        );
    }

    #[test]
    fn a_release_file_has_a_name() {
        let release = "Origin: Debian\nSuite: stable\nCodename: trixie\nDate: today\n";
        assert_eq!(codename(release), Some("trixie"));
        assert_eq!(codename("Suite: stable\n"), None);
    }

    #[test]
    fn a_list_of_mirrors_gives_its_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list");
        std::fs::write(
            &path,
            "# ours\nhttp://a.test/debian\tpriority:1\nhttp://b.test/debian\n",
        )
        .unwrap();
        let uri = format!("mirror+file:{}", path.display());
        assert_eq!(resolve_list(uri).unwrap(), "http://a.test/debian");
    }
}
