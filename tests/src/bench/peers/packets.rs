// SPDX-License-Identifier: GPL-2.0
//! Guest instructions per packet.

use std::collections::BTreeMap;

use anyhow::{ensure, Context, Result};

use super::rig::{Burst, Device, Rig};
use super::Peer;
use crate::bench::counter::Counts;
use crate::bench::Figures;
use crate::system::System;

/// Frames of a short run: what is done once per run costs as much as in a long one.
pub(super) const SHORT: u64 = 10_000;

/// Frames that a long run has more. What the kernel does now and then besides is up to a million
/// instructions in some runs, and none in others.
const MORE: u64 = 100_000;

/// How often a short and a long run are compared in one guest; the mean is taken, since how many frames
/// an interrupt is for differs a little each time.
const COMPARISONS: u32 = 3;

/// How often for a partner that sends; the least is taken. A ring that is full now and then costs more,
/// and by itself it is full more often than while the device receives.
const PARTNER_COMPARISONS: u32 = 9;

/// Guests in which the same is measured; of each figure the least is taken. In some guests a ring and
/// the queue before it fall into another rhythm, or memory is laid out so that the stack has more to do;
/// nothing makes it have less.
const GUESTS: usize = 3;

/// Frames before the first run: whatever is done once is done.
pub(super) const WARM_UP: u64 = 2_000;

/// Frame lengths without CRC, and what they are called: the shortest frame is called by its length
/// with CRC.
pub(super) const LENGTHS: [(usize, &str); 2] = [(60, "64b"), (1500, "1500b")];

/// Memory of the guest.
pub(super) const MEMORY: &str = "2G";

/// Addresses that are counted together: the smallest page.
pub(super) const BUCKET: u64 = 4096;

/// Instructions per frame.
#[derive(Clone, Copy, Debug)]
struct Cost {
    /// Everything.
    all: f64,
    /// In the driver's own code.
    driver: f64,
}

/// Takes the figures of all peers that run on a system.
pub(super) fn measure<'a>(
    system: System,
    peers: impl Iterator<Item = &'a Peer> + Clone,
    figures: &mut Figures,
    progress: &mut impl FnMut(&str),
) -> Result<()> {
    let mut least = Measured::default();
    for guest in 1..=GUESTS {
        let measured = measure_once(system, peers.clone(), &mut |what| {
            progress(&format!("guest {guest} of {GUESTS}: {what}"));
        })?;
        least.lower(measured);
    }
    for (label, by_peer) in least.received {
        let partner = least.partner.get(label).context("no partner")?;
        for (name, all) in by_peer {
            least.figures.insert(name, all - partner);
        }
    }
    figures.append(&mut least.figures);
    Ok(())
}

/// Instructions per frame, by what they are called.
#[derive(Debug, Default)]
struct Measured {
    /// What are figures as they are.
    figures: Figures,
    /// What it costs to receive a frame and its partner to send it, by length and figure.
    received: BTreeMap<&'static str, Figures>,
    /// What it costs a partner to send, by length.
    partner: BTreeMap<&'static str, f64>,
}

impl Measured {
    /// Keeps the lower of both, each by itself: what a partner is measured to take differs more from
    /// guest to guest than the whole does that it is taken from.
    fn lower(&mut self, other: Self) {
        lower(&mut self.figures, other.figures);
        lower(&mut self.partner, other.partner);
        for (label, by_peer) in other.received {
            lower(self.received.entry(label).or_default(), by_peer);
        }
    }
}

fn lower<K: Ord>(least: &mut BTreeMap<K, f64>, other: BTreeMap<K, f64>) {
    for (name, value) in other {
        let least = least.entry(name).or_insert(value);
        *least = least.min(value);
    }
}

/// Measures in one guest.
fn measure_once<'a>(
    system: System,
    peers: impl Iterator<Item = &'a Peer>,
    progress: &mut impl FnMut(&str),
) -> Result<Measured> {
    let mut measured = Measured::default();
    let mut rig = Rig::boot(system, MEMORY, BUCKET)?;
    rig.start(Device::Virtio)?;
    for (length, label) in LENGTHS {
        progress(&format!("cost of sending to a peer, {label}"));
        let mut least = f64::INFINITY;
        for _ in 0..PARTNER_COMPARISONS {
            let cost = cost(&mut rig, Device::Virtio, length, 1, Rig::transmit)?;
            least = least.min(cost.all);
        }
        measured.partner.insert(label, least);
    }
    rig.stop(Device::Virtio)?;
    for &Peer { name, device, .. } in peers {
        rig.start(device)?;
        for (length, label) in LENGTHS {
            progress(&format!("{name}, {label}"));
            let figures = &mut measured.figures;
            let tx = cost(&mut rig, device, length, COMPARISONS, Rig::transmit)?;
            figures.insert(format!("{name}_tx_insns_{label}"), tx.all);
            if device == Device::Adapter {
                figures.insert(format!("{name}_tx_drv_insns_{label}"), tx.driver);
            }
            if device == Device::Dummy {
                continue;
            }
            let rx = cost(&mut rig, device, length, COMPARISONS, Rig::receive)?;
            if device == Device::Adapter {
                figures.insert(format!("{name}_rx_drv_insns_{label}"), rx.driver);
            }
            let received = measured.received.entry(label).or_default();
            received.insert(format!("{name}_rx_insns_{label}"), rx.all);
        }
        rig.stop(device)?;
    }
    rig.shutdown()?;
    Ok(measured)
}

/// Instructions to send a frame of the shortest length.
pub(super) fn sending(rig: &mut Rig, device: Device) -> Result<f64> {
    rig.start(device)?;
    let cost = cost(rig, device, LENGTHS[0].0, COMPARISONS, Rig::transmit)?;
    rig.stop(device)?;
    Ok(cost.all)
}

/// Measures one way to use a device: what the frames cost that a long run has more than a short one.
fn cost(
    rig: &mut Rig,
    device: Device,
    length: usize,
    comparisons: u32,
    run: impl Fn(&mut Rig, Device, u64, usize) -> Result<Burst>,
) -> Result<Cost> {
    let code = rig.modules()?.code(device.module())?;
    run(rig, device, WARM_UP, length)?;
    let (mut all, mut driver) = (0.0, 0.0);
    for _ in 0..comparisons {
        let short = run(rig, device, SHORT, length)?.counts;
        let long = run(rig, device, SHORT + MORE, length)?.counts;
        let per_frame = |what: &dyn Fn(&Counts) -> u64| -> Result<f64> {
            let (short, long) = (what(&short), what(&long));
            ensure!(long > short, "more frames took no more instructions");
            Ok((long - short) as f64 / MORE as f64)
        };
        all += per_frame(&Counts::total)?;
        driver += per_frame(&|counts| counts.within(&code))?;
    }
    Ok(Cost {
        all: all / f64::from(comparisons),
        driver: driver / f64::from(comparisons),
    })
}
