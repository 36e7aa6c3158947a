// SPDX-License-Identifier: GPL-2.0
//! Kernel configurations: fragments on top of `allnoconfig`, every line of which must take effect.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};
use ehea_harness::Sandbox;

use crate::cache::Build;

/// Configuration of a kernel in `directory`, which is the build's directory or lies in it.
#[derive(Debug)]
pub(crate) struct Configuration<'a> {
    /// Sandbox with the tools for building a kernel.
    pub(crate) sandbox: &'a Sandbox,
    /// Source of the kernel.
    pub(crate) source: &'a Path,
    /// Output directory, as this process sees it.
    pub(crate) directory: &'a Path,
    /// Output directory, as the build sees it.
    pub(crate) place: &'a Path,
    /// Configuration fragments. A line of a later one replaces earlier lines for the same option.
    pub(crate) fragments: &'a [PathBuf],
}

impl Configuration<'_> {
    /// Writes the configuration. `make` prepares a `make` command in the kernel's source, without a
    /// target.
    ///
    /// # Errors
    ///
    /// All lines that do not take effect.
    pub(crate) fn write(
        &self,
        build: &Build<'_>,
        make: impl Fn() -> Result<Command>,
    ) -> Result<()> {
        build.step.run("configuring", make()?.arg("allnoconfig"))?;
        let mut merge = self.sandbox.command_with_mount(
            build.directory,
            build.place,
            "scripts/kconfig/merge_config.sh",
        );
        merge
            .arg("-m")
            .arg("-O")
            .arg(self.place)
            .arg(self.place.join(".config"))
            .args(self.fragments)
            .current_dir(self.source);
        build.step.run("configuring", &mut merge)?;
        build.step.run("configuring", make()?.arg("olddefconfig"))?;

        let configuration = std::fs::read_to_string(self.directory.join(".config"))?;
        let mut texts = Vec::new();
        for fragment in self.fragments {
            let text = std::fs::read_to_string(fragment);
            texts.push(text.with_context(|| format!("cannot read {}", fragment.display()))?);
        }
        let missing = unmet(&texts, &configuration);
        if !missing.is_empty() {
            bail!(
                "the kernel's configuration does not take these lines: {}",
                missing.join(", ")
            );
        }
        Ok(())
    }
}

/// Returns the lines of fragments that a configuration does not satisfy. Of several lines for one
/// option, the last counts.
pub(crate) fn unmet(fragments: &[String], configuration: &str) -> Vec<String> {
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    let lines = fragments.iter().flat_map(|text| text.lines());
    for line in lines.map(|line| line.split('#').next().unwrap_or_default().trim()) {
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        wanted.retain(|(other, _)| *other != name);
        wanted.push((name, value));
    }
    let lines: HashSet<&str> = configuration.lines().collect();
    let has = |name: &str, value: &str| lines.contains(format!("{name}={value}").as_str());
    wanted.retain(|(name, value)| match *value {
        "n" => has(name, "y") || has(name, "m"),
        value => !has(name, value),
    });
    wanted
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_a_fragment_is_checked() {
        let configuration = "CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_N=32\n";
        let fragment = "# remark\nCONFIG_A=y\nCONFIG_B=y\nCONFIG_C=n\nCONFIG_D=n\nCONFIG_E=y # why\nCONFIG_N=32\n";
        let unmet = |fragments: &[&str]| {
            let fragments: Vec<_> = fragments.iter().map(|&text| text.to_owned()).collect();
            unmet(&fragments, configuration)
        };
        assert_eq!(unmet(&[fragment]), ["CONFIG_B=y", "CONFIG_E=y"]);
        // A later fragment has the last word.
        assert_eq!(
            unmet(&[fragment, "CONFIG_B=m\nCONFIG_E=n\nCONFIG_A=n\n"]),
            ["CONFIG_A=n"]
        );
    }
}
