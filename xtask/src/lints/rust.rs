// SPDX-License-Identifier: GPL-2.0
//! Rules for Rust files.

use std::path::Path;

use super::{Lint, SourceFile};

/// Folders that may contain unsafe code: the abstractions, and the model's interface to C.
const UNSAFE_PLACES: &[&str] = &["rust", "model/src/ffi"];

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "rs")
}

/// Returns the part of a line that is code: without comments and the contents of string literals.
fn code(line: &str) -> String {
    let mut code = String::new();
    let mut characters = line.chars().peekable();
    let mut in_string = false;
    while let Some(c) = characters.next() {
        match c {
            '\\' if in_string => drop(characters.next()),
            '"' => in_string = !in_string,
            '/' if !in_string && characters.peek() == Some(&'/') => break,
            _ if !in_string => code.push(c),
            _ => {}
        }
    }
    code
}

/// Checks whether `code` contains `word` as a whole identifier.
fn has_word(code: &str, word: &str) -> bool {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .any(|w| w == word)
}

/// No `unsafe` outside the places made for it.
pub(super) struct UnsafePlaces;

impl Lint for UnsafePlaces {
    fn name(&self) -> &'static str {
        "unsafe-places"
    }

    fn applies(&self, path: &Path) -> bool {
        is_rust(path) && !UNSAFE_PLACES.iter().any(|place| path.starts_with(place))
    }

    fn check(&self, file: &SourceFile, report: &mut dyn FnMut(usize, String)) {
        for (number, line) in (1..).zip(file.text.lines()) {
            if has_word(&code(line), "unsafe") {
                report(
                    number,
                    format!("`unsafe` is only for {}", UNSAFE_PLACES.join(" and ")),
                );
            }
        }
    }
}

/// Each unsafe block argues why it is sound, each unsafe function says what its caller must ensure.
pub(super) struct SafetyComments;

impl Lint for SafetyComments {
    fn name(&self) -> &'static str {
        "safety-comments"
    }

    fn applies(&self, path: &Path) -> bool {
        is_rust(path) && UNSAFE_PLACES.iter().any(|place| path.starts_with(place))
    }

    fn check(&self, file: &SourceFile, report: &mut dyn FnMut(usize, String)) {
        let lines: Vec<&str> = file.text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let code = code(line);
            if !has_word(&code, "unsafe") || code.trim_start().starts_with('#') {
                continue;
            }
            let above = lines[..index].iter().rev().map(|l| l.trim_start());
            // A comment stands above the statement, which may have begun some lines earlier.
            let comment = |text: &str| {
                line.contains(text)
                    || above
                        .clone()
                        .take(25)
                        .take_while(|l| !l.is_empty() && *l != "}")
                        .any(|l| l.contains(text))
            };
            let function = code.contains("unsafe fn") || code.contains("unsafe extern \"\" fn");
            let is_type = code.contains("fn(") || code.trim_end().ends_with("fn");
            let declaration = code.contains("unsafe extern") || code.contains("unsafe trait");
            if function && !is_type {
                if !implements_trait(&lines[..index], line)
                    && !comment("# Safety")
                    && !comment("SAFETY:")
                {
                    report(
                        index + 1,
                        "an unsafe function without `# Safety`".to_owned(),
                    );
                }
            } else if !declaration && !is_type && !comment("SAFETY:") {
                report(index + 1, "an unsafe block without `// SAFETY:`".to_owned());
            }
        }
    }
}

/// Checks whether a function at this line implements one of a trait, whose documentation tells what
/// the caller must ensure.
fn implements_trait(above: &[&str], line: &str) -> bool {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let around = above
        .iter()
        .rev()
        .find(|l| indent(l) < indent(line) && !matches!(**l, "" | "where" | "{"));
    around.is_some_and(|l| has_word(l, "impl") && has_word(l, "for"))
}

/// The driver goes through the abstractions in `rust/`, never to C directly.
pub(super) struct DriverUsesAbstractions;

impl Lint for DriverUsesAbstractions {
    fn name(&self) -> &'static str {
        "driver-uses-abstractions"
    }

    fn applies(&self, path: &Path) -> bool {
        is_rust(path) && path.starts_with("drivers")
    }

    fn check(&self, file: &SourceFile, report: &mut dyn FnMut(usize, String)) {
        for (number, line) in (1..).zip(file.text.lines()) {
            let code = code(line);
            // The crate's root declares the module, which `rust/` uses.
            let declares = code.trim() == "pub mod bindings;";
            if has_word(&code, "bindings") && !declares || has_word(&code, "extern") {
                report(
                    number,
                    "the kernel's C interface is only for rust/".to_owned(),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines;
    use super::*;

    #[test]
    fn unsafe_is_found_in_code_only() {
        let text =
            "// unsafe\n#![forbid(unsafe_code)]\nlet x = unsafe { f() };\nlet s = \"unsafe\";\n";
        assert_eq!(lines(&UnsafePlaces, "drivers/ehea/a.rs", text), [3]);
        assert!(lines(&UnsafePlaces, "rust/kernel/a.rs", text).is_empty());
        assert!(lines(&UnsafePlaces, "model/src/ffi/host.rs", text).is_empty());
    }

    #[test]
    fn unsafe_blocks_need_an_argument() {
        let good = "// SAFETY: because.\nunsafe { f() };\n\n/// # Safety\n///\n/// Be careful.\nunsafe fn g() {}\n";
        assert!(lines(&SafetyComments, "rust/a.rs", good).is_empty());
        let bad =
            "// SAFETY: because.\nlet x = 1;\n\nunsafe { f() };\n\n/// Fine.\nunsafe fn g() {}\n";
        assert_eq!(lines(&SafetyComments, "rust/a.rs", bad), [4, 7]);
        let of_trait = "impl T for S {\n    fn f() {\n    }\n\n    unsafe fn g() {}\n}\nimpl S {\n    unsafe fn h() {}\n}\nimpl<A> T for W<A>\nwhere\n    A: B,\n{\n    unsafe fn g() {}\n}\n";
        assert_eq!(lines(&SafetyComments, "rust/a.rs", of_trait), [8]);
    }

    #[test]
    fn the_driver_does_not_name_c() {
        let text = "use kernel::bindings;\nextern \"C\" fn f() {}\nlet bindings_count = 1;\n";
        assert_eq!(
            lines(&DriverUsesAbstractions, "drivers/ehea/a.rs", text),
            [1, 2]
        );
        assert!(lines(&DriverUsesAbstractions, "rust/a.rs", text).is_empty());
        let root = "#[path = \"../../rust/bindings/mod.rs\"]\npub mod bindings;\n";
        assert!(lines(&DriverUsesAbstractions, "drivers/ehea/ehea.rs", root).is_empty());
    }
}
