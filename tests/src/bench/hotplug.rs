// SPDX-License-Identifier: GPL-2.0
//! Costs of memory that comes and goes, and the proof that it costs no frame.

use anyhow::{ensure, Result};
use ehea_harness::Builder;
use ehea_model::stats::Stats;

use super::Figures;
use crate::checks::memory::{prepare, send_from};
use crate::lab::{Lab, Shape};
use crate::memory::{allocations, calls, not_registered, settled, Dimm, LMB};
use crate::observe::MapFile;
use crate::soak::soak;

/// Number of cycles of adding and removing memory, unless another is asked for.
pub const CYCLES: u64 = 1000;
/// Number of cycles between reports of progress.
const PROGRESS: u64 = 25;
const GIB: u64 = 1 << 30;
/// Memory of guests that remove memory from the map, for the names of figures.
const MAPS: [(&str, &str); 2] = [("2g", "2G,max=4G"), ("12g", "12G,max=14G")];

const STANDARD: Shape = Shape {
    memory: "2G,max=4G",
    ..Shape::STANDARD
};

/// Takes the figures.
pub(super) fn measure(
    figures: &mut Figures,
    cycles: u64,
    progress: &mut impl FnMut(&str),
) -> Result<()> {
    progress("calls to firmware for 1 GiB that comes and goes");
    let lab = Lab::boot("bench-hotplug", &STANDARD)?;
    prepare(&lab)?;
    let (dimm, added) = cost(&lab, |lab| add_and_use(lab, GIB))?;
    let ((), removed) = cost(&lab, |lab| remove(lab, &dimm))?;
    lab.unload()?;
    lab.shutdown()?;
    for (name, value) in [
        ("hotadd_1g_rebuilds", added.rebuilds),
        ("hotadd_1g_hcalls", added.calls),
        ("hotremove_1g_hcalls", removed.calls),
    ] {
        figures.insert(name.to_owned(), value as f64);
    }

    for (name, memory) in MAPS {
        progress(&format!("how long queue pairs pause, {memory}"));
        let blackout = blackout(&Shape { memory, ..STANDARD })?;
        let microseconds = blackout.nanoseconds as f64 / 1000.0;
        figures.insert(format!("blackout_virtual_us_{name}"), microseconds);
        figures.insert("blackout_hcalls_per_qp".to_owned(), blackout.calls as f64);
    }

    let lab = Lab::boot("bench-soak", &STANDARD)?;
    let soaked = soak(
        &lab,
        cycles,
        |plan| plan,
        |done| {
            if done % PROGRESS == 0 {
                progress(&format!(
                    "{done} of {cycles} cycles of adding and removing memory"
                ));
            }
        },
    )?;
    lab.shutdown()?;
    for (name, value) in [
        ("hotplug_cycles", soaked.cycles),
        ("hotplug_frames", soaked.frames),
        ("hotplug_frames_lost", soaked.lost),
    ] {
        figures.insert(name.to_owned(), value as f64);
    }
    let growth = soaked.slab_growth as f64;
    figures.insert("hotplug_slab_growth_kib".to_owned(), growth);
    Ok(())
}

/// Costs of an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Number of calls to firmware, except for calls whose number depends on time.
    pub(crate) calls: u64,
    /// Number of memory regions that were made.
    pub(crate) rebuilds: u64,
}

/// Does `work` and returns its costs.
pub(crate) fn cost<T>(lab: &Lab, work: impl FnOnce(&Lab) -> Result<T>) -> Result<(T, Cost)> {
    let before: Stats = lab.stats()?;
    let result = work(lab)?;
    let after = lab.stats()?;
    let cost = Cost {
        calls: calls(&after) - calls(&before),
        rebuilds: allocations(&after) - allocations(&before),
    };
    Ok((result, cost))
}

/// Plugs in a DIMM, sends from it, and waits until the adapter can reach it.
pub(crate) fn add_and_use(lab: &Lab, bytes: u64) -> Result<Dimm> {
    let dimm = Dimm::plug(lab, "bench", bytes)?;
    send_from(lab, &dimm, 300)?;
    settled(lab, &dimm)?;
    Ok(dimm)
}

/// Removes a DIMM. The adapter must not reach it any more.
pub(crate) fn remove(lab: &Lab, dimm: &Dimm) -> Result<()> {
    dimm.unplug(lab)?;
    not_registered(&lab.stats()?, &dimm.range)
}

/// Makes the guest's clock count instructions, so that nothing else decides how long something
/// takes.
pub(crate) fn counting(builder: Builder) -> Builder {
    builder
        .smp(1)
        .qemu_arg("-icount")
        .qemu_arg("shift=0,sleep=off")
}

/// Length of a queue pair's pause.
#[derive(Clone, Copy, Debug)]
struct Blackout {
    calls: u64,
    nanoseconds: u64,
}

/// Removes a block from the map of an idle guest. Returns the pause.
fn blackout(shape: &Shape) -> Result<Blackout> {
    let lab = Lab::boot_with("bench-blackout", shape, counting)?;
    prepare(&lab)?;
    let dimm = add_and_use(&lab, LMB)?;
    let before = lab.stats()?;
    remove(&lab, &dimm)?;
    ensure!(
        allocations(&lab.stats()?) == allocations(&before) + 1,
        "not one rebuild for one block"
    );
    let map = MapFile::read(&lab)?;
    let blackout = Blackout {
        calls: map.get("mr_blackout_hcalls")?,
        nanoseconds: map.get("mr_blackout_ns")?,
    };
    lab.unload()?;
    lab.shutdown()?;
    Ok(blackout)
}
