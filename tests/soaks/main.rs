// SPDX-License-Identifier: GPL-2.0
//! Long soaks that show whether the test bench itself is at fault. Memory comes and goes under
//! numbered traffic, in a guest whose two processors QEMU runs in a thread each, and in one where
//! they take turns in a single thread. What happens only in the first is a race between the
//! processors, either in the guest or in QEMU. Two others have a link partner that pauses at random, and a host
//! whose processors are busy.
//!
//! All must be silent: no frame is lost, nothing is left behind, and the adapter gets no access to
//! registers that it does not have.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use ehea_harness::ARTIFACTS_VARIABLE;
use ehea_tests::lab::{Lab, Shape};
use ehea_tests::peer::Plan;
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

/// Longest pause of a link partner that pauses. The driver gives up when nothing moves for a second.
const LONGEST_PAUSE: Duration = Duration::from_millis(600);
/// Number of threads that keep the processors of a busy host busy.
const BUSY_THREADS: usize = 6;

struct Soak {
    name: &'static str,
    shape: Shape,
    /// Longest pause of the link partner.
    pauses: Option<Duration>,
    /// Number of threads that do nothing but use processors.
    busy: usize,
}

const TWO_THREADS: Soak = Soak {
    name: "soaks::two_threads",
    shape: STANDARD,
    pauses: None,
    busy: 0,
};

const SOAKS: [Soak; 4] = [
    TWO_THREADS,
    Soak {
        name: "soaks::one_thread",
        shape: Shape {
            qemu_args: &["-accel", "tcg,thread=single"],
            ..STANDARD
        },
        ..TWO_THREADS
    },
    Soak {
        name: "soaks::pausing_partner",
        pauses: Some(LONGEST_PAUSE),
        ..TWO_THREADS
    },
    Soak {
        name: "soaks::busy_host",
        busy: BUSY_THREADS,
        ..TWO_THREADS
    },
];

fn cycles() -> Result<u64> {
    match std::env::var(CYCLES_VARIABLE) {
        Ok(text) => text
            .parse()
            .with_context(|| format!("{CYCLES_VARIABLE} is no number: {text}")),
        Err(_) => Ok(CYCLES),
    }
}

/// Calls `f` while threads keep processors busy.
fn beside_busy_threads<T>(threads: usize, f: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let result = f();
        stop.store(true, Ordering::Relaxed);
        result
    })
}

/// Runs a soak in a guest of its own.
fn run(which: &Soak) -> Result<()> {
    beside_busy_threads(which.busy, || run_alone(which))
}

fn run_alone(which: &Soak) -> Result<()> {
    let name = which.name;
    let cycles = cycles()?;
    let special = |plan: Plan| match which.pauses {
        Some(longest) => plan.pauses(longest),
        None => plan,
    };
    let mut lab = Lab::boot("soak", &which.shape)?;
    let log = lab.guest().log_directory().display().to_string();
    let soaked = lab.begin(name).and_then(|()| {
        let before = lab.stats()?;
        let soaked = soak(&lab, cycles, special, |done| {
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
    let trials = SOAKS.iter().map(|soak| {
        Trial::test(soak.name, move || {
            run(soak).map_err(|error| Failed::from(format!("{error:#}")))
        })
        .with_ignored_flag(!available)
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
