// SPDX-License-Identifier: GPL-2.0
//! Subtests that are not expected to pass, with the reasons: `tests/selftests/expected.toml`.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{ensure, Context, Result};
use serde::Deserialize;

use super::report::{Outcome, Subtest};

/// Path of the list. It is read when the tests run, so that a change of it builds nothing.
const LIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/selftests/expected.toml");

/// Causes that are not numbers of faults in Documentation/todo.rst.
const CAUSES: [&str; 3] = ["environment", "not offered", "test"];

/// Subtests of a test that have the same result for the same reason.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// Name of the test, such as `hw/csum.py`.
    test: String,
    /// Names of its subtests; `*` at the end stands for any rest. If there are none, the entry is
    /// for the test as a whole.
    #[serde(default)]
    subtests: Vec<String>,
    /// Expected outcome of the subtests.
    result: Outcome,
    /// Number of a fault, or one of [`CAUSES`].
    pub(super) cause: String,
    /// Part of the reason that the test gives. The more it contains, the less can change unnoticed.
    #[serde(default)]
    seen: String,
    /// Explanation of the result.
    why: String,
}

impl Entry {
    /// Checks whether a subtest ended as expected.
    pub(super) fn holds(&self, subtest: &Subtest) -> bool {
        self.result == subtest.outcome && subtest.reason.contains(&self.seen)
    }

    /// Returns how well the entry fits a subtest: the length of the part of the name that it gives,
    /// or `None` if it does not fit.
    fn fits(&self, test: &str, subtest: &str) -> Option<usize> {
        if self.test != test {
            return None;
        }
        if self.subtests.is_empty() {
            return subtest.is_empty().then_some(usize::MAX);
        }
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => {
                (!subtest.is_empty() && subtest.starts_with(start)).then_some(start.len())
            }
            None => (pattern == subtest).then_some(usize::MAX),
        };
        self.subtests.iter().filter_map(fits).max()
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            result, cause, why, ..
        } = self;
        write!(f, "{result}")?;
        if !self.seen.is_empty() {
            write!(f, " # …{}…", self.seen)?;
        }
        write!(f, " ({cause}: {why})")
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    expected: Vec<Entry>,
}

/// The list, and the entries in it that have been seen.
#[derive(Debug)]
pub(super) struct Expected {
    entries: Vec<Entry>,
    seen: BTreeSet<usize>,
}

impl Expected {
    /// Reads the list in the checkout.
    pub(super) fn load() -> Result<Self> {
        let read = std::fs::read_to_string(LIST).context(LIST)?;
        Self::parse(&read).context(LIST)
    }

    fn parse(text: &str) -> Result<Self> {
        let file: File = toml::from_str(text)?;
        for entry in &file.expected {
            ensure!(
                CAUSES.contains(&entry.cause.as_str()) || is_fault(&entry.cause),
                "{}: {:?} is neither a fault's number nor one of {CAUSES:?}",
                entry.test,
                entry.cause
            );
            ensure!(
                entry.result != Outcome::Passed,
                "{}: what passes is not listed",
                entry.test
            );
        }
        Ok(Self {
            entries: file.expected,
            seen: BTreeSet::new(),
        })
    }

    /// Returns the entry about a subtest, or `None` if the subtest is expected to pass.
    pub(super) fn about(&mut self, test: &str, subtest: &Subtest) -> Option<&Entry> {
        let fit = |entry: &Entry| entry.fits(test, &subtest.name);
        let (index, _) = (0..)
            .zip(&self.entries)
            .filter_map(|(index, entry)| Some((index, fit(entry)?)))
            .max_by_key(|(_, fit)| *fit)?;
        self.seen.insert(index);
        self.entries.get(index)
    }

    /// Returns the entries about a test that fit none of its subtests.
    pub(super) fn unseen<'a>(&'a self, test: &'a str) -> impl Iterator<Item = &'a Entry> {
        (0..)
            .zip(&self.entries)
            .filter(move |(index, entry)| entry.test == test && !self.seen.contains(index))
            .map(|(_, entry)| entry)
    }
}

/// Checks whether a cause is the number of a fault, such as `K23`, `Q1` or `G4`.
fn is_fault(cause: &str) -> bool {
    let mut characters = cause.chars();
    matches!(characters.next(), Some('G' | 'K' | 'Q' | 'T'))
        && !characters.as_str().is_empty()
        && characters.all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        [[expected]]
        test = "hw/csum.py"
        subtests = ["ipv4_*", "ipv6_tx"]
        result = "not ok"
        cause = "K23"
        seen = "0 != 1"
        why = "x"

        [[expected]]
        test = "hw/csum.py"
        subtests = ["ipv4_rx*"]
        result = "skip"
        cause = "environment"
        why = "y"

        [[expected]]
        test = "hw/csum.py"
        result = "not ok"
        cause = "test"
        why = "z"
    "#;

    fn subtest(name: &str) -> Subtest {
        Subtest {
            name: name.to_owned(),
            outcome: Outcome::Passed,
            reason: String::new(),
        }
    }

    #[test]
    fn the_closest_entry_counts() {
        let mut expected = Expected::parse(TEXT).unwrap();
        let mut why = |test, name| {
            let entry = expected.about(test, &subtest(name));
            entry.map(|entry| entry.why.clone())
        };
        assert_eq!(why("hw/csum.py", "ipv4_tx").as_deref(), Some("x"));
        assert_eq!(why("hw/csum.py", "ipv4_rx_tcp").as_deref(), Some("y"));
        assert_eq!(why("hw/csum.py", "ipv6_tx").as_deref(), Some("x"));
        assert_eq!(why("hw/csum.py", "ipv6_tx_udp"), None);
        assert_eq!(why("queues.py", "ipv4_tx"), None);
        let unseen: Vec<_> = expected.unseen("hw/csum.py").collect();
        assert_eq!(unseen.len(), 1);
        assert_eq!(unseen[0].why, "z");
        assert!(expected.about("hw/csum.py", &subtest("")).is_some());
        assert_eq!(expected.unseen("hw/csum.py").count(), 0);
    }

    #[test]
    fn another_failure_is_not_the_expected_one() {
        let mut expected = Expected::parse(TEXT).unwrap();
        let mut holds = |outcome, reason: &str| {
            let subtest = Subtest {
                outcome,
                reason: reason.to_owned(),
                ..subtest("ipv4_tx")
            };
            let entry = expected.about("hw/csum.py", &subtest);
            entry.map(|entry| entry.holds(&subtest))
        };
        assert_eq!(holds(Outcome::Failed, "Check failed 0 != 1"), Some(true));
        assert_eq!(holds(Outcome::Failed, "Check failed 0 != 2"), Some(false));
        assert_eq!(holds(Outcome::Skipped, "0 != 1"), Some(false));
    }

    #[test]
    fn causes_are_checked() {
        for (from, to) in [("K23", "K"), ("\"K23\"", "\"\""), ("not ok", "ok")] {
            assert!(Expected::parse(&TEXT.replace(from, to)).is_err(), "{to}");
        }
    }

    #[test]
    fn every_fault_in_the_list_is_explained() {
        let list = Expected::load().unwrap();
        let todo = include_str!("../../../Documentation/todo.rst");
        for entry in list.entries.iter().filter(|entry| is_fault(&entry.cause)) {
            assert!(
                todo.split(|c: char| !c.is_ascii_alphanumeric())
                    .any(|word| word == entry.cause),
                "Documentation/todo.rst does not explain {}",
                entry.cause
            );
        }
    }
}
