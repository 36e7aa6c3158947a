// SPDX-License-Identifier: GPL-2.0
//! The machine tier: bare-metal firmwares against QEMU with the adapter, without a kernel. A
//! firmware does at once what a driver never does, or does once in a million times.
//!
//! Each test takes about a second. `cargo xtask test --tier machine` makes what it needs.

mod adapter;
mod backend;

use std::process::ExitCode;

use anyhow::{ensure, Result};
use ehea_harness::MACHINE_ARTIFACTS_VARIABLE;
use ehea_tests::machine;
use libtest_mimic::{Arguments, Failed, Trial};

/// A test and its name.
type Test = (&'static str, fn() -> Result<()>);

const TESTS: &[Test] = &[
    ("machine::loads_at_rest", loads_at_rest),
    ("machine::misrouted_access", || stays_right(&[])),
    ("machine::misrouted_access_one_thread", || {
        stays_right(&["-accel", "tcg,thread=single"])
    }),
    ("machine::misrouted_access_icount", || {
        stays_right(&["-icount", "shift=0,sleep=off"])
    }),
    ("machine::stale_code", stale_code),
    (
        "machine::interrupt_into_registers",
        adapter::interrupt_into_registers,
    ),
    ("machine::memory_after_reset", adapter::memory_after_reset),
    (
        "machine::memory_after_negotiation",
        adapter::memory_after_negotiation,
    ),
    (
        "machine::event_queues_of_all_adapters",
        adapter::event_queues_of_all_adapters,
    ),
    ("machine::reset_in_mid_frame", backend::reset_in_mid_frame),
    ("machine::stop_in_mid_frame", backend::stop_in_mid_frame),
    ("machine::peer_comes_back", backend::peer_comes_back),
    ("machine::peer_is_gone", backend::peer_is_gone),
    (
        "machine::netdev_link_goes_down",
        backend::netdev_link_goes_down,
    ),
    ("machine::port_link_goes_down", backend::port_link_goes_down),
    ("machine::netdev_is_deleted", backend::netdev_is_deleted),
];

/// Loads reach their target while nothing changes in the memory map. The other tests rely on this.
fn loads_at_rest() -> Result<()> {
    let misrouted = machine::misrouted(0)?;
    ensure!(misrouted == machine::Misrouted::default(), "{misrouted:?}");
    Ok(())
}

/// Loads from the interrupt controller reach it, also while DIMMs come and go.
fn stays_right(arguments: &[&str]) -> Result<()> {
    let misrouted = machine::misrouted_with(16, arguments)?;
    ensure!(misrouted == machine::Misrouted::default(), "{misrouted:?}");
    Ok(())
}

/// Code from a DIMM does not run any more after the DIMM was exchanged for another.
fn stale_code() -> Result<()> {
    const EXCHANGES: u64 = 4;

    let stale = machine::stale_code(EXCHANGES)?;
    ensure!(
        stale == 0,
        "old code ran in {stale} of {EXCHANGES} new DIMMs"
    );
    Ok(())
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Only one machine runs at a time and has the processors for itself.
    arguments.test_threads = Some(1);
    let available = std::env::var_os(MACHINE_ARTIFACTS_VARIABLE).is_some();
    let trials = TESTS.iter().map(|&(name, test)| {
        Trial::test(name, move || {
            test().map_err(|error| Failed::from(format!("{error:#}")))
        })
        // `cargo test` by itself has made nothing that this could run.
        .with_ignored_flag(!available)
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
