// SPDX-License-Identifier: GPL-2.0
//! Reason why a test failed, taken from its output before the result.

/// Maximum number of characters of a reason that are shown. The log has all of it.
const LENGTH: usize = 200;

/// Marks of the kernel's Python library in front of the output of an exception.
const MARKS: [&str; 4] = ["#", "Defer Exception|", "Exception|", "Check|"];

/// Maximum number of characters of a failed command that are shown.
const COMMAND_LENGTH: usize = 60;

/// Exceptions by which a test reports that it does not apply.
const SKIPS: [&str; 2] = ["KsftSkipEx", "KsftXfailEx"];

/// Returns the line without the marks in front of it.
fn plain(line: &str) -> &str {
    let mut rest = line;
    for mark in MARKS {
        if let Some(after) = rest.strip_prefix(mark) {
            rest = after.strip_prefix(' ').unwrap_or(after);
        }
    }
    rest.trim_end()
}

/// Returns the last exception in the notes, which is the lines after its traceback.
fn exception(notes: &[String]) -> Option<Vec<&str>> {
    let at = notes
        .iter()
        .rposition(|line| line.contains("Traceback (most recent call last)"))?;
    let lines = notes.get(at + 1..)?.iter().map(|line| plain(line));
    let lines: Vec<_> = lines.skip_while(|line| line.starts_with(' ')).collect();
    (!lines.is_empty()).then_some(lines)
}

/// Checks whether a test ended with an exception which means that the test does not apply.
pub(super) fn is_skip(notes: &[String]) -> bool {
    exception(notes)
        .and_then(|lines| lines.first().copied())
        .is_some_and(|line| SKIPS.iter().any(|name| line.contains(name)))
}

/// Returns the reason in one line: the last exception, or the failed command and its output.
/// Otherwise it is the first check that failed, or the last line.
pub(super) fn of(notes: &[String]) -> String {
    let text = if let Some(lines) = exception(notes) {
        let mut parts: Vec<_> = lines
            .iter()
            .map(|line| line.trim())
            .filter(|line| !line.is_empty())
            .collect();
        match command(&parts) {
            Some(text) => text,
            None => {
                if let Some(first) = parts.first_mut() {
                    *first = without_modules(first);
                }
                parts.join("; ")
            }
        }
    } else if let Some(check) = notes
        .iter()
        .map(|line| plain(line))
        .find(|line| line.starts_with("Check failed") || line.starts_with("Expected exception"))
    {
        check.to_owned()
    } else {
        let last = notes
            .iter()
            .rev()
            .map(|line| plain(line).trim())
            .find(|line| !line.is_empty());
        let last = last.unwrap_or_default();
        last.strip_prefix("SKIP:").unwrap_or(last).trim().to_owned()
    };
    cut(text.trim(), LENGTH)
}

/// Returns the command that an exception is about, with its error output or, if it has none, its
/// other output.
fn command(lines: &[&str]) -> Option<String> {
    let at = lines.iter().position(|line| line.starts_with("CMD"))?;
    let (_, command) = lines.get(at)?.split_once(": ")?;
    let output = lines.get(at + 1..)?;
    let start = ["STDERR: ", "STDOUT: ", "EXIT: "]
        .iter()
        .find_map(|mark| output.iter().position(|line| line.starts_with(mark)))?;
    let said = output.get(start..)?.join("; ");
    let command = command.rsplit("/kselftest/").next().unwrap_or(command);
    let said = said.strip_prefix("STDERR: ").unwrap_or(&said);
    Some(format!("{}: {said}", cut(command, COMMAND_LENGTH)))
}

/// Removes the modules in front of a name such as `net.lib.py.utils.CmdExitFailure: Command
/// failed`.
fn without_modules(line: &str) -> &str {
    let end = line.find(':').unwrap_or(line.len());
    match line.get(..end).and_then(|name| name.rfind('.')) {
        Some(dot) if !line[..end].contains(' ') => &line[dot + 1..],
        _ => line,
    }
}

fn cut(text: &str, length: usize) -> String {
    match text.char_indices().nth(length) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notes(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn an_exception_with_the_command_that_failed() {
        let notes = notes(
            "# Exception| Traceback (most recent call last):\n\
             # Exception|   File \"/x/ksft.py\", line 327, in ksft_run\n\
             # Exception|     func(*args)\n\
             # Exception| net.lib.py.utils.CmdExitFailure: Command failed\n\
             # Exception| CMD: ethtool -G eth0 rx 64\n\
             # Exception|   EXIT: 1\n\
             # Exception|   STDERR: netlink error: Operation not supported\n",
        );
        assert_eq!(
            of(&notes),
            "ethtool -G eth0 rx 64: netlink error: Operation not supported"
        );
        assert!(!is_skip(&notes));
    }

    #[test]
    fn an_exception_that_means_a_skip() {
        let notes = notes(
            "Traceback (most recent call last):\n  File \"x.py\", line 3\n\
             net.lib.py.ksft.KsftXfailEx: Test only works on netdevsim\n",
        );
        assert!(is_skip(&notes));
        assert_eq!(of(&notes), "KsftXfailEx: Test only works on netdevsim");
    }

    #[test]
    fn long_reasons_are_cut() {
        let long = vec!["é".repeat(300)];
        assert_eq!(of(&long).chars().count(), LENGTH + 1);
        assert_eq!(of(&[]), "");
    }
}
