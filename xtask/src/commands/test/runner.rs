// SPDX-License-Identifier: GPL-2.0
//! Counting and printing of results.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result};

/// Runner of checks, which counts their results.
#[derive(Debug)]
pub(crate) struct Runner {
    only: Option<String>,
    passed: usize,
    failures: Vec<String>,
}

impl Runner {
    /// Returns a runner for the tests whose name contains `only`.
    pub(crate) fn new(only: Option<String>) -> Self {
        Self {
            only,
            passed: 0,
            failures: Vec::new(),
        }
    }

    /// Returns the filter of `--only`, for runners of other test programs.
    pub(crate) fn only(&self) -> Option<&str> {
        self.only.as_deref()
    }

    /// Checks whether a test of this name is to run.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only
            .as_ref()
            .is_none_or(|only| name.contains(only.as_str()))
    }

    /// Records a passed test.
    pub(crate) fn passed(&mut self, name: &str) {
        println!("test {name} ... ok");
        self.passed += 1;
    }

    /// Records a failed test.
    pub(crate) fn failed(&mut self, name: &str, why: &str) {
        println!("test {name} ... FAILED");
        for line in why.lines() {
            println!("    {line}");
        }
        self.failures.push(name.to_owned());
    }

    /// Runs a check unless it is filtered out.
    pub(crate) fn check(&mut self, name: &str, check: impl FnOnce() -> Result<()>) {
        if self.wants(name) {
            match check() {
                Ok(()) => self.passed(name),
                Err(error) => self.failed(name, &format!("{error:#}")),
            }
        }
    }

    /// Runs a command whose output has libtest's format, shows the output and takes over its
    /// counts.
    pub(crate) fn libtest(&mut self, name: &str, mut command: Command) {
        match follow(&mut command) {
            Ok(counts) => {
                self.passed += counts.passed;
                let explained = !counts.failed.is_empty();
                for failed in counts.failed {
                    self.failures.push(format!("{name}: {failed}"));
                }
                if !counts.success && !explained {
                    self.failed(name, "it ended without saying which test failed");
                }
            }
            Err(error) => self.failed(name, &format!("{error:#}")),
        }
    }

    /// Prints the summary.
    pub(crate) fn finish(self) -> ExitCode {
        let failed = self.failures.len();
        if failed > 0 {
            println!("\nfailed:");
            for name in &self.failures {
                println!("    {name}");
            }
        }
        println!("\n{} passed, {failed} failed", self.passed);
        if failed == 0 && self.passed == 0 {
            eprintln!("error: no test has this name");
        }
        if failed == 0 && self.passed > 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: usize,
    failed: Vec<String>,
    success: bool,
}

impl Counts {
    /// Reads a line such as `test name ... ok`. Other output may precede the outcome.
    fn line(&mut self, line: &str) {
        let Some(rest) = line
            .strip_prefix("test ")
            .filter(|rest| !rest.starts_with("result:"))
        else {
            return;
        };
        let Some((name, outcome)) = rest.split_once(" ... ") else {
            return;
        };
        match outcome.split([' ', ',']).next() {
            Some("ok") => self.passed += 1,
            Some("FAILED") => self.failed.push(name.trim_end().to_owned()),
            _ => {}
        }
    }
}

fn follow(command: &mut Command) -> Result<Counts> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run it")?;
    let mut counts = Counts::default();
    let output = child.stdout.take().context("no output")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        counts.line(&line);
    }
    counts.success = child.wait()?.success();
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtest_lines_are_counted() {
        let mut counts = Counts::default();
        for line in [
            "running 3 tests",
            "test a::b ... ok",
            "test src/lib.rs - (line 6) - compile ... ok",
            "test slow ... ignored, needs --full",
            "test c ... FAILED",
            "test result: FAILED. 2 passed; 1 failed; 1 ignored",
        ] {
            counts.line(line);
        }
        assert_eq!(
            counts,
            Counts {
                passed: 2,
                failed: vec!["c".to_owned()],
                success: false
            }
        );
    }

    #[test]
    fn a_program_that_dies_is_a_failure() {
        let mut runner = Runner::new(None);
        let mut command = Command::new("sh");
        command.args(["-c", "echo 'test a ... ok'; exit 1"]);
        runner.libtest("dies", command);
        assert_eq!(
            (runner.passed, runner.failures.as_slice()),
            (1, &["dies".to_owned()][..])
        );
    }

    #[test]
    fn only_is_a_part_of_the_name() {
        let mut runner = Runner::new(Some("b".to_owned()));
        runner.check("abc", || Ok(()));
        runner.check("ac", || anyhow::bail!("must not run"));
        assert_eq!((runner.passed, runner.failures.len()), (1, 0));
    }
}
