// SPDX-License-Identifier: GPL-2.0
//! Known mistakes of the C driver, as far as both drivers are led to them in the same way.

use std::time::Duration;

use anyhow::{ensure, Context, Result};

use super::filters::receives;
use super::offload::Packets;
use crate::lab::{port_address, Lab};
use crate::memory::{blocks, Dimm};
use crate::peer::{collect, udp_payload, Checker, Summary};

const BLOCK: u64 = 256 << 20;
const STATION: [u8; 6] = [0x52, 0x54, 0x00, 0xea, 0x88, 0x02];

/// Checks whether frames of other stations arrive after a promiscuous interface was set down and
/// up.
pub fn promiscuous_after_reopen(lab: &Lab, stream: u32) -> Result<bool> {
    lab.load()?;
    let name = lab.up(1, 9000)?;
    let reflector = lab.reflect(&name)?;
    lab.sh(&format!("ip link set {name} promisc on"))?;
    ensure!(
        receives(lab, STATION, port_address(1), stream)?,
        "promiscuous mode does not work at all"
    );
    lab.sh(&format!("ip link set {name} down"))?;
    lab.up(1, 9000)?;
    let flags = lab.sh(&format!("cat /sys/class/net/{name}/flags"))?;
    let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16)?;
    ensure!(
        flags & 0x100 != 0,
        "the interface is not promiscuous any more"
    );
    let received = receives(lab, STATION, port_address(1), stream + 1)?;
    reflector.stop()?;
    Ok(received)
}

/// Sends datagrams of more pieces than a work request has descriptors for, as many as a buffer of
/// the kernel can have. A datagram counts as lost if none has arrived for `patience`.
pub fn many_fragments(lab: &Lab, name: &str, stream: u32, patience: Duration) -> Result<Summary> {
    const PIECES: u64 = 45;
    const COUNT: u64 = 40;
    const UDP_PORT: u16 = 4000;
    lab.address(name, 77)?;
    let job = lab.guest().spawn(&format!(
        "./ehea-net pieces 10.77.0.2 {UDP_PORT} {PIECES} {COUNT} {stream}"
    ))?;
    let mut checker = Checker::new(stream);
    collect(lab.port(1)?, &mut checker, COUNT, patience, |frame| {
        udp_payload(frame, UDP_PORT)
    })?;
    let output = job.wait()?;
    ensure!(output.success(), "{output}");
    Ok(checker.finish(COUNT))
}

/// TCP packets that are to be cut although, with all headers, they are shorter than what a work
/// request holds as immediate data.
pub const SHORT_PACKETS: Packets = Packets {
    count: 20,
    first: 100,
    step: 0,
    mss: 50,
};

/// Lets a notifier that is called before the driver's refuse to take a block of a DIMM offline. The
/// driver is told that the block stays without having been told that it was to go. Returns the
/// DIMM.
pub fn cancel_without_offline(lab: &Lab, id: &str) -> Result<Dimm> {
    let dimm = Dimm::plug(lab, id, BLOCK)?;
    let block = blocks(lab, &dimm.range)?.pop().context("no memory block")?;
    lab.sh("modprobe memory-notifier-error-inject priority=1")?;
    lab.sh(
        "echo -16 >/sys/kernel/debug/notifier-error-inject/memory/actions/MEM_GOING_OFFLINE/error",
    )?;
    let output = lab.run(&format!("echo offline >{block}/state"))?;
    ensure!(!output.success(), "the block went offline");
    lab.sh("rmmod memory-notifier-error-inject")?;
    Ok(dimm)
}

/// Takes the link of port 1 down and up.
pub fn flap(lab: &Lab, name: &str) -> Result<()> {
    lab.guest().set_port_link(1, false)?;
    lab.carrier(name, false)?;
    lab.guest().set_port_link(1, true)?;
    lab.carrier(name, true)
}
