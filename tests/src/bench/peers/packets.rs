// SPDX-License-Identifier: GPL-2.0
//! Guest instructions per packet.

use anyhow::Result;

use super::rig::{Burst, Device, Rig};
use super::Peer;
use crate::bench::counter::Counts;
use crate::bench::Figures;
use crate::system::System;

/// Number of frames of a short run. What is done once per run costs as much as in a long run. The
/// number is a multiple of what a partner sends at once, as are all others.
pub(super) const SHORT: u64 = 10_240;

/// Number of frames that a long run has more. What the kernel does now and then takes up to a
/// million instructions in some runs and none in others.
const MORE: u64 = 102_400;

/// Number of comparisons of a short and a long run in one guest. The mean is taken.
const COMPARISONS: u32 = 3;

/// Number of guests in which the same is measured. The minimum of each figure is taken. In some
/// guests, memory is laid out so that the stack has more to do; no layout makes it have less.
const GUESTS: usize = 2;

/// Number of frames before the first run, after which everything that is done once is done.
pub(super) const WARM_UP: u64 = 2_048;

/// Lengths of frames without CRC, and their names. The name of the shortest frame is its length
/// with CRC.
pub(super) const LENGTHS: [(usize, &str); 2] = [(60, "64b"), (1500, "1500b")];

/// Memory of the guest.
pub(super) const MEMORY: &str = "2G";

/// Number of addresses that are counted together: the smallest page.
pub(super) const BUCKET: u64 = 4096;

/// Instructions per frame.
#[derive(Clone, Copy, Debug)]
struct Cost {
    /// Number of all instructions.
    all: f64,
    /// Number of instructions in the driver's own code.
    driver: f64,
}

/// Takes the figures of all peers that run on a system.
pub(super) fn measure<'a>(
    system: System,
    peers: impl Iterator<Item = &'a Peer> + Clone,
    figures: &mut Figures,
    progress: &mut impl FnMut(&str),
) -> Result<()> {
    for guest in 1..=GUESTS {
        let measured = measure_once(system, peers.clone(), &mut |what| {
            progress(&format!("guest {guest} of {GUESTS}: {what}"));
        })?;
        for (name, value) in measured {
            let least = figures.entry(name).or_insert(value);
            *least = least.min(value);
        }
    }
    Ok(())
}

/// Measures in one guest.
fn measure_once<'a>(
    system: System,
    peers: impl Iterator<Item = &'a Peer>,
    progress: &mut impl FnMut(&str),
) -> Result<Figures> {
    let mut figures = Figures::default();
    let mut rig = Rig::boot(system, MEMORY, BUCKET)?;
    // All partners are alike and run in the same guest, but do not belong to the costs of a device.
    // No device accepts what this one sends to nobody; `ibmveth` would accept it.
    rig.start(Device::Virtio)?;
    let mut partner = [0.0; LENGTHS.len()];
    for ((length, label), partner) in LENGTHS.into_iter().zip(&mut partner) {
        progress(&format!("what it costs to send to a peer, {label}"));
        *partner = cost(&mut rig, Device::Virtio, length, Rig::send_from_partner)?.all;
    }
    rig.stop(Device::Virtio)?;
    for &Peer { name, device, .. } in peers {
        rig.start(device)?;
        for ((length, label), partner) in LENGTHS.into_iter().zip(partner) {
            progress(&format!("{name}, {label}"));
            let tx = cost(&mut rig, device, length, Rig::transmit)?;
            figures.insert(format!("{name}_tx_insns_{label}"), tx.all);
            if device == Device::Adapter {
                figures.insert(format!("{name}_tx_drv_insns_{label}"), tx.driver);
            }
            if device == Device::Dummy {
                continue;
            }
            let rx = cost(&mut rig, device, length, Rig::receive)?;
            figures.insert(format!("{name}_rx_insns_{label}"), rx.all - partner);
            if device == Device::Adapter {
                figures.insert(format!("{name}_rx_drv_insns_{label}"), rx.driver);
            }
        }
        rig.stop(device)?;
    }
    rig.shutdown()?;
    Ok(figures)
}

/// Returns the number of instructions to send a frame of the shortest length.
pub(super) fn sending(rig: &mut Rig, device: Device) -> Result<f64> {
    rig.start(device)?;
    let cost = cost(rig, device, LENGTHS[0].0, Rig::transmit)?;
    rig.stop(device)?;
    Ok(cost.all)
}

/// Measures one way to use a device: the cost of the frames that a long run has more than a short
/// one.
fn cost(
    rig: &mut Rig,
    device: Device,
    length: usize,
    run: impl Fn(&mut Rig, Device, u64, usize) -> Result<Burst>,
) -> Result<Cost> {
    let code = rig.modules()?.code(device.module())?;
    run(rig, device, WARM_UP, length)?;
    let (mut all, mut driver) = (0.0, 0.0);
    for _ in 0..COMPARISONS {
        let short = run(rig, device, SHORT, length)?.counts;
        let long = run(rig, device, SHORT + MORE, length)?.counts;
        // A driver may do less of its other work in the long run.
        let per_frame = |what: &dyn Fn(&Counts) -> u64| {
            (what(&long) as f64 - what(&short) as f64) / MORE as f64
        };
        all += per_frame(&Counts::total);
        driver += per_frame(&|counts| counts.within(&code));
    }
    Ok(Cost {
        all: all / f64::from(COMPARISONS),
        driver: driver / f64::from(COMPARISONS),
    })
}
