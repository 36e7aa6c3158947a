// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask doctor`: what is there, what is missing, and how to get it.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::cache::State;
use crate::commands::Task;
use crate::context::Context;
use crate::mirror::Mirror;
use crate::prerequisites::{self, PROGRAMS};
use crate::{artifacts, setup};

/// Says what is missing on this machine and how to get it. Changes nothing.
#[derive(Args, Debug)]
pub(crate) struct DoctorCommand {
    /// Removes cache entries that were not used for an hour; the newest of each kind stays.
    #[arg(long)]
    gc: bool,
}

/// One line of the table.
struct Row {
    name: String,
    good: bool,
    state: String,
    remedy: String,
}

impl Task for DoctorCommand {
    fn run(self, context: &Context) -> Result<ExitCode> {
        if self.gc {
            for path in context.cache.collect_all_garbage()? {
                println!("removed {}", path.display());
            }
        }
        let mut rows = host();
        let ready = rows.iter().all(|row| row.good);
        rows.extend(
            setup::states(context)?
                .into_iter()
                .map(|(name, state)| artifact(name, &state)),
        );
        println!("cache: {}", context.cache.directory().display());
        let width = rows
            .iter()
            .map(|row| row.name.len())
            .max()
            .unwrap_or_default();
        for row in rows {
            let mark = if row.good { "ok     " } else { "missing" };
            println!("{mark}  {:width$}  {}", row.name, row.state);
            if !row.good {
                println!("         {:width$}  -> {}", "", row.remedy);
            }
        }
        Ok(if ready {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

fn host() -> Vec<Row> {
    let mut rows = Vec::new();
    for program in PROGRAMS {
        let path = prerequisites::find(program.name);
        let remedy = if prerequisites::is_root() {
            format!(
                "is installed when needed (apt-get install {})",
                program.package
            )
        } else {
            format!("apt-get install {} as root", program.package)
        };
        rows.push(Row {
            name: program.name.to_owned(),
            good: path.is_some() || prerequisites::is_root(),
            state: match path {
                Some(path) => path.display().to_string(),
                None => format!("not installed ({}); {remedy}", program.purpose),
            },
            remedy,
        });
    }
    let mirror =
        Mirror::find().and_then(|mirror| mirror.check(artifacts::root::SUITE).map(|()| mirror));
    rows.push(match mirror {
        Ok(mirror) => Row {
            name: "Debian mirror".into(),
            good: true,
            state: mirror.to_string(),
            remedy: String::new(),
        },
        Err(error) => Row {
            name: "Debian mirror".into(),
            good: false,
            state: "not usable".into(),
            remedy: format!("{error:#}"),
        },
    });
    rows.push(Row {
        name: "root's rights".into(),
        good: true,
        state: if prerequisites::is_root() {
            "yes"
        } else {
            "no: needed once, to make the build root"
        }
        .into(),
        remedy: String::new(),
    });
    rows
}

fn artifact(name: String, state: &Option<State>) -> Row {
    let (good, text) = match state {
        Some(State::Present) => (true, "in the cache".to_owned()),
        Some(State::Missing) => (false, "not made yet".to_owned()),
        Some(State::Broken(why)) => (false, format!("damaged: {why}")),
        None => (false, "waits for what it is made from".to_owned()),
    };
    let remedy = "made by the first command that needs it, such as `cargo xtask build` or `cargo xtask demo`".into();
    Row {
        name,
        good,
        state: text,
        remedy,
    }
}
