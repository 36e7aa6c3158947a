// SPDX-License-Identifier: GPL-2.0
//! Rule for the beginning of documentation comments.

use std::path::Path;

use super::{Lint, SourceFile};

/// Folders and files that follow the rule.
const PLACES: &[&str] = &[
    "benches",
    "drivers/ehea",
    "harness",
    "kunit",
    "model",
    "rust",
    "tests",
    "xtask",
];

/// Folders whose functions are scenarios. Like tests, they are exempt from the rule for functions.
const SCENARIOS: &[&str] = &[
    "tests/machine",
    "tests/scenarios",
    "tests/src/checks",
    "tests/witness",
];

/// Words with which neither a verb phrase nor a noun phrase begins.
///
/// Compounds such as "How-to" and names such as "As-is" are words of their own.
const WORDS: &[&str] = &[
    "As", "By", "Has", "Have", "How", "If", "Is", "Are", "Likewise", "Of", "Since", "That",
    "Those", "What", "When", "Where", "Whether", "Which", "While", "Who", "Whom", "Why", "With",
];

/// Articles, with which the documentation of a function does not begin: it has a verb first.
const ARTICLES: &[&str] = &["A", "An", "The"];

/// Documentation begins with a verb, or with the noun for what it describes.
///
/// Tests and scenarios are exempt from the rule for functions, because their documentation is a
/// statement that they prove.
pub(super) struct FirstWord;

impl Lint for FirstWord {
    fn name(&self) -> &'static str {
        "docs-first-word"
    }

    fn applies(&self, path: &Path) -> bool {
        path.extension().is_some_and(|extension| extension == "rs")
            && PLACES.iter().any(|place| path.starts_with(place))
    }

    fn check(&self, file: &SourceFile, report: &mut dyn FnMut(usize, String)) {
        let lines: Vec<&str> = file.text.lines().map(str::trim_start).collect();
        let has_scenarios = SCENARIOS.iter().any(|place| file.path.starts_with(place));
        let mut previous = None;
        for (index, line) in lines.iter().enumerate() {
            let marker = marker(line);
            let is_first = marker.is_some() && marker != previous;
            previous = marker;
            if !is_first {
                continue;
            }
            let mut words = line[3..].split_whitespace();
            let Some(first) = words.next() else {
                continue;
            };
            let first = first.trim_end_matches([',', ':', ';', '.']);
            if WORDS.contains(&first) {
                report(
                    index + 1,
                    format!("documentation begins with \"{first}\", not with a verb or noun"),
                );
            } else if first == "Takes" && words.next() == Some("note") {
                report(
                    index + 1,
                    "\"Takes note\" says nothing: use a verb that does".to_owned(),
                );
            } else if ARTICLES.contains(&first) && !has_scenarios && is_function(&lines[index..]) {
                report(
                    index + 1,
                    format!("documentation of a function begins with \"{first}\", not with a verb"),
                );
            }
        }
    }
}

/// Returns the marker with which a line of documentation begins.
fn marker(line: &str) -> Option<&'static str> {
    // A longer row of slashes is an ordinary comment.
    if line.starts_with("////") {
        return None;
    }
    ["///", "//!"]
        .into_iter()
        .find(|marker| line.starts_with(marker))
}

/// Checks whether the documentation with which `lines` begin is that of a function, but not of a
/// test.
fn is_function(lines: &[&str]) -> bool {
    let before: Vec<&&str> = lines
        .iter()
        .take_while(|line| line.starts_with("//") || line.starts_with("#["))
        .collect();
    if before.iter().any(|line| line.starts_with("#[test]")) {
        return false;
    }
    let item = lines.get(before.len()).copied().unwrap_or_default();
    let words: Vec<&str> = item.split_whitespace().collect();
    words.windows(2).any(|pair| pair[0] == "fn")
}

#[cfg(test)]
mod tests {
    use super::super::lines;
    use super::*;

    const PATH: &str = "model/src/adapter.rs";

    #[test]
    fn questions_are_found() {
        let text = "//! What it is.\n\n/// Number of ports.\nports: u32,\n/// Whether it is up.\n";
        assert_eq!(lines(&FirstWord, PATH, text), [1, 5]);
        assert_eq!(lines(&FirstWord, PATH, "/// Of: a port.\n"), [1]);
        assert_eq!(lines(&FirstWord, PATH, "/// Takes note of it.\n"), [1]);
        assert!(lines(&FirstWord, PATH, "/// Takes a note.\n/// How it was.\n").is_empty());
    }

    #[test]
    fn nouns_and_other_comments_are_not_found() {
        for line in [
            "/// How-to for users.",
            "// What follows.",
            "//// What.",
            "///",
            "/// Area.",
        ] {
            assert!(lines(&FirstWord, PATH, line).is_empty(), "{line}");
        }
    }

    #[test]
    fn functions_begin_with_a_verb() {
        let function = "/// The port.\n#[inline]\npub(crate) const fn port(&self) -> u16 {\n";
        assert_eq!(lines(&FirstWord, PATH, function), [1]);
        assert!(lines(&FirstWord, "tests/scenarios/cycles.rs", function).is_empty());
        assert!(lines(&FirstWord, PATH, "/// The port.\nport: fn(u16),\n").is_empty());
        assert!(lines(
            &FirstWord,
            PATH,
            "/// The port is up.\n#[test]\nfn up() {\n"
        )
        .is_empty());
    }

    #[test]
    fn other_places_are_free() {
        assert!(lines(&FirstWord, "kernel/irq.rs", "/// What it is.\n").is_empty());
        assert!(lines(&FirstWord, "model/README.md", "/// What it is.\n").is_empty());
    }
}
