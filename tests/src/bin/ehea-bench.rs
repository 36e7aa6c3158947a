// SPDX-License-Identifier: GPL-2.0
//! Program that takes the figures and writes them to a file: a flat JSON object of names and
//! numbers.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use ehea_tests::bench::{self, Figures, Options, Programs};

#[derive(Parser)]
struct Arguments {
    /// Takes only this group of figures.
    #[arg(long)]
    only: Option<String>,
    /// Number of times that memory comes and goes, for the group `hotplug`.
    #[arg(long, default_value_t = bench::CYCLES)]
    cycles: u64,
    /// Shows, instead of taking figures, where the instructions of one of the group `peers` are
    /// executed: rs-tx-64b.
    #[arg(long, value_name = "FIGURE")]
    profile: Option<String>,
    /// Program that measures the memory map, for the group `map`.
    #[arg(long, value_name = "PROGRAM", requires = "callgrind")]
    map: Option<PathBuf>,
    /// Root directory with valgrind, which counts that program's instructions.
    #[arg(long, value_name = "DIRECTORY", requires = "map")]
    callgrind: Option<PathBuf>,
    /// Figure that was taken elsewhere.
    #[arg(long, value_name = "NAME=NUMBER", value_parser = given)]
    given: Vec<(String, f64)>,
    /// File to which the figures are written.
    #[arg(long, default_value = "target/bench.json")]
    output: PathBuf,
}

fn given(text: &str) -> Result<(String, f64)> {
    let (name, number) = text.split_once('=').context("no number")?;
    Ok((name.to_owned(), number.parse()?))
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(what) = &arguments.profile {
        print!("{}", bench::profile(what)?);
        return Ok(());
    }
    let programs = arguments.map.zip(arguments.callgrind);
    let options = Options {
        only: arguments.only,
        cycles: arguments.cycles,
        programs: programs.map(|(map, callgrind)| Programs { map, callgrind }),
        given: arguments.given.into_iter().collect(),
    };
    let mut figures = Figures::new();
    let result = bench::measure(&options, &mut figures, |step| println!("measuring {step}"));
    if figures.is_empty() {
        return result;
    }
    if let Some(directory) = arguments.output.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::write(
        &arguments.output,
        serde_json::to_string_pretty(&figures)? + "\n",
    )
    .with_context(|| format!("cannot write {}", arguments.output.display()))?;
    for (name, figure) in &figures {
        println!("{name:<48} {figure:>12.1}");
    }
    println!("written to {}", arguments.output.display());
    result
}
