// SPDX-License-Identifier: GPL-2.0
//! Long soaks that show whether the test bench itself is at fault. Memory comes and goes under
//! numbered traffic, in a guest whose two processors QEMU runs in a thread each, and in one where
//! they take turns in a single thread. What happens only in the first is a race between the
//! processors, either in the guest or in QEMU.
//!
//! Both must be silent: no frame is lost, nothing is left behind, and the adapter gets no access to
//! registers that it does not have.

use std::process::ExitCode;

use anyhow::{ensure, Context, Result};
use ehea_harness::ARTIFACTS_VARIABLE;
use ehea_tests::lab::{Lab, Shape};
use ehea_tests::soak::soak;
use libtest_mimic::{Arguments, Failed, Trial};

/// Environment variable with the number of cycles, if it is not [`CYCLES`].
const CYCLES_VARIABLE: &str = "EHEA_SOAK_CYCLES";

/// Number of cycles of adding and removing memory.
const CYCLES: u64 = 400;

/// Number of cycles between reports of progress.
const PROGRESS: u64 = 10;

const STANDARD: Shape = Shape {
    memory: "2G,max=4G",
    ..Shape::STANDARD
};

const SOAKS: [(&str, Shape); 2] = [
    ("soaks::two_threads", STANDARD),
    (
        "soaks::one_thread",
        Shape {
            qemu_args: &["-accel", "tcg,thread=single"],
            ..STANDARD
        },
    ),
];

fn cycles() -> Result<u64> {
    match std::env::var(CYCLES_VARIABLE) {
        Ok(text) => text
            .parse()
            .with_context(|| format!("{CYCLES_VARIABLE} is no number: {text}")),
        Err(_) => Ok(CYCLES),
    }
}

/// Runs a soak in a guest of its own.
fn run(name: &str, shape: &Shape) -> Result<()> {
    let cycles = cycles()?;
    let mut lab = Lab::boot("soak", shape)?;
    let log = lab.guest().log_directory().display().to_string();
    let soaked = lab.begin(name).and_then(|()| {
        let before = lab.stats()?;
        let soaked = soak(&lab, cycles, |done| {
            if done % PROGRESS == 0 {
                eprintln!("{name}: {done} of {cycles} cycles");
            }
        })?;
        let after = lab.stats()?;
        for (what, before, after) in [
            ("ignored_mmio", before.ignored_mmio, after.ignored_mmio),
            (
                "removed_accesses",
                before.removed_accesses,
                after.removed_accesses,
            ),
        ] {
            ensure!(after == before, "{what} was {before} and is {after}");
        }
        ensure!(soaked.lost == 0, "lost: {soaked:?}");
        lab.end()?;
        Ok(soaked)
    });
    let soaked = soaked.with_context(|| format!("logs: {log}"))?;
    eprintln!("{name}: {soaked:?}");
    lab.shutdown()
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // A guest has all processors of this machine to itself.
    arguments.test_threads = Some(1);
    let available = std::env::var_os(ARTIFACTS_VARIABLE).is_some();
    let trials = SOAKS.into_iter().map(|(name, shape)| {
        Trial::test(name, move || {
            run(name, &shape).map_err(|error| Failed::from(format!("{error:#}")))
        })
        .with_ignored_flag(!available)
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
