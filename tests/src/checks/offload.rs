// SPDX-License-Identifier: GPL-2.0
//! Checksums and segments that the sender leaves to others.

use std::time::Duration;

use anyhow::{ensure, Result};

use crate::lab::{text, Lab};
use crate::peer::{collect, collect_segments, udp_payload, Checker, Segmented, PEER_ADDRESS};

const PATIENCE: Duration = Duration::from_secs(60);

/// Packets for `ehea-net offload`: so many, the first with so many bytes of payload, each with so many
/// more than the one before.
#[derive(Clone, Copy, Debug)]
pub struct Packets {
    /// Their number.
    pub count: u64,
    /// Payload of the first.
    pub first: u64,
    /// What each has more.
    pub step: u64,
    /// Size of the segments; 0 for those that are not to be cut.
    pub mss: u64,
}

impl Packets {
    /// Payload of a packet.
    pub fn length(self, number: u64) -> usize {
        (self.first + number * self.step) as usize
    }

    /// Segments that they must become.
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

    /// Sends them on port 1 as TCP, and puts together what comes.
    pub fn send(self, lab: &Lab, interface: &str, stream: u32) -> Result<Segmented> {
        let job = lab.guest().spawn(&self.command(interface, "tcp", stream))?;
        let came = collect_segments(lab.port(1)?, stream, self.count, PATIENCE, |n| {
            self.length(n)
        })?;
        let output = job.wait()?;
        ensure!(output.success(), "{output}");
        Ok(came)
    }

    /// Sends them; they must come in segments of the right size.
    pub fn come_in_segments(self, lab: &Lab, interface: &str, stream: u32) -> Result<()> {
        let came = self.send(lab, interface, stream)?;
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
