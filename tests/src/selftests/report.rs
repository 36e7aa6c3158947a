// SPDX-License-Identifier: GPL-2.0
//! Parser of a test's output: TAP from the kernel's Python and shell libraries, or the lines of its
//! older shell library, `TEST: name [ OK ]`.

use std::fmt;

use serde::Deserialize;

use super::reason;

/// Exit status of a test that cannot run here.
const SKIPPED: i32 = 4;

/// Exit statuses of a test that was ended because it took too long: that of timeout(1), and that of
/// a process which timeout(1) had to kill.
const TIMED_OUT: [i32; 2] = [124, 137];

/// Outcome of a subtest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) enum Outcome {
    /// The subtest passed.
    #[serde(rename = "ok")]
    Passed,
    /// The subtest failed.
    #[serde(rename = "not ok")]
    Failed,
    /// The subtest did not run, or reports that it is not meant for such a device.
    #[serde(rename = "skip")]
    Skipped,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "ok",
            Self::Failed => "not ok",
            Self::Skipped => "skip",
        })
    }
}

/// Result of a subtest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subtest {
    /// Name of the subtest; empty for the test as a whole.
    pub(super) name: String,
    /// Outcome of the subtest.
    pub(super) outcome: Outcome,
    /// Reason why it failed or was skipped.
    pub(super) reason: String,
}

/// Parser that reads the output of one test line by line.
#[derive(Debug)]
pub(super) struct Parser {
    prefix: String,
    planned: Option<usize>,
    seen: usize,
    failed: bool,
    /// Lines since the last result.
    notes: Vec<String>,
    /// Result whose reason is in the next line.
    pending: Option<Subtest>,
}

impl Parser {
    /// Returns a parser for the test with the name `stem`, without extension.
    pub(super) fn new(stem: &str) -> Self {
        Self {
            prefix: format!("{stem}."),
            planned: None,
            seen: 0,
            failed: false,
            notes: Vec::new(),
            pending: None,
        }
    }

    /// Parses a line. Returns the results that are complete with it.
    pub(super) fn line(&mut self, line: &str) -> Vec<Subtest> {
        let mut results = Vec::new();
        if let Some(mut pending) = self.pending.take() {
            let reason = line.strip_prefix('\t');
            if let Some(reason) = reason {
                pending.reason = reason.trim().to_owned();
            }
            results.push(self.count(pending));
            if reason.is_some() {
                return results;
            }
        }
        if let Some(planned) = line.strip_prefix("1..").and_then(|n| n.trim().parse().ok()) {
            self.planned = Some(planned);
        } else if let Some(result) = self.tap(line) {
            self.notes.clear();
            results.push(self.count(result));
        } else if let Some(result) = shell(line) {
            self.notes.clear();
            if result.outcome == Outcome::Passed {
                results.push(self.count(result));
            } else {
                self.pending = Some(result);
            }
        } else if !line.contains("TAP version ") {
            self.notes.push(line.to_owned());
        }
        results
    }

    /// Ends with the test's exit status. Returns the results that are still due. `limit` is the
    /// time limit of the test in seconds.
    pub(super) fn end(mut self, status: i32, limit: u32) -> Vec<Subtest> {
        let mut results = Vec::new();
        if let Some(pending) = self.pending.take() {
            results.push(self.count(pending));
        }
        let late = TIMED_OUT.contains(&status);
        let planned = self.planned.unwrap_or(self.seen);
        let reason = if late {
            format!(
                "did not end within {limit} s of the guest's clock; {} of {planned} subtests ran",
                self.seen
            )
        } else if self.seen < planned {
            format!(
                "only {} of {planned} subtests ran: {}",
                self.seen,
                reason::of(&self.notes)
            )
        } else if self.seen == 0 || (status != 0 && status != SKIPPED && !self.failed) {
            match reason::of(&self.notes) {
                reason if reason.is_empty() => format!("exit status {status}"),
                reason => reason,
            }
        } else {
            return results;
        };
        let outcome = if late || self.seen > 0 {
            Outcome::Failed
        } else if status == 0 {
            Outcome::Passed
        } else if status == SKIPPED || reason::is_skip(&self.notes) {
            Outcome::Skipped
        } else {
            Outcome::Failed
        };
        results.push(Subtest {
            name: String::new(),
            outcome,
            reason: match outcome {
                Outcome::Passed => String::new(),
                _ => reason,
            },
        });
        results
    }

    fn count(&mut self, result: Subtest) -> Subtest {
        self.seen += 1;
        self.failed |= result.outcome == Outcome::Failed;
        result
    }

    /// Parses a result line of TAP, such as `ok 1 csum.name # SKIP reason`.
    fn tap(&self, line: &str) -> Option<Subtest> {
        let (good, rest) = match line.strip_prefix("not ok ") {
            Some(rest) => (false, rest),
            None => (true, line.strip_prefix("ok ")?),
        };
        let (number, rest) = rest.split_once(' ')?;
        number.parse::<u32>().ok()?;
        let (name, comment) = match rest.split_once(" # ") {
            Some((name, comment)) => (name, comment.trim()),
            None => (rest, ""),
        };
        let skip = ["SKIP", "XFAIL"]
            .iter()
            .find_map(|word| comment.strip_prefix(word));
        let (outcome, reason) = match (skip, good) {
            (Some(reason), _) if reason.trim().is_empty() => {
                (Outcome::Skipped, reason::of(&self.notes))
            }
            (Some(reason), _) => (Outcome::Skipped, reason.trim().to_owned()),
            (None, true) => (Outcome::Passed, String::new()),
            (None, false) => (Outcome::Failed, reason::of(&self.notes)),
        };
        let name = name.trim();
        Some(Subtest {
            name: name.strip_prefix(&self.prefix).unwrap_or(name).to_owned(),
            outcome,
            reason,
        })
    }
}

/// Parses a result line of the older shell library, such as `TEST: name      [ OK ]`.
fn shell(line: &str) -> Option<Subtest> {
    let (name, result) = line
        .strip_prefix("TEST: ")?
        .trim_end()
        .strip_suffix(']')?
        .rsplit_once('[')?;
    Some(Subtest {
        name: name.trim().to_owned(),
        outcome: match result.trim() {
            "OK" => Outcome::Passed,
            "SKIP" | "XFAIL" => Outcome::Skipped,
            _ => Outcome::Failed,
        },
        reason: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, status: i32) -> Vec<String> {
        let mut parser = Parser::new("csum");
        let mut results: Vec<_> = text.lines().flat_map(|line| parser.line(line)).collect();
        results.extend(parser.end(status, 600));
        let show = |r: Subtest| format!("{} {} # {}", r.outcome, r.name, r.reason);
        results.into_iter().map(show).collect()
    }

    #[test]
    fn python() {
        let text = "TAP version 13\n1..3\nok 1 csum.ipv4_rx\n# Check| At /x.py, line 3, in f:\n\
                    # Check failed 1 != 2 \nnot ok 2 csum.ipv4_tx\n\
                    ok 3 csum.ipv6 # SKIP Test requires IPv6\n# Totals: pass:1\n";
        let results = [
            "ok ipv4_rx # ",
            "not ok ipv4_tx # Check failed 1 != 2",
            "skip ipv6 # Test requires IPv6",
        ];
        assert_eq!(parse(text, 1), results);
        assert_eq!(parse(text, 1), results);
    }

    #[test]
    fn a_header_is_no_reason() {
        assert_eq!(parse("TAP version 13\nok 1 a # SKIP\n", 4), ["skip a # "]);
    }

    #[test]
    fn shell_scripts() {
        let text = "TEST: one thing            [ OK ]\nTEST: other   [FAIL]\n\tno carrier\n\
                    TEST: third [SKIP]\nTEST: last [FAIL]\n";
        assert_eq!(
            parse(text, 1),
            [
                "ok one thing # ",
                "not ok other # no carrier",
                "skip third # ",
                "not ok last # "
            ]
        );
    }

    #[test]
    fn what_did_not_run_is_a_failure() {
        let text = "1..3\nok 1 csum.a\n# tail\n";
        assert_eq!(
            parse(text, 1),
            ["ok a # ", "not ok  # only 1 of 3 subtests ran: tail"]
        );
        assert_eq!(
            parse(text, 124)[1],
            "not ok  # did not end within 600 s of the guest's clock; 1 of 3 subtests ran"
        );
    }

    #[test]
    fn a_test_without_subtests_is_judged_by_its_status() {
        assert_eq!(parse("", 0), ["ok  # "]);
        assert_eq!(parse("SKIP: no jq\n", 4), ["skip  # no jq"]);
        assert_eq!(parse("oops\n", 1), ["not ok  # oops"]);
        assert_eq!(parse("ok 1 csum.a\n", 1)[1], "not ok  # exit status 1");
        assert_eq!(parse("ok 1 csum.a # SKIP b\n", 4), ["skip a # b"]);
    }
}
