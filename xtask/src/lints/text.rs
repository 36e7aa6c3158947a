// SPDX-License-Identifier: GPL-2.0
//! Rules for every text file.

use std::path::Path;

use super::{Lint, SourceFile};

fn extension(path: &Path) -> &str {
    path.extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default()
}

/// Checks whether a file comes from elsewhere, so that its layout is not up to this project.
fn is_generated(path: &Path) -> bool {
    path == Path::new("Cargo.lock") || path == Path::new("LICENSE") || extension(path) == "patch"
}

/// Every file names its licence in the first line, or in the second after `#!`.
pub(super) struct Licence;

impl Lint for Licence {
    fn name(&self) -> &'static str {
        "licence"
    }

    fn applies(&self, path: &Path) -> bool {
        !is_generated(path) && extension(path) != "json"
    }

    fn check(&self, file: &SourceFile, report: &mut dyn FnMut(usize, String)) {
        let mut lines = file.text.lines();
        let mut first = lines.next().unwrap_or_default();
        if first.starts_with("#!") && !first.starts_with("#![") {
            first = lines.next().unwrap_or_default();
        }
        if !first.contains("SPDX-License-Identifier: GPL-2.0") {
            report(
                1,
                "the first line is not `SPDX-License-Identifier: GPL-2.0`".to_owned(),
            );
        }
    }
}

/// One newline at the end and no blanks at line ends.
pub(super) struct Whitespace;

impl Lint for Whitespace {
    fn name(&self) -> &'static str {
        "whitespace"
    }

    fn applies(&self, path: &Path) -> bool {
        !is_generated(path)
    }

    fn check(&self, file: &SourceFile, report: &mut dyn FnMut(usize, String)) {
        for (number, line) in (1..).zip(file.text.lines()) {
            if line.ends_with([' ', '\t', '\r']) {
                report(number, "blanks at the end of the line".to_owned());
            }
        }
        if !file.text.ends_with('\n') || file.text.ends_with("\n\n") {
            report(
                file.text.lines().count(),
                "the file does not end with exactly one newline".to_owned(),
            );
        }
    }
}

/// Work that is left for later is in Documentation/todo.rst, where it is found.
pub(super) struct UnfinishedWork;

impl Lint for UnfinishedWork {
    fn name(&self) -> &'static str {
        "unfinished-work"
    }

    fn applies(&self, path: &Path) -> bool {
        !is_generated(path)
            && path != Path::new("Documentation/todo.rst")
            && !path.starts_with("xtask/src/lints")
    }

    fn check(&self, file: &SourceFile, report: &mut dyn FnMut(usize, String)) {
        const WORDS: &[&str] = &[
            "TODO:",
            "TODO(",
            "FIXME",
            "XXX:",
            "todo!(",
            "unimplemented!(",
        ];
        for (number, line) in (1..).zip(file.text.lines()) {
            if let Some(word) = WORDS.iter().find(|word| line.contains(**word)) {
                report(
                    number,
                    format!("{word} belongs into Documentation/todo.rst"),
                );
            }
        }
    }
}

/// Code names no host of the network, because mirrors and registries come from the machine's
/// configuration. Documentation may point to things to read.
pub(super) struct Addresses;

impl Lint for Addresses {
    fn name(&self) -> &'static str {
        "addresses"
    }

    fn applies(&self, path: &Path) -> bool {
        !is_generated(path) && !matches!(extension(path), "rst" | "md")
    }

    fn check(&self, file: &SourceFile, report: &mut dyn FnMut(usize, String)) {
        for (number, line) in (1..).zip(file.text.lines()) {
            for rest in line
                .split("http://")
                .skip(1)
                .chain(line.split("https://").skip(1))
            {
                let host = rest
                    .split(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '-'))
                    .next();
                // This top-level domain is reserved for tests.
                if host.is_some_and(|host| host.contains('.') && !host.ends_with(".test")) {
                    report(number, "an address of a host in the network".to_owned());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines;
    use super::*;

    #[test]
    fn licence_is_in_the_first_line() {
        let good = "// SPDX-License-Identifier: GPL-2.0\n";
        assert!(lines(&Licence, "a.rs", good).is_empty());
        assert!(lines(
            &Licence,
            "a",
            "#!/bin/sh\n# SPDX-License-Identifier: GPL-2.0\n"
        )
        .is_empty());
        assert_eq!(
            lines(
                &Licence,
                "a.rs",
                "//! x\n// SPDX-License-Identifier: GPL-2.0\n"
            ),
            [1]
        );
        assert!(lines(&Licence, "Cargo.lock", "").is_empty());
    }

    #[test]
    fn whitespace_is_checked() {
        assert!(lines(&Whitespace, "a", "x\n").is_empty());
        assert_eq!(lines(&Whitespace, "a", "x \ny"), [1, 2]);
        assert_eq!(lines(&Whitespace, "a", "x\n\n"), [2]);
    }

    #[test]
    fn unfinished_work_is_found() {
        assert_eq!(lines(&UnfinishedWork, "a.rs", "a\n// TODO: b\n"), [2]);
        assert!(lines(&UnfinishedWork, "Documentation/todo.rst", "TODO: b\n").is_empty());
    }

    #[test]
    fn addresses_are_found() {
        let text = concat!("http://mirror.test/x\n", "https://", "host.example/x\n");
        assert_eq!(lines(&Addresses, "a.rs", text), [2]);
        assert!(lines(&Addresses, "README.md", text).is_empty());
        assert!(lines(&Addresses, "a.rs", "split(\"http://\")\n").is_empty());
    }
}
