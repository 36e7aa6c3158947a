// SPDX-License-Identifier: GPL-2.0
//! Amount of unsafe code in the Rust code.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Figures;

/// Top-level folders with Rust code.
const FOLDERS: [&str; 7] = [
    "drivers", "rust", "kunit", "model", "tests", "harness", "xtask",
];

/// Counts the lines with the keyword `unsafe`, by folder.
pub(super) fn measure(figures: &mut Figures) -> Result<()> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("no folder around tests/")?;
    for folder in FOLDERS {
        let mut lines = 0;
        for file in rust_files(&checkout.join(folder))? {
            let text = fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            lines += unsafe_lines(&text);
        }
        figures.insert(format!("unsafe_lines_{folder}"), lines as f64);
    }
    Ok(())
}

/// Returns the Rust files in a folder and below.
fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

/// Returns the number of lines with the keyword `unsafe` in a Rust file.
fn unsafe_lines(text: &str) -> usize {
    code(text)
        .lines()
        .filter(|line| {
            line.split(|c: char| !(c.is_alphanumeric() || c == '_'))
                .any(|word| word == "unsafe")
        })
        .count()
}

/// Returns the text without comments and without the contents of string and character literals.
/// Line breaks stay.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = skipped(rest, code.chars().next_back());
        if skipped == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            let (literal, after) = rest.split_at(skipped);
            code.push(' ');
            code.extend(literal.chars().filter(|&c| c == '\n'));
            rest = after;
        }
    }
    code
}

/// Returns the number of bytes of the comment or literal with which `text` begins; 0 if it begins
/// with code.
fn skipped(text: &str, before: Option<char>) -> usize {
    let until = |from: usize, end: &str| {
        text.get(from..)
            .and_then(|tail| tail.find(end))
            .map_or(text.len(), |at| from + at + end.len())
    };
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return until(2, "*/");
    }
    if let (Some(tail), false) = (text.strip_prefix('r'), in_word) {
        let hashes = tail.len() - tail.trim_start_matches('#').len();
        if tail[hashes..].starts_with('"') {
            return until(hashes + 2, &format!("\"{}", "#".repeat(hashes)));
        }
    }
    let quote = match text.chars().next() {
        Some(quote @ ('"' | '\'')) => quote,
        _ => return 0,
    };
    let mut characters = text.char_indices().skip(1);
    let mut length = 0;
    while let Some((at, c)) = characters.next() {
        length += 1;
        match c {
            _ if c == quote => return at + 1,
            '\\' => drop(characters.next()),
            // The quote begins a lifetime or a label.
            _ if quote == '\'' && length > 1 && !text.starts_with("'\\") => return 0,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_keyword_in_code_counts() {
        let text = [
            "// unsafe { }",
            "unsafe { a('\"', '\\'', \"unsafe \\\" unsafe\") } // unsafe",
            "/* unsafe",
            "   unsafe */ unsafe fn f<'a>(x: &'a str) -> &'a str;",
            "#![deny(unsafe_op_in_unsafe_fn)]",
            "let text = r#\"unsafe \" unsafe\"#; let text = \"",
            "unsafe\";",
            "'label: loop { unsafe { break 'label } }",
        ]
        .join("\n");
        assert_eq!(unsafe_lines(&text), 3);
        assert_eq!(code(&text).lines().count(), text.lines().count());
    }
}
