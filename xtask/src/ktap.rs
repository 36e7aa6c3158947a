// SPDX-License-Identifier: GPL-2.0
//! KTAP, the format in which KUnit reports on the kernel's console.

/// Results in a report.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Names of passed tests, each preceded by the names of the suites around it.
    pub(crate) passed: Vec<String>,
    /// Names of failed tests.
    pub(crate) failed: Vec<String>,
    /// Names of skipped tests.
    pub(crate) skipped: Vec<String>,
}

/// A result whose surrounding suite has not ended yet.
struct Result {
    indent: usize,
    name: String,
    good: bool,
    outcome: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    Skipped,
    /// A suite, whose tests are in the list.
    Suite,
}

/// Reads a report. Only innermost results count. A suite that fails without a failed test of its
/// own (its set-up failed, or it ended early) is a failure, too, and so is a plan that was not
/// kept.
pub(crate) fn parse<'a>(console: impl IntoIterator<Item = &'a str>) -> Report {
    let mut results: Vec<Result> = Vec::new();
    let mut plans: Vec<(usize, usize)> = Vec::new();
    let mut report = Report::default();
    for line in console {
        let line = without_time(line);
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if let Some(count) = text.strip_prefix("1..").and_then(|n| n.trim().parse().ok()) {
            plans.push((indent, count));
            continue;
        }
        let Some((good, rest)) = result_line(text) else {
            continue;
        };
        let name = rest.split('#').next().unwrap_or_default().trim();
        let inner = results
            .iter()
            .position(|r| r.indent > indent)
            .unwrap_or(results.len());
        let mut outcome = match (rest.contains("# SKIP"), good) {
            (true, _) => Outcome::Skipped,
            (false, true) => Outcome::Passed,
            (false, false) => Outcome::Failed,
        };
        if inner < results.len() {
            // The results of a suite come before its own, with a deeper indent.
            let run = results[inner..]
                .iter()
                .filter(|r| r.indent == results[inner].indent)
                .count();
            let planned = plans
                .iter()
                .rposition(|p| p.0 > indent)
                .map(|at| plans.remove(at).1);
            let any_failed = results[inner..].iter().any(|r| !r.good);
            if planned.is_some_and(|planned| planned != run) || (!good && !any_failed) {
                let planned = planned.unwrap_or(run);
                report
                    .failed
                    .push(format!("{name}: {run} of {planned} tests ran"));
            }
            outcome = Outcome::Suite;
            for result in &mut results[inner..] {
                result.name = format!("{name}.{}", result.name);
            }
            collect(&mut report, results.drain(inner..));
        }
        let name = name.to_owned();
        results.push(Result {
            indent,
            name,
            good,
            outcome,
        });
    }
    collect(&mut report, results.into_iter());
    for (_, planned) in plans.into_iter().filter(|p| p.0 > 0) {
        report
            .failed
            .push(format!("a suite of {planned} tests did not end"));
    }
    report
}

fn collect(report: &mut Report, results: impl Iterator<Item = Result>) {
    for result in results {
        match result.outcome {
            Outcome::Passed => report.passed.push(result.name),
            Outcome::Failed => report.failed.push(result.name),
            Outcome::Skipped => report.skipped.push(result.name),
            Outcome::Suite => {}
        }
    }
}

/// Splits `ok 1 name` and `not ok 1 name`.
fn result_line(text: &str) -> Option<(bool, &str)> {
    let (good, rest) = match text.strip_prefix("not ok ") {
        Some(rest) => (false, rest),
        None => (true, text.strip_prefix("ok ")?),
    };
    let (number, name) = rest.split_once(' ')?;
    number.parse::<u32>().ok()?;
    Some((good, name))
}

/// Removes `[    1.234567] ` or, with the caller's number, `[    1.234567][   T12] `.
fn without_time(line: &str) -> &str {
    match line
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("] "))
    {
        Some((_, rest)) => rest,
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
[    1.000000] KTAP version 1
[    1.000001] 1..2
[    1.000002]     KTAP version 1
[    1.000003]     # Subtest: busmap
[    1.000004]     1..3
[    1.000005]     ok 1 finds
[    1.000006]     ok 2 grows # SKIP no memory
[    1.000007]         KTAP version 1
[    1.000008]         # Subtest: sizes
[    1.000009]         ok 1 small
[    1.000010]         not ok 2 large
[    1.000011]     not ok 3 sizes
[    1.000012] # busmap: pass:1 fail:1 skip:1 total:3
[    1.000013] not ok 1 busmap
[    1.000014] ehea: something else
[    1.000015]     KTAP version 1
[    1.000016]     # Subtest: other
[    1.000017]     1..1
[    1.000018]     ok 1 works
[    1.000019] ok 2 other
";

    #[test]
    fn innermost_results_count() {
        let report = parse(GOOD.lines());
        assert_eq!(
            report.passed,
            ["sizes.small", "busmap.finds", "other.works"]
        );
        assert_eq!(report.failed, ["sizes.large"]);
        assert_eq!(report.skipped, ["busmap.grows"]);
    }

    #[test]
    fn a_test_that_did_not_run_is_a_failure() {
        let cut: Vec<_> = GOOD
            .lines()
            .filter(|line| !line.contains("finds"))
            .collect();
        assert_eq!(
            parse(cut).failed,
            ["sizes.large", "busmap: 2 of 3 tests ran"]
        );
    }

    #[test]
    fn a_suite_that_does_not_end_is_a_failure() {
        let report = parse(GOOD.lines().take(6));
        assert_eq!(report.failed, ["a suite of 3 tests did not end"]);
    }

    #[test]
    fn a_suite_that_fails_by_itself_is_a_failure() {
        let text = "    1..1\n    ok 1 a\nnot ok 1 suite\n";
        assert_eq!(parse(text.lines()).failed, ["suite: 1 of 1 tests ran"]);
    }
}
