// SPDX-License-Identifier: GPL-2.0
//! Demonstrations by firmwares without a kernel (`tests/machine/firmware`), for tests and for
//! figures.

use anyhow::{ensure, Result};
use ehea_harness::{Machine, MachineBuilder};
use ehea_model::stats::Stats;

/// Size of each DIMM in bytes, the minimum of the machine.
const DIMM: u64 = 256 << 20;

/// Returns a machine with room for DIMMs above its 1 GiB of memory.
fn roomy(firmware: &str) -> Result<MachineBuilder> {
    Machine::builder(firmware).memory("1G,max=2G")
}

/// Counts of accesses to a register that went somewhere else, by those who can notice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Misrouted {
    /// Number of accesses to the adapter's registers at places where it has none.
    pub by_adapter: u64,
    /// Number of instructions that loaded something else than the register's contents.
    pub by_firmware: u64,
}

/// Plugs a DIMM in and out `plugs` times while the firmware loads from a register of the interrupt
/// controller. Returns the counts.
pub fn misrouted(plugs: u64) -> Result<Misrouted> {
    misrouted_with(plugs, &[])
}

/// Does the same as [`misrouted`], with additional arguments for QEMU.
pub fn misrouted_with(plugs: u64, arguments: &[&str]) -> Result<Misrouted> {
    const INSTRUCTIONS: usize = 0;
    const WRONG: usize = 1;

    let machine = roomy("esb_reader")?.qemu_args(arguments.iter().copied());
    machine.start()?.run(|machine| {
        for number in 0..plugs {
            let dimm = format!("dimm{number}");
            machine.wait_progress(INSTRUCTIONS)?;
            machine.plug_memory(&dimm, DIMM)?;
            machine.wait_progress(INSTRUCTIONS)?;
            machine.request_unplug(&dimm)?;
            machine.wait_unplugged(&dimm)?;
        }
        machine.wait_progress(INSTRUCTIONS)?;
        let stats: Stats = machine.stats()?;
        Ok(Misrouted {
            by_adapter: stats.ignored_mmio,
            by_firmware: machine.result(WRONG)?,
        })
    })
}

/// Runs code in a DIMM, exchanges the DIMM for another with other code, and runs that. Returns the
/// number of exchanges after which the old code ran.
pub fn stale_code(exchanges: u64) -> Result<u64> {
    const RETURNED: usize = 0;
    const WRITTEN: usize = 1;

    roomy("stale_code")?.start()?.run(|machine| {
        let mut stale = 0;
        let mut before = None;
        // The firmware uses the DIMM in every second pass. There is none in the other passes.
        for round in 0..=exchanges {
            machine.wait_passes(2 * round + 1)?;
            let dimm = format!("dimm{round}");
            machine.plug_memory(&dimm, DIMM)?;
            machine.reset()?;
            machine.wait_passes(2 * round + 2)?;
            let place = machine.place_of(&dimm)?;
            let (returned, written) = (machine.result(RETURNED)?, machine.result(WRITTEN)?);
            if let Some((old_place, old)) = before.replace((place.clone(), written)) {
                ensure!(
                    place == old_place,
                    "QEMU has the new DIMM's memory at {place}, the old one's was at {old_place}"
                );
                ensure!(written != old, "the firmware wrote no other code");
                stale += u64::from(returned != written);
            } else {
                ensure!(returned == written, "code in a DIMM returned {returned:#x}");
            }
            machine.request_unplug(&dimm)?;
            machine.reset()?;
            machine.wait_unplugged(&dimm)?;
            machine.wait_freed()?;
        }
        Ok(stale)
    })
}
