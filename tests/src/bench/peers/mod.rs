// SPDX-License-Identifier: GPL-2.0
//! This driver beside others: the C driver for the same adapter (`c`), ibmveth (`veth`), virtio-net
//! (`virtio`) and, for sending only, the kernel's dummy device (`dummy`), which costs as much as
//! the stack alone. The C driver has another kernel with another stack, whose dummy device is
//! `c_dummy`.
//!
//! A plugin of QEMU counts executed instructions by address ([`counter`](super::counter)).
//! Everything in these guests happens in the guest's clock, which counts instructions: frames never
//! come from the host, and none goes there. At the other end of each device's wire is a virtio
//! device of the same guest ([`rig`]). pktgen makes the frames in both directions. The load of the
//! host therefore decides nothing, not even how many frames an interrupt is for.

mod hotplug;
mod packets;
mod profile;
mod rig;

use anyhow::Result;

use self::rig::Device;
use super::Figures;
use crate::system::System;

pub(super) use profile::profile;

/// A driver that is measured.
#[derive(Debug)]
struct Peer {
    /// Name in figures.
    name: &'static str,
    device: Device,
    system: System,
}

const PEERS: [Peer; 6] = {
    const fn peer(name: &'static str, device: Device, system: System) -> Peer {
        Peer {
            name,
            device,
            system,
        }
    }
    [
        peer("c", Device::Adapter, System::Witness),
        peer("rs", Device::Adapter, System::Ours),
        peer("veth", Device::Veth, System::Ours),
        peer("virtio", Device::Virtio, System::Ours),
        peer("dummy", Device::Dummy, System::Ours),
        peer("c_dummy", Device::Dummy, System::Witness),
    ]
};

/// Returns the number of instructions to send a frame of 60 bytes: with the adapter outside of CMO,
/// with the adapter in a CMO partition with `entitlement` bytes, and with ibmveth in that
/// partition.
pub(super) fn sending_within(entitlement: u64) -> Result<[f64; 3]> {
    let mut off = rig::Rig::boot(System::Ours, packets::MEMORY, packets::BUCKET)?;
    let free = packets::sending(&mut off, Device::Adapter)?;
    off.shutdown()?;
    let mut on = rig::Rig::boot_in(
        System::Ours,
        packets::MEMORY,
        packets::BUCKET,
        Some(entitlement),
    )?;
    let adapter = packets::sending(&mut on, Device::Adapter)?;
    let veth = packets::sending(&mut on, Device::Veth)?;
    on.shutdown()?;
    Ok([free, adapter, veth])
}

/// Takes the figures.
pub(super) fn measure(figures: &mut Figures, progress: &mut impl FnMut(&str)) -> Result<()> {
    for system in [System::Witness, System::Ours] {
        if system.is_available() {
            let peers = PEERS.iter().filter(|peer| peer.system == system);
            packets::measure(system, peers.clone(), figures, progress)?;
            for peer in peers.filter(|peer| peer.device == Device::Adapter) {
                hotplug::measure(peer, figures, progress)?;
            }
        }
    }
    Ok(())
}
