// SPDX-License-Identifier: GPL-2.0
//! Functions in C files.

/// A function that a file defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Function {
    /// True if the function contains a branch.
    pub(super) branches: bool,
}

/// Keywords that make a branch.
const KEYWORDS: &[&str] = &["if", "for", "while", "switch", "do", "goto"];
const OPERATORS: &[&str] = &["?", "&&", "||"];

/// Returns the functions that a file defines. Their bodies are in braces behind a list of
/// parameters.
pub(super) fn functions(text: &str) -> Vec<Function> {
    let code = code(text);
    let mut functions = Vec::new();
    let mut depth = 0usize;
    let mut body = None;
    let mut before = ' ';
    for (at, c) in code.char_indices() {
        match c {
            '{' => {
                if depth == 0 && before == ')' {
                    body = Some(at);
                }
                depth += 1;
            }
            '}' => {
                depth = depth.saturating_sub(1);
                if let (0, Some(from)) = (depth, body) {
                    functions.push(Function {
                        branches: code.get(from..at).is_some_and(branches),
                    });
                    body = None;
                }
            }
            _ => {}
        }
        if !c.is_whitespace() {
            before = c;
        }
    }
    functions
}

fn branches(body: &str) -> bool {
    OPERATORS.iter().any(|operator| body.contains(operator))
        || body
            .split(|c: char| !(c.is_alphanumeric() || c == '_'))
            .any(|word| KEYWORDS.contains(&word))
}

/// Returns the text without comments, literals and preprocessor directives.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    let mut line_begins = true;
    while let Some(c) = rest.chars().next() {
        let end = |from: usize, end: &str| {
            rest.get(from..)
                .and_then(|tail| tail.find(end))
                .map_or(rest.len(), |at| from + at + end.len())
        };
        let skipped = match c {
            '/' if rest.starts_with("/*") => end(2, "*/"),
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '"' | '\'' => literal(rest, c),
            '#' if line_begins => directive(rest),
            _ => 0,
        };
        if skipped == 0 {
            line_begins = c == '\n' || (line_begins && c.is_whitespace());
            code.push(c);
            rest = rest.get(c.len_utf8()..).unwrap_or_default();
        } else {
            rest = rest.get(skipped..).unwrap_or_default();
        }
    }
    code
}

/// Returns the number of bytes of the literal with which `text` begins.
fn literal(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Returns the number of bytes of the directive with which `text` begins, including the lines that
/// continue it.
fn directive(text: &str) -> usize {
    let mut length = 0;
    for line in text.split_inclusive('\n') {
        length += line.len();
        if !line.trim_end().ends_with('\\') {
            break;
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<bool> {
        functions(text).iter().map(|f| f.branches).collect()
    }

    #[test]
    fn only_bodies_of_functions_count() {
        let text = "struct s { int a; };\nint f(int a);\n#define G(x) \\\n\tif (x) { }\n\
                    int f(int a)\n{\n\treturn a; /* if */\n}\nstatic const struct o o = { .f = f };\n";
        assert_eq!(kinds(text), [false]);
    }

    #[test]
    fn every_kind_of_branch_is_one() {
        let bodies = [
            "if (a) b();",
            "while (a) b();",
            "return a ? b : c;",
            "return a && b;",
        ];
        for body in bodies {
            assert_eq!(
                kinds(&format!("int f(void)\n{{ {body} }}\n")),
                [true],
                "{body}"
            );
        }
        let plain = "int f(void)\n{\n\tdifference(\"if ?\", '?'); // while\n\treturn &a & b;\n}\n";
        assert_eq!(kinds(plain), [false]);
    }
}
