// SPDX-License-Identifier: GPL-2.0
//! Long steps: their output goes to a log, and the terminal shows that something happens.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use indicatif::{ProgressBar, ProgressStyle};

const TICK: Duration = Duration::from_millis(200);

/// Without a terminal, a line this often.
const LINE_INTERVAL: Duration = Duration::from_secs(30);

/// Lines of the log that are shown when a step fails.
const SHOWN_LINES: usize = 15;

/// A piece of work with a log of its own.
#[derive(Debug)]
pub(crate) struct Step {
    title: String,
    log: PathBuf,
    started: Instant,
}

impl Step {
    /// Starts a step, with an empty log at `log`.
    pub(crate) fn start(title: &str, log: &Path) -> Result<Self> {
        if let Some(parent) = log.parent() {
            std::fs::create_dir_all(parent)
                .with_context(|| format!("cannot create {}", parent.display()))?;
        }
        File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        eprintln!("{title} … (log: {})", log.display());
        Ok(Self {
            title: title.to_owned(),
            log: log.to_owned(),
            started: Instant::now(),
        })
    }

    /// Where the output goes.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Runs a command that must succeed.
    pub(crate) fn run(&self, what: &str, command: &mut Command) -> Result<()> {
        let mut log = OpenOptions::new()
            .append(true)
            .open(&self.log)
            .context("cannot open the log")?;
        writeln!(log, "+ {command:?}")?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot run {program}"))?;
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) =
                ProgressStyle::with_template("{spinner} {prefix} [{elapsed}] {wide_msg}")
            {
                bar.set_style(style);
            }
            bar.set_prefix(what.to_owned());
            bar
        });
        let mut printed = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if let Some(bar) = &bar {
                bar.set_message(self.tail(1));
                bar.tick();
            } else if printed.elapsed() >= LINE_INTERVAL {
                printed = Instant::now();
                eprintln!(
                    "  {} [{} s] {what}: {}",
                    self.title,
                    self.started.elapsed().as_secs(),
                    self.tail(1)
                );
            }
            std::thread::sleep(TICK);
        };
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        if !status.success() {
            bail!(
                "{what} failed ({status}), see {}\n{}",
                self.log.display(),
                self.tail(SHOWN_LINES)
            );
        }
        Ok(())
    }

    /// Says how long it took.
    pub(crate) fn done(self) {
        eprintln!(
            "{}: done in {} s",
            self.title,
            self.started.elapsed().as_secs()
        );
    }

    /// The last lines of the log.
    fn tail(&self, lines: usize) -> String {
        tail(&self.log, lines).unwrap_or_default()
    }
}

fn tail(path: &Path, lines: usize) -> Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(1 << 14)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<_> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    Ok(all[all.len().saturating_sub(lines)..].join("\n"))
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
}
