// SPDX-License-Identifier: GPL-2.0
//! `cargo xtask bench`: measures figures.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use ehea_harness::Variant;

use crate::commands::demo::{command, program, run, Systems};
use crate::commands::Task;
use crate::context::Context;
use crate::house;
use crate::setup;

/// Measures figures and writes them to target/bench.json: an object of `"name": number`, with units
/// in the names.
#[derive(Args, Debug)]
pub(crate) struct BenchCommand {
    /// Measures only this group of figures.
    #[arg(long, value_name = "GROUP")]
    only: Option<String>,
    /// Number of times that memory comes and goes, for the group hotplug; 1000 by default.
    #[arg(long, value_name = "NUMBER")]
    cycles: Option<u64>,
    /// Shows, instead of measuring, where the instructions of a figure of the group peers are
    /// executed, by function: rs-tx-64b, c-rx-1500b …
    #[arg(long, value_name = "FIGURE", conflicts_with = "only")]
    profile: Option<String>,
}

impl Task for BenchCommand {
    fn run(self, context: &Context) -> Result<ExitCode> {
        let mut arguments = vec![
            "--output".to_owned(),
            context.target().join("bench.json").display().to_string(),
        ];
        let takes = |group: &str| {
            self.profile.is_none() && self.only.as_deref().is_none_or(|only| only == group)
        };
        // The C driver is one of the peers.
        let systems = Systems {
            witness: match self.profile.as_deref() {
                Some(figure) => figure.starts_with("c-"),
                None => takes("peers"),
            },
            machine: takes("bench"),
        };
        if takes("bench") {
            for (name, figure) in of_the_setup(context)? {
                arguments.extend(["--given".to_owned(), format!("{name}={figure}")]);
            }
        }
        if takes("house") {
            for (name, figure) in house::of_checkout(&context.checkout)? {
                arguments.extend(["--given".to_owned(), format!("{name}={figure}")]);
            }
        }
        if takes("map") {
            let (map, callgrind) = setup::map_bench(context)?;
            arguments.extend(["--map".to_owned(), map.display().to_string()]);
            arguments.extend(["--callgrind".to_owned(), callgrind.display().to_string()]);
        }
        // These count in the sources alone.
        let boots = !matches!(self.only.as_deref(), Some("house" | "unsafe"));
        arguments.extend(
            self.only
                .into_iter()
                .flat_map(|group| ["--only".to_owned(), group]),
        );
        if let Some(cycles) = self.cycles {
            arguments.extend(["--cycles".to_owned(), cycles.to_string()]);
        }
        if let Some(figure) = self.profile {
            arguments.extend(["--profile".to_owned(), figure]);
        }
        match boots {
            true => program(context, systems, "ehea-bench", &arguments),
            false => run(command(context, "ehea-bench", &arguments)),
        }
    }
}

/// Returns figures of the set-up, which is made if it does not exist.
fn of_the_setup(context: &Context) -> Result<Vec<(&'static str, f64)>> {
    setup::guest(context, &[Variant::default()])?;
    let mut figures = vec![("qemu_objects", setup::qemu_commands(context)? as f64)];
    match setup::cold_setup(&setup::states(context)?) {
        Some(time) => figures.push(("setup_cold_s", time.as_secs_f64())),
        None => eprintln!(
            "no setup_cold_s: what is in the cache was not made in one go; \
             with EHEA_CACHE set to a new directory it is"
        ),
    }
    Ok(figures)
}
