// SPDX-License-Identifier: GPL-2.0
//! Progress of long steps: their output goes to a log, and the terminal shows that something
//! happens.
//!
//! Several steps can run at once, each in its own thread. On a terminal, each has a line at the
//! bottom; elsewhere, each prints a line with its name now and then.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

const TICK: Duration = Duration::from_millis(200);

/// Interval between lines of a step if there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(30);

/// Time below which a step that nobody announced is not worth a line.
const UNNOTICED: Duration = Duration::from_secs(2);

/// Beginning of a line with a command in the log.
const COMMAND: &str = "+ ";

/// Number of lines of the log that are shown when a step fails.
const SHOWN_LINES: usize = 15;

/// Number of bytes at the end of a log that are read.
const SHOWN_BYTES: u64 = 1 << 14;

/// Lines of all steps that are running.
static LINES: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Number of steps that are running.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Prints a line above those of the steps that are running.
pub(crate) fn say(line: impl Display) {
    LINES.suspend(|| eprintln!("{line}"));
}

/// A piece of work with a log of its own.
#[derive(Debug)]
pub(crate) struct Step {
    title: String,
    log: PathBuf,
    started: Instant,
    announced: bool,
    line: Option<ProgressBar>,
}

impl Step {
    /// Starts a step, with an empty log at `log`.
    pub(crate) fn start(title: &str, log: &Path) -> Result<Self> {
        let mut step = Self::start_quietly(title, log)?;
        step.announced = true;
        say(format_args!("{title} … (log: {})", log.display()));
        Ok(step)
    }

    /// Starts a step that usually has nothing to do.
    pub(crate) fn start_quietly(title: &str, log: &Path) -> Result<Self> {
        if let Some(parent) = log.parent() {
            std::fs::create_dir_all(parent)
                .with_context(|| format!("cannot create {}", parent.display()))?;
        }
        File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        RUNNING.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            title: title.to_owned(),
            log: log.to_owned(),
            started: Instant::now(),
            announced: false,
            line: std::io::stderr().is_terminal().then(|| line(title)),
        })
    }

    /// Returns the path of the log.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Runs a command that must succeed.
    pub(crate) fn run(&self, what: &str, command: &mut Command) -> Result<()> {
        let mut log = OpenOptions::new()
            .append(true)
            .open(&self.log)
            .context("cannot open the log")?;
        writeln!(log, "{COMMAND}{command:?}")?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot run {program}"))?;
        if let Some(line) = &self.line {
            line.set_prefix(format!("{}: {what}", self.title));
        }
        let mut printed = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if let Some(line) = &self.line {
                line.set_message(self.activity());
                line.tick();
            } else if printed.elapsed() >= LINE_INTERVAL {
                printed = Instant::now();
                let activity = self.activity();
                say(format_args!(
                    "  {} [{} s] {what}{}{activity}",
                    self.title,
                    self.started.elapsed().as_secs(),
                    if activity.is_empty() { "" } else { ": " },
                ));
            }
            std::thread::sleep(TICK);
        };
        if !status.success() {
            bail!(
                "{what} failed ({status}), see {}\n{}",
                self.log.display(),
                tail(&self.log).unwrap_or_default()
            );
        }
        Ok(())
    }

    /// Ends the step and prints how long it took.
    pub(crate) fn done(self) {
        let took = self.started.elapsed();
        if self.announced || took >= UNNOTICED {
            say(format_args!("{}: done in {} s", self.title, took.as_secs()));
        }
    }

    /// Ends the step and prints that it failed. The reason is printed at the end, after the steps
    /// beside it.
    pub(crate) fn failed(self) {
        let alone = RUNNING.load(Ordering::Relaxed) == 1;
        say(format_args!(
            "{}: FAILED after {} s (log: {}){}",
            self.title,
            self.started.elapsed().as_secs(),
            self.log.display(),
            if alone {
                ""
            } else {
                "; what was begun beside it goes on"
            }
        ));
    }

    /// Returns all output of the commands.
    pub(crate) fn output(&self) -> Result<String> {
        let text = std::fs::read_to_string(&self.log)
            .with_context(|| format!("cannot read {}", self.log.display()))?;
        let lines = text.lines().filter(|line| !line.starts_with(COMMAND));
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }

    /// Returns the last line that shows what the running command does. It is empty if there is no
    /// such line yet.
    fn activity(&self) -> String {
        let lines = last_lines(&self.log).unwrap_or_default();
        let mut lines = lines.into_iter().rev();
        let line = lines.find(|line| !is_explanation(line));
        line.filter(|line| !line.starts_with(COMMAND))
            .unwrap_or_default()
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
    }
}

/// Returns the line of a step on the terminal.
fn line(title: &str) -> ProgressBar {
    let line = LINES.add(ProgressBar::new_spinner());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} [{elapsed}] {wide_msg}") {
        line.set_style(style);
    }
    line.set_prefix(title.to_owned());
    line
}

/// Checks whether a line belongs to a compiler's message and does not show progress.
fn is_explanation(line: &str) -> bool {
    line.trim_start().starts_with(['=', '|', '^', '~'])
}

/// Returns the end of a log, for an error message.
fn tail(path: &Path) -> Result<String> {
    let lines = last_lines(path)?;
    Ok(lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n"))
}

/// Returns the lines at the end of a log that are not empty.
fn last_lines(path: &Path) -> Result<Vec<String>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(SHOWN_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().map(str::trim_end);
    Ok(lines
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_shows_the_end_of_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("logs/step.log");
        let step = Step::start("test", &log).unwrap();
        step.run("good", Command::new("echo").arg("fine")).unwrap();
        let error = step
            .run("bad", Command::new("sh").args(["-c", "echo why; exit 3"]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("bad failed") && error.ends_with("why"),
            "{error}"
        );
        let text = std::fs::read_to_string(step.log()).unwrap();
        assert!(text.contains("fine\n") && text.contains("why\n"));
    }

    #[test]
    fn what_a_compiler_explains_is_no_activity() {
        let dir = tempfile::tempdir().unwrap();
        let step = Step::start_quietly("test", &dir.path().join("step.log")).unwrap();
        let text = "  CC      a.o\n   |\n   = note: this feature is not stably supported\n\n";
        std::fs::write(step.log(), text).unwrap();
        assert_eq!(step.activity(), "  CC      a.o");
        step.run("next", &mut Command::new("true")).unwrap();
        assert_eq!(step.activity(), "");
    }
}
