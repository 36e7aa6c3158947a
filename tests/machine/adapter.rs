// SPDX-License-Identifier: GPL-2.0
//! The adapter in its machine: interrupts, memory, and the resources of many adapters.

use anyhow::{ensure, Result};
use ehea_harness::Machine;
use ehea_model::stats::Stats;

/// H_MEM_PARM, as a result of a firmware.
const MEM_PARM: u64 = 28u64.wrapping_neg();

/// An interrupt that is a store to the adapter's registers neither ends QEMU nor reaches the
/// adapter while the adapter is at work.
pub(crate) fn interrupt_into_registers() -> Result<()> {
    Machine::builder("irq_into_registers")
        .qemu_args(["-machine", "ic-mode=xive"])
        .start()?
        .run(|machine| {
            machine.wait_passes(1)?;
            for call in 0..5 {
                let code = machine.result(call)?;
                ensure!(code == 0, "call {call} of the firmware: {code:#x}");
            }
            let before: Stats = machine.stats()?;
            machine.set_port_link(false)?;
            let after: Stats = machine.stats()?;
            ensure!(after.interrupts == before.interrupts + 1, "no interrupt");
            ensure!(after.ignored_mmio == before.ignored_mmio + 1, "no store");
            ensure!(after.reentries == 0, "{} reentries", after.reentries);
            Ok(())
        })
}

/// Memory that takes the place of memory removed at a reset belongs to the guest, though nothing
/// announces it.
pub(crate) fn memory_after_reset() -> Result<()> {
    Machine::builder("memory_given_back")
        .memory("1G,max=4G")?
        .qemu_args(["-object", "memory-backend-ram,id=first-ram,size=256M"])
        .qemu_args(["-device", "pc-dimm,id=first,memdev=first-ram"])
        .start()?
        .run(|machine| {
            machine.wait_passes(1)?;
            ensure!(machine.result(1)? == 0, "the first DIMM was refused");
            machine.pause()?;
            machine.request_unplug("first")?;
            machine.reset()?;
            machine.wait_unplugged("first")?;
            machine.plug_memory("second", 256 << 20)?;
            machine.resume()?;
            machine.wait_passes(2)?;
            let code = machine.result(1)?;
            ensure!(code == 0, "the second DIMM was refused: {code:#x}");
            Ok(())
        })
}

/// Memory that was given back is refused until the guest negotiates its options.
pub(crate) fn memory_after_negotiation() -> Result<()> {
    Machine::builder("memory_given_back")
        .memory("1G,max=4G")?
        .qemu_args(["-object", "memory-backend-ram,id=first-ram,size=256M"])
        .qemu_args(["-device", "pc-dimm,id=first,memdev=first-ram"])
        .start()?
        .run(|machine| {
            machine.wait_passes(1)?;
            let codes = (0..4)
                .map(|attempt| machine.result(attempt))
                .collect::<Result<Vec<_>>>()?;
            ensure!(codes == [0, 0, MEM_PARM, 0], "{codes:x?}");
            Ok(())
        })
}

/// Maximum number of adapters of a machine, and of ports of an adapter.
const MOST: usize = 16;

/// Each of 16 adapters with 16 ports has as many event queues as it says, and interrupts of its own.
pub(crate) fn event_queues_of_all_adapters() -> Result<()> {
    /// Number of event queues, more than any driver needs: one for each of 85 queue pairs and 16
    /// ports, and one more.
    const LEAST: u64 = 85 + 16 + 1;

    let mut builder = Machine::builder("event_queues");
    for adapter in 1..MOST {
        let mut device = format!("spapr-ehea,id=ehea{adapter},adapter-handle={}", adapter + 1);
        for port in 0..MOST {
            // QEMU assigns addresses of its own to fewer ports.
            device += &format!(",mac{port}=02:00:00:00:{adapter:02x}:{port:02x}");
        }
        builder = builder.qemu_args(["-device", &device]);
    }
    builder.start()?.run(|machine| {
        machine.wait_passes(1)?;
        let mut above = 0;
        for adapter in 0..MOST {
            let word = |number| machine.result(4 * adapter + number);
            let (limit, given, lowest, highest) = (word(0)?, word(1)?, word(2)?, word(3)?);
            ensure!(limit >= LEAST, "adapter {adapter} has {limit} event queues");
            ensure!(given == limit, "adapter {adapter} gave {given} of {limit}");
            ensure!(
                lowest >= above && highest - lowest + 1 == limit,
                "adapter {adapter} has the interrupts {lowest:#x} to {highest:#x}"
            );
            above = highest + 1;
        }
        Ok(())
    })
}
