// SPDX-License-Identifier: GPL-2.0
//! What firmwares show without a kernel (`tests/machine/firmware`), as tests and as figures.

use anyhow::{ensure, Result};
use ehea_harness::{Machine, MachineBuilder};
use ehea_model::stats::Stats;

/// Bytes of each DIMM, the least that the machine takes.
const DIMM: u64 = 256 << 20;

/// DIMMs that a machine has room for.
const SLOTS: u64 = 32;

/// A machine with room for [`SLOTS`] DIMMs above its 1 GiB of memory.
fn roomy(firmware: &str) -> Result<MachineBuilder> {
    Machine::builder(firmware).memory("1G,max=9G")
}

/// Accesses of a register that went somewhere else, as those saw it who can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Misrouted {
    /// Accesses of the adapter's registers where it has none.
    pub by_adapter: u64,
    /// Instructions that loaded something else than the register has.
    pub by_firmware: u64,
}

/// Plugs DIMMs in while the firmware loads from a register of the interrupt controller.
pub fn misrouted(plugs: u64) -> Result<Misrouted> {
    const INSTRUCTIONS: usize = 0;
    const WRONG: usize = 1;

    let mut misrouted = Misrouted::default();
    let mut left = plugs;
    loop {
        let plugs = left.min(SLOTS);
        left -= plugs;
        let (by_adapter, by_firmware) = roomy("esb_reader")?.start()?.run(|machine| {
            for number in 0..plugs {
                machine.wait_progress(INSTRUCTIONS)?;
                machine.plug_memory(&format!("dimm{number}"), DIMM)?;
            }
            machine.wait_progress(INSTRUCTIONS)?;
            let stats: Stats = machine.stats()?;
            Ok((stats.ignored_mmio, machine.result(WRONG)?))
        })?;
        misrouted.by_adapter += by_adapter;
        misrouted.by_firmware += by_firmware;
        if left == 0 {
            return Ok(misrouted);
        }
    }
}
