// SPDX-License-Identifier: GPL-2.0
//! House rules that no compiler checks.

mod docs;
pub(crate) mod imports;
mod rust;
mod text;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use walkdir::WalkDir;

/// A rule for files.
pub(crate) trait Lint {
    /// Returns the name of the check.
    fn name(&self) -> &'static str;

    /// Checks whether the rule applies to a file. The path is relative to the checkout.
    fn applies(&self, path: &Path) -> bool;

    /// Reports each violation with its line number (from 1) and a description.
    fn check(&self, file: &SourceFile, report: &mut dyn FnMut(usize, String));
}

/// A file of the checkout.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// Path relative to the checkout.
    pub(crate) path: PathBuf,
    /// Content of the file. Files that are not UTF-8 are not text and are not checked.
    pub(crate) text: String,
}

/// Returns all rules.
pub(crate) fn all() -> Vec<Box<dyn Lint>> {
    vec![
        Box::new(text::Licence),
        Box::new(text::Whitespace),
        Box::new(text::UnfinishedWork),
        Box::new(text::Addresses),
        Box::new(docs::FirstWord),
        Box::new(rust::UnsafePlaces),
        Box::new(rust::SafetyComments),
        Box::new(rust::DriverUsesAbstractions),
    ]
}

/// Returns the text files of the checkout: those that git knows or would add.
pub(crate) fn files(checkout: &Path) -> Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    for path in paths(checkout)? {
        // A file may have been removed without git knowing yet.
        if let Ok(text) = std::fs::read_to_string(checkout.join(&path)) {
            files.push(SourceFile { path, text });
        }
    }
    Ok(files)
}

fn paths(checkout: &Path) -> Result<Vec<PathBuf>> {
    let mut git = Command::new("git");
    git.args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ])
    .current_dir(checkout);
    if let Some(output) = git.output().ok().filter(|output| output.status.success()) {
        let text = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
        return Ok(text
            .split('\0')
            .filter(|name| !name.is_empty())
            .map(PathBuf::from)
            .collect());
    }
    let mut paths = Vec::new();
    let skipped = |name: &str| name == "target" || name == ".git";
    let walk = WalkDir::new(checkout).sort_by_file_name().into_iter();
    for entry in walk.filter_entry(|e| !e.file_name().to_str().is_some_and(skipped)) {
        let entry = entry?;
        if entry.file_type().is_file() {
            paths.push(entry.path().strip_prefix(checkout)?.to_owned());
        }
    }
    Ok(paths)
}

/// Runs one rule over all files. Returns `path:line: what` for each violation.
pub(crate) fn run(lint: &dyn Lint, files: &[SourceFile]) -> Vec<String> {
    let mut violations = Vec::new();
    for file in files.iter().filter(|file| lint.applies(&file.path)) {
        lint.check(file, &mut |line, what| {
            violations.push(format!("{}:{line}: {what}", file.path.display()))
        });
    }
    violations
}

/// Returns the lines that a rule reports for a file with this path and content.
#[cfg(test)]
fn lines(lint: &dyn Lint, path: &str, text: &str) -> Vec<usize> {
    let file = SourceFile {
        path: path.into(),
        text: text.to_owned(),
    };
    let mut lines = Vec::new();
    if lint.applies(&file.path) {
        lint.check(&file, &mut |line, _| lines.push(line));
    }
    lines
}
