// SPDX-License-Identifier: GPL-2.0
//! Checksums and segments that the sender leaves to others.

use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::lab::{text, wait_until, Lab};
use crate::peer::{collect, collect_segments, udp_payload, Checker, Segmented, PEER_ADDRESS};

const PATIENCE: Duration = Duration::from_secs(60);

/// Packets for `ehea-net offload`: `count` packets, the first with `first` bytes of payload, and
/// each with `step` bytes more than the one before.
#[derive(Clone, Copy, Debug)]
pub struct Packets {
    /// Number of packets.
    pub count: u64,
    /// Number of payload bytes of the first packet.
    pub first: u64,
    /// Number of bytes that each packet has more than the one before.
    pub step: u64,
    /// Size of the segments; 0 for packets that are not to be cut.
    pub mss: u64,
}

impl Packets {
    /// Returns the payload length of a packet.
    pub fn length(self, number: u64) -> usize {
        (self.first + number * self.step) as usize
    }

    /// Returns the number of segments into which the packets must be cut.
    fn segments(self) -> u64 {
        let mss = if self.mss == 0 { u64::MAX } else { self.mss };
        (0..self.count)
            .map(|n| (self.length(n) as u64).div_ceil(mss))
            .sum()
    }

    fn command(self, interface: &str, protocol: &str, stream: u32) -> String {
        let Self {
            count,
            first,
            step,
            mss,
        } = self;
        let peer = text(PEER_ADDRESS);
        format!(
            "./ehea-net offload {interface} {peer} {protocol} {count} {first} {step} {mss} {stream}"
        )
    }

    /// Sends the packets on port 1 as TCP, and puts together what arrives.
    pub fn send(self, lab: &Lab, interface: &str, stream: u32) -> Result<Segmented> {
        let job = lab.guest().spawn(&self.command(interface, "tcp", stream))?;
        let came = collect_segments(lab.port(1)?, stream, self.count, PATIENCE, |n| {
            self.length(n)
        })?;
        let output = job.wait()?;
        ensure!(output.success(), "{output}");
        Ok(came)
    }

    /// Sends the packets. They must arrive in segments of the right size, made by the adapter.
    pub fn come_in_segments(self, lab: &Lab, interface: &str, stream: u32) -> Result<()> {
        let offloads = Offloads::start(lab, 1)?;
        let came = self.send(lab, interface, stream)?;
        let cut = if self.mss == 0 { 0 } else { self.count };
        offloads.expect(lab, self.count, cut)?;
        came.summary.flawless()?;
        ensure!(
            came.segments == self.segments() && (self.mss == 0 || came.longest as u64 == self.mss),
            "{} segments instead of {}, the longest of {} bytes, for {self:?}",
            came.segments,
            self.segments(),
            came.longest
        );
        Ok(())
    }
}

/// Watcher of what the adapter does for the packets that a port sends. On the wire, the kernel's or
/// the driver's work would look the same.
#[derive(Clone, Copy, Debug)]
pub struct Offloads {
    port: usize,
    checksums: u64,
    segmented: u64,
}

impl Offloads {
    /// Starts to count.
    pub fn start(lab: &Lab, port: usize) -> Result<Self> {
        let stats = lab.stats()?;
        let counted = stats.ports.get(port - 1).context("no such port")?;
        Ok(Self {
            port,
            checksums: counted.tx_checksums,
            segmented: counted.tx_segmented,
        })
    }

    /// Returns the number of packets for which the adapter has computed TCP or UDP checksums since
    /// the start, and the number that it has cut into segments.
    pub fn since(self, lab: &Lab) -> Result<(u64, u64)> {
        let now = Self::start(lab, self.port)?;
        Ok((
            now.checksums - self.checksums,
            now.segmented - self.segmented,
        ))
    }

    /// Fails unless the adapter did this work for so many packets. The last packet may be sent
    /// before it is counted.
    fn expect(self, lab: &Lab, checksums: u64, segmented: u64) -> Result<()> {
        let mut counted = (0, 0);
        wait_until("the adapter did the work", || {
            counted = self.since(lab)?;
            Ok(counted == (checksums, segmented))
        })
        .with_context(|| {
            format!(
                "the adapter filled in checksums of {} packets instead of {checksums}, and cut {} instead of \
                 {segmented}",
                counted.0, counted.1
            )
        })
    }
}

/// TCP segments and UDP datagrams of many lengths have right checksums.
pub fn checksums(lab: &Lab) -> Result<()> {
    const UDP_PORT: u16 = 4001;
    let packets = Packets {
        count: 200,
        first: 20,
        step: 44,
        mss: 0,
    };
    lab.load()?;
    let name = lab.up(1, 9000)?;
    packets.come_in_segments(lab, &name, 200)?;
    let offloads = Offloads::start(lab, 1)?;
    let job = lab.guest().spawn(&packets.command(&name, "udp", 201))?;
    let mut checker = Checker::new(201);
    collect(
        lab.port(1)?,
        &mut checker,
        packets.count,
        PATIENCE,
        |frame| udp_payload(frame, UDP_PORT),
    )?;
    let output = job.wait()?;
    ensure!(output.success(), "{output}");
    checker.finish(packets.count).flawless()?;
    offloads.expect(lab, packets.count, 0)?;
    lab.unload()
}

/// TCP packets up to the longest that there are come in segments of the size that was asked for.
pub fn segmentation(lab: &Lab) -> Result<()> {
    lab.load()?;
    let name = lab.up(1, 9000)?;
    for (stream, count, first, step, mss) in [
        (202, 100, 1449, 640, 1448),
        (203, 20, 65_000, 20, 8948),
        // The last segment is as long as the others.
        (204, 10, 2896, 1448, 1448),
        (205, 20, 600, 100, 216),
    ] {
        let packets = Packets {
            count,
            first,
            step,
            mss,
        };
        packets.come_in_segments(lab, &name, stream)?;
    }
    lab.unload()
}
