// SPDX-License-Identifier: GPL-2.0
//! Amount of work that the adapter does in a turn, during which the whole machine waits for it.

use anyhow::{ensure, Result};
use ehea_harness::{Guest, Netdev};
use ehea_model::stats::Stats;

use crate::lab::{port_address, text, wait_until};
use crate::peer::PEER_ADDRESS;
use crate::system::System;

/// Number of ports, and number of senders at each.
const PORTS: usize = 2;
const SENDERS: usize = 4;

/// Packets of each sender, as arguments of the guest's sender: number, bytes of payload, and size
/// of the segments. The kernel makes no segments shorter than 8 bytes. The first line makes most
/// frames, the second most bytes. A queue must not be busy with them for seconds, or the kernel
/// considers it stuck.
const LOADS: [(u64, u64, u64); 2] = [(40, 60_000, 8), (200, 60_000, 8_900)];

/// The longest turns that occurred.
pub(super) struct Longest {
    pub(super) frames: u64,
    pub(super) bytes: u64,
}

/// Makes all ports of a guest send as much as the guest can post, to a backend that never holds a
/// frame back, so that nothing but the adapter ends a turn.
pub(super) fn longest() -> Result<Longest> {
    let mut builder = System::Ours
        .guest()?
        .name("bench-work")
        .mem("1G")?
        .ports(PORTS)
        .adapter_property("num-queue-pairs=4");
    for port in 1..=PORTS {
        builder = builder.netdev(Netdev::None).adapter_property(&format!(
            "mac{}={}",
            port - 1,
            text(port_address(port))
        ));
    }
    let guest = builder.boot()?;
    guest.sh("modprobe ehea")?;
    let interfaces: Vec<_> = (1..=PORTS)
        .map(|port| up(&guest, port))
        .collect::<Result<_>>()?;
    for (number, (count, length, mss)) in LOADS.into_iter().enumerate() {
        let mut jobs = Vec::new();
        for sender in 0..PORTS * SENDERS {
            let interface = &interfaces[sender % PORTS];
            jobs.push(guest.spawn(&format!(
                "./ehea-net offload {interface} {} tcp {count} {length} 0 {mss} {}",
                text(PEER_ADDRESS),
                number * 100 + sender
            ))?);
        }
        for job in jobs {
            let output = job.wait()?;
            ensure!(output.success(), "{output}");
        }
    }
    guest.sh("rmmod ehea")?;
    let stats: Stats = guest.stats()?;
    guest.shutdown()?;
    Ok(Longest {
        frames: stats.longest_work_frames,
        bytes: stats.longest_work_bytes,
    })
}

/// Sets a port up with jumbo frames and returns its interface.
fn up(guest: &Guest, port: usize) -> Result<String> {
    let address = text(port_address(port));
    let name = guest.sh(&format!(
        "cd /sys/class/net && dirname $(grep -lx {address} */address)"
    ))?;
    let name = name.trim().to_owned();
    guest.sh(&format!("ip link set {name} mtu 9000 up"))?;
    wait_until("the port has a carrier", || {
        let carrier = guest.run(&format!("grep -qx 1 /sys/class/net/{name}/carrier"))?;
        Ok(carrier.success())
    })?;
    Ok(name)
}
