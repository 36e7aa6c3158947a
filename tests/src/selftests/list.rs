// SPDX-License-Identifier: GPL-2.0
//! The list of the tests.

use std::fmt;
use std::path::Path;

use anyhow::{ensure, Context, Result};

/// Collection to which all names are relative.
const TOP: &str = "drivers/net";

/// A test: a program of the kernel, with one or more subtests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Test {
    /// Directory of the test, relative to that of all selftests.
    pub(super) collection: String,
    /// File name of the program.
    pub(super) file: String,
}

impl Test {
    /// Returns the name without extension, which tests in Python put before the name of each
    /// subtest.
    pub(super) fn stem(&self) -> &str {
        self.file.split('.').next().unwrap_or_default()
    }

    /// Checks whether the test is a shell script.
    pub(super) fn is_shell(&self) -> bool {
        self.file.ends_with(".sh")
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(directory) = self.collection.strip_prefix(TOP) {
            for part in directory.split('/').filter(|part| !part.is_empty()) {
                write!(f, "{part}/")?;
            }
        }
        f.write_str(&self.file)
    }
}

/// Reads the list that the kernel's makefiles wrote: `COLLECTION:FILE` in each line.
pub(super) fn read(path: &Path) -> Result<Vec<Test>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the list of tests, {}", path.display()))?;
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<Test>> {
    text.lines()
        .map(|line| {
            let (collection, file) = line
                .split_once(':')
                .with_context(|| format!("not a line of a list of tests: {line:?}"))?;
            Ok(Test {
                collection: collection.to_owned(),
                file: file.to_owned(),
            })
        })
        .collect()
}

/// Returns the tests that `wanted` names, in whole or in part, or all tests if it names none.
///
/// # Errors
///
/// A name in `wanted` fits no test.
pub(super) fn select(tests: Vec<Test>, wanted: &[String]) -> Result<Vec<Test>> {
    for name in wanted {
        ensure!(
            tests
                .iter()
                .any(|test| test.to_string().contains(name.as_str())),
            "no test has {name:?} in its name: `cargo xtask selftests --list` shows them"
        );
    }
    let is_wanted = |test: &Test| {
        let name = test.to_string();
        wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()))
    };
    Ok(tests.into_iter().filter(is_wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "drivers/net:queues.py\ndrivers/net/hw:csum.py\ndrivers/net/hw:ethtool.sh\n";

    #[test]
    fn names_are_relative_to_the_collection() {
        let names: Vec<_> = parse(LIST).unwrap().iter().map(Test::to_string).collect();
        assert_eq!(names, ["queues.py", "hw/csum.py", "hw/ethtool.sh"]);
        assert!(parse("queues.py").is_err());
    }

    #[test]
    fn parts_of_names_select() {
        let select = |wanted: &[&str]| {
            let wanted: Vec<_> = wanted.iter().map(|name| (*name).to_owned()).collect();
            let tests = select(parse(LIST).unwrap(), &wanted)?;
            anyhow::Ok(tests.iter().map(Test::to_string).collect::<Vec<_>>())
        };
        assert_eq!(select(&[]).unwrap().len(), 3);
        assert_eq!(
            select(&["sum", "queues.py"]).unwrap(),
            ["queues.py", "hw/csum.py"]
        );
        assert!(select(&["csum", "nothing"]).is_err());
    }
}
