// SPDX-License-Identifier: GPL-2.0
//! Commands in the background of a guest.

use std::thread;
use std::time::Instant;

use anyhow::{ensure, Context, Result};
use base64::prelude::{Engine, BASE64_STANDARD};

use crate::agent::Output;
use crate::guest::{Guest, TICK};

impl Guest {
    /// Starts a shell command in the background.
    pub fn spawn(&self, command: &str) -> Result<Job<'_>> {
        let path = format!("/run/ehea/job-{:016x}", fastrand::u64(..));
        let encoded = BASE64_STANDARD.encode(command);
        // The command is a path, because busybox would run its own shell for a bare name, and that
        // shell its own programs.
        let process = self.sh(&format!(
            "echo {encoded} | base64 -d >{path}.cmd\n\
             setsid /bin/sh -c 'sh {path}.cmd >{path}.out 2>{path}.err </dev/null; echo $? >{path}.tmp; mv {path}.tmp {path}.status' \
             >/dev/null 2>&1 </dev/null &\necho $!"
        ))?;
        Ok(Job {
            guest: self,
            command: command.to_owned(),
            path,
            process,
        })
    }
}

/// A command that runs in the background of a guest.
#[derive(Debug)]
pub struct Job<'a> {
    guest: &'a Guest,
    command: String,
    path: String,
    process: String,
}

impl Job<'_> {
    /// Checks whether the command has ended.
    pub fn finished(&self) -> Result<bool> {
        Ok(self
            .guest
            .run(&format!("test -e {}.status", self.path))?
            .success())
    }

    /// Waits for the end of the command.
    pub fn wait(self) -> Result<Output> {
        let started = Instant::now();
        while !self.finished()? {
            let limit = self.guest.silence;
            ensure!(
                started.elapsed() < limit,
                "{:?} did not end within {} s",
                self.command,
                limit.as_secs()
            );
            thread::sleep(TICK);
        }
        let path = &self.path;
        let status = self
            .guest
            .sh(&format!("cat {path}.status"))?
            .parse()
            .context("no status of a job")?;
        let output = self.guest.run(&format!(
            "cat {path}.out; cat {path}.err >&2; rm -f {path}.*"
        ))?;
        Ok(Output { status, ..output })
    }

    /// Sends a signal (`INT`, `TERM`, …) to the command and everything that it started.
    pub fn signal(&self, signal: &str) -> Result<()> {
        self.guest
            .run(&format!(
                "kill -s {signal} -- -{0} || kill -s {signal} {0}",
                self.process
            ))
            .map(drop)
    }
}
