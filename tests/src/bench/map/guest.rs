// SPDX-License-Identifier: GPL-2.0
//! Instructions of a translation in the guest's kernel: the suite `ehea_translate` under the plugin
//! that counts instructions by address.

use anyhow::{ensure, Context, Result};
use ehea_harness::Guest;

use crate::bench::counter::{Counter, Counts};
use crate::bench::symbols::Symbols;
use crate::bench::Figures;
use crate::system::System;

/// Name of the module with the suite.
const MODULE: &str = "ehea_kunit";

/// Cases of the suite, and the function of the suite that each calls for every address.
const CASES: [(&str, &str); 6] = [
    ("contiguous", "through_map"),
    ("16_runs", "through_map"),
    ("1024_runs", "through_map"),
    ("table_contiguous", "through_table"),
    ("table_16_runs", "through_table"),
    ("table_1024_runs", "through_table"),
];

/// Case and function that do nothing.
const NOTHING: (&str, &str) = ("nothing", "through_nothing");

/// Functions that translate. Code that is not in a function of its own belongs to its caller.
const FUNCTIONS: [&str; 4] = [
    "through_map",
    "through_nothing",
    "through_table",
    "translate_far",
];

/// Size of a bucket in bytes. Each instruction is counted separately.
const BUCKET: u64 = 4;

/// Takes the figures: instructions of the function that is called, and of those that it calls in
/// turn.
pub(super) fn measure(figures: &mut Figures) -> Result<()> {
    let mut counter = Counter::new("bench-map", BUCKET)?;
    let guest = Guest::builder()
        .name("bench-map")
        .mem("2G")?
        .smp(1)
        .no_adapter();
    let guest = counter.attach(guest)?.boot()?;
    let nothing = instructions(&mut counter, &guest, NOTHING)?;
    for case in CASES {
        let cost = instructions(&mut counter, &guest, case)? - nothing;
        figures.insert(format!("guest_translate_insns_{}", case.0), cost);
    }
    guest.shutdown().context("the suite")
}

/// Runs a case. Returns the number of instructions of one translation, including the call.
fn instructions(
    counter: &mut Counter,
    guest: &Guest,
    (case, function): (&str, &str),
) -> Result<f64> {
    // A line end would become part of the pattern.
    let command = format!(
        "printf %s ehea_translate.translate_{case} >/sys/module/kunit/parameters/filter_glob \
         && modprobe {MODULE}"
    );
    let (_, counts) = counter.run(guest, &command)?;
    let symbols = Symbols::read(System::Ours, guest)?;
    let (calls, instructions) = cost(&counts, &symbols, function);
    ensure!(calls > 0, "case {case} has not run");
    guest.sh(&format!("rmmod {MODULE}"))?;
    Ok(instructions as f64 / calls as f64)
}

/// Returns the number of calls of a function, and the number of instructions of all functions that
/// translate.
fn cost(counts: &Counts, symbols: &Symbols, called: &str) -> (u64, u64) {
    let module = format!("[{MODULE}]");
    let (mut calls, mut instructions) = (None, 0);
    for (address, count) in counts.iter() {
        let (name, _) = symbols.find(address);
        let Some(path) = name.strip_suffix(&module) else {
            continue;
        };
        let function = path.rsplit("::").next().unwrap_or(path);
        if FUNCTIONS.contains(&function) {
            instructions += count;
            if function == called {
                // The first instruction does not count, because calls from the same module skip
                // what others need.
                calls.get_or_insert(count);
            }
        }
    }
    (calls.unwrap_or_default(), instructions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn translations_are_told_from_the_rest() {
        let mut symbols = Symbols::default();
        symbols.add(
            "c008000000001000 t _RNvNtCs1_5ehea_9translate11through_map\t[ehea_kunit]\n\
             c008000000001100 t other\t[ehea_kunit]\n\
             c008000000001200 t translate_far\t[ehea_kunit]\n\
             c008000000001300 t translate_far\t[ehea]\n",
        );
        let counts = Counts::from_iter([
            (0xc008_0000_0000_1008, 10),
            (0xc008_0000_0000_100c, 9),
            (0xc008_0000_0000_1100, 100),
            (0xc008_0000_0000_1204, 5),
            (0xc008_0000_0000_1300, 1000),
        ]);
        assert_eq!(cost(&counts, &symbols, "through_map"), (10, 24));
    }
}
