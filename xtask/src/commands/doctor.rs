// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask doctor`: shows what exists, what is missing, and how to get it.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::artifacts::root::SUITE;
use crate::cache::State;
use crate::commands::Task;
use crate::context::Context;
use crate::mirror::Mirror;
use crate::prerequisites::{self, PROGRAMS};
use crate::setup;
use crate::times::Making;

/// Number of bytes that everything takes, in the cache and in the checkout's target directory.
const DISK_SPACE: u64 = 15 << 30;

/// Shows what is missing on this machine and how to get it. Changes nothing.
#[derive(Args, Debug)]
pub(crate) struct DoctorCommand {
    /// Removes cache entries that were not used for an hour; the newest of each kind stays.
    #[arg(long)]
    gc: bool,
}

/// One line of the table.
struct Row {
    name: String,
    standing: Standing,
    state: String,
}

/// Meaning of a row for the user of the tool.
enum Standing {
    Good,
    /// The tool makes or installs it when it is needed.
    Later,
    /// The user has to do what the text says.
    Missing(String),
}

impl Row {
    fn new(name: impl Into<String>, standing: Standing, state: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            standing,
            state: state.into(),
        }
    }
}

impl Task for DoctorCommand {
    fn run(self, context: &Context) -> Result<ExitCode> {
        if self.gc {
            for path in context.cache.collect_all_garbage()? {
                println!("removed {}", path.display());
            }
        }
        let states = setup::states(context)?;
        let cold = setup::cold_setup(&states);
        let mut rows = host(context, &states);
        let witness = setup::witness_states(context)?;
        let other = setup::other_states(context)?;
        let selftests = setup::selftests_states(context)?;
        rows.extend(
            states
                .into_iter()
                .chain(other)
                .chain(selftests)
                .chain(witness)
                .map(|(name, state)| {
                    let (standing, text) = match state {
                        Some(State::Present(making)) => (Standing::Good, in_the_cache(making)),
                        Some(State::Missing) => (Standing::Later, "not made yet".to_owned()),
                        Some(State::Broken(why)) => (Standing::Later, format!("damaged: {why}")),
                        None => (Standing::Later, "not made yet".to_owned()),
                    };
                    Row::new(name, standing, text)
                }),
        );
        println!("cache: {}", context.cache.directory().display());
        let width = rows.iter().map(|row| row.name.len()).max();
        let width = width.unwrap_or_default();
        for row in &rows {
            let mark = match row.standing {
                Standing::Good => "ok",
                Standing::Later => "later",
                Standing::Missing(_) => "MISSING",
            };
            println!("{mark:7}  {:width$}  {}", row.name, row.state);
            if let Standing::Missing(remedy) = &row.standing {
                println!("{:7}  {:width$}  -> {remedy}", "", "");
            }
        }
        if let Some(time) = cold {
            println!(
                "What a guest needs was made in one go, in {} s.",
                time.as_secs()
            );
        }
        let missing = |row: &&Row| matches!(row.standing, Standing::Missing(_));
        let missing = rows.iter().filter(missing).count();
        let later = |row: &Row| matches!(row.standing, Standing::Later);
        println!(
            "{}",
            match missing {
                0 if rows.iter().any(later) =>
                    "Nothing is missing: the first command that needs what is marked `later` makes or installs it.",
                0 => "Nothing is missing.",
                _ => "Something is missing: see the lines with an arrow.",
            }
        );
        Ok(match missing {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        })
    }
}

/// Returns the text for something that exists, with the time that it took to make.
fn in_the_cache(making: Option<Making>) -> String {
    match making {
        Some(making) => format!("in the cache, made in {} s", making.took().as_secs()),
        None => "in the cache".to_owned(),
    }
}

/// Returns the rows for what this machine must have. The rights of root and the mirror are needed
/// for the build root.
fn host(context: &Context, states: &[(String, Option<State>)]) -> Vec<Row> {
    let ready = |state: &Option<State>| state.as_ref().is_some_and(State::is_present);
    let has_root = states.first().is_some_and(|(_, state)| ready(state));
    let complete = states.iter().all(|(_, state)| ready(state));
    let mut rows = Vec::new();
    for program in PROGRAMS {
        let install = format!("apt-get install {}", program.package);
        rows.push(match prerequisites::find(program.name) {
            Some(path) => Row::new(program.name, Standing::Good, path.display().to_string()),
            None => Row::new(
                program.name,
                match prerequisites::is_root() {
                    true => Standing::Later,
                    false => Standing::Missing(format!("as root: {install}")),
                },
                format!("not installed; it {}", program.purpose),
            ),
        });
    }
    let mirror = Mirror::find().and_then(|mirror| mirror.check(SUITE).map(|()| mirror));
    rows.push(match mirror {
        Ok(mirror) => Row::new("Debian mirror", Standing::Good, mirror.to_string()),
        Err(error) if complete => Row::new(
            "Debian mirror",
            Standing::Good,
            format!("not needed now; {error:#}"),
        ),
        Err(error) => Row::new(
            "Debian mirror",
            Standing::Missing(format!("{error:#}")),
            "not usable",
        ),
    });
    rows.push(match (prerequisites::is_root(), has_root) {
        (true, _) => Row::new("root's rights", Standing::Good, "yes"),
        (false, true) => Row::new("root's rights", Standing::Good, "not needed any more"),
        (false, false) => Row::new(
            "root's rights",
            Standing::Missing("run the first command as root".to_owned()),
            "no, but needed to make the build root",
        ),
    });
    rows.push(disk(context, complete));
    rows
}

/// Returns the row for the free space on the disk.
fn disk(context: &Context, complete: bool) -> Row {
    let free = match rustix::fs::statvfs(context.cache.directory()) {
        Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
        Err(error) => {
            let why = format!("cannot tell: {error}");
            return Row::new("disk space", Standing::Good, why);
        }
    };
    let standing = if complete || free >= DISK_SPACE {
        Standing::Good
    } else {
        let needed = DISK_SPACE >> 30;
        Standing::Missing(format!(
            "make room for {needed} GiB, or set EHEA_CACHE to a directory of a larger file system"
        ))
    };
    Row::new("disk space", standing, format!("{} GiB free", free >> 30))
}
