// SPDX-License-Identifier: GPL-2.0
//! The kernel's own selftests for network drivers, run in a guest.

mod bed;
mod expected;
mod list;
mod reason;
mod report;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;

use bed::{Bed, Card};
use expected::Expected;
use list::Test;
use report::{Outcome, Subtest};

/// Environment variable with the path of the list of tests.
const LIST_VARIABLE: &str = "EHEA_SELFTESTS";

/// Options of a run; see `cargo xtask selftests --help`.
#[derive(Debug, Parser)]
pub struct Options {
    /// Names, or parts of names, of the tests to run.
    tests: Vec<String>,
    /// Runs each test on two virtio-net devices, too.
    #[arg(long)]
    control: bool,
    /// Lists the tests.
    #[arg(long)]
    list: bool,
}

/// Results of the control run, by full name.
type Control = BTreeMap<String, Outcome>;

/// Runs tests and prints their results. The exit code means success if all results are as expected.
pub fn run(options: &Options) -> Result<ExitCode> {
    let path = std::env::var_os(LIST_VARIABLE).with_context(|| {
        format!("{LIST_VARIABLE} is not set: run this through `cargo xtask selftests`")
    })?;
    let tests = list::select(list::read(&PathBuf::from(path))?, &options.tests)?;
    if options.list {
        for test in &tests {
            println!("{test}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut control = None;
    if options.control {
        let mut results = Control::new();
        run_all(Card::Virtio, &tests, &mut |test, subtest| {
            results.insert(full_name(test, &subtest), subtest.outcome);
        })?;
        control = Some(results);
    }
    let mut summary = Summary {
        expected: Expected::load()?,
        control,
        counts: BTreeMap::new(),
        unexpected: Vec::new(),
    };
    run_all(Card::Ehea, &tests, &mut |test, subtest| {
        summary.take(test, &subtest)
    })?;
    Ok(summary.finish(&tests))
}

/// Runs tests on a card. If the guest fails, that is a result of the test, and the next test gets
/// another guest.
fn run_all(card: Card, tests: &[Test], sink: &mut dyn FnMut(&Test, Subtest)) -> Result<()> {
    let mut bed = None;
    for (number, test) in (1..).zip(tests) {
        let mut here = match bed.take() {
            Some(bed) => bed,
            None => {
                eprintln!("booting a guest for {card} …");
                let bed = Bed::boot(card)?;
                eprintln!("logs: {}", bed.logs().display());
                bed
            }
        };
        eprintln!("[{number}/{}] {test} on {card} …", tests.len());
        let started = Instant::now();
        let mut count = 0;
        let result = here.run(test, &mut |subtest| {
            count += 1;
            sink(test, subtest);
        });
        eprintln!(
            "[{number}/{}] {test} on {card}: {count} results in {} s",
            tests.len(),
            started.elapsed().as_secs()
        );
        let result = match result {
            Ok(()) if number < tests.len() => {
                bed = Some(here);
                Ok(())
            }
            Ok(()) => here.shutdown(),
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            sink(
                test,
                Subtest {
                    name: "(guest)".to_owned(),
                    outcome: Outcome::Failed,
                    reason: format!("{error:#}").replace('\n', "; "),
                },
            );
        }
    }
    Ok(())
}

/// Returns the name under which a result is shown.
fn full_name(test: &Test, subtest: &Subtest) -> String {
    match subtest.name.as_str() {
        "" => test.to_string(),
        name => format!("{test}:{name}"),
    }
}

/// Printer of results, which keeps what has to be printed at the end.
struct Summary {
    expected: Expected,
    control: Option<Control>,
    counts: BTreeMap<Outcome, usize>,
    unexpected: Vec<String>,
}

impl Summary {
    fn take(&mut self, test: &Test, subtest: &Subtest) {
        let name = full_name(test, subtest);
        let mut line = format!("{} {name}", subtest.outcome);
        if !subtest.reason.is_empty() {
            line.push_str(" # ");
            line.push_str(&subtest.reason);
        }
        if let Some(control) = &self.control {
            let result = control.get(&name).map(Outcome::to_string);
            line.push_str(&format!(
                " [virtio-net: {}]",
                result.as_deref().unwrap_or("no result")
            ));
        }
        let entry = self.expected.about(&test.to_string(), subtest);
        let (holds, wanted) = match entry {
            Some(entry) => (entry.holds(subtest), entry.to_string()),
            None => (subtest.outcome == Outcome::Passed, "ok".to_owned()),
        };
        if !holds {
            self.unexpected.push(format!("{line}; expected: {wanted}"));
            line.push_str(" [unexpected]");
        } else if let Some(entry) = entry {
            line.push_str(&format!(" [expected: {}]", entry.cause));
        }
        *self.counts.entry(subtest.outcome).or_default() += 1;
        println!("{line}");
    }

    /// Prints the unexpected results, then the counts.
    fn finish(mut self, tests: &[Test]) -> ExitCode {
        for test in tests {
            let name = test.to_string();
            for entry in self.expected.unseen(&name) {
                self.unexpected
                    .push(format!("no such result of {name}; expected: {entry}"));
            }
        }
        if !self.unexpected.is_empty() {
            println!("\nnot as in tests/selftests/expected.toml:");
            for line in &self.unexpected {
                println!("  {line}");
            }
            println!();
        }
        let count = |outcome| self.counts.get(&outcome).copied().unwrap_or_default();
        println!(
            "{} passed, {} failed, {} skipped",
            count(Outcome::Passed),
            count(Outcome::Failed),
            count(Outcome::Skipped)
        );
        match self.unexpected.is_empty() {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        }
    }
}
