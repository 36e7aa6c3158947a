// SPDX-License-Identifier: GPL-2.0
//! Reassembly of TCP segments that the adapter (or the kernel) made of long packets.

use std::time::{Duration, Instant};

use anyhow::{ensure, Result};

use super::inet::{packet, word, Packet};
use super::{Checker, Port, Summary};

const TCP_PROTOCOL: u8 = 6;
/// Port to which `ehea-net offload` sends.
pub const TCP_PORT: u16 = 4001;
/// First sequence number of `ehea-net offload`.
pub const FIRST_SEQUENCE: u32 = 0xffff_f000;
const PSH: u8 = 0x08;

/// Result of packets that were to be cut into segments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segmented {
    /// Result of the payloads that were put together.
    pub summary: Summary,
    /// Number of segments that arrived.
    pub segments: u64,
    /// Number of payload bytes of the longest segment.
    pub longest: usize,
}

/// Assembler of payloads from segments.
struct Assembly<L> {
    checker: Checker,
    length: L,
    packet: u64,
    payload: Vec<u8>,
    /// Number of segments of the present packet.
    parts: u16,
    sequence: u32,
    segments: u64,
    longest: usize,
}

impl<L: Fn(u64) -> usize> Assembly<L> {
    fn new(stream: u32, length: L) -> Self {
        Self {
            checker: Checker::new(stream),
            length,
            packet: 0,
            payload: Vec::new(),
            parts: 0,
            sequence: FIRST_SEQUENCE,
            segments: 0,
            longest: 0,
        }
    }

    /// Takes a segment, whose checksums, number, flags and identification must be right.
    fn take(&mut self, packet: &Packet<'_>) -> Result<()> {
        let segment = packet.payload;
        if word(segment, 2) != TCP_PORT {
            return Ok(());
        }
        let header = usize::from(segment.get(12).copied().unwrap_or_default() >> 4) * 4;
        ensure!(
            header >= 20 && segment.len() > header,
            "a malformed TCP header, or a segment without payload"
        );
        ensure!(packet.payload_sum() == 0xffff, "a wrong TCP checksum");
        let (head, payload) = segment.split_at(header);
        let sequence = u32::from(word(head, 4)) << 16 | u32::from(word(head, 6));
        ensure!(
            sequence == self.sequence,
            "sequence number {sequence:#x} instead of {:#x}",
            self.sequence
        );
        let id = (self.packet as u16).wrapping_add(self.parts);
        ensure!(
            word(packet.header, 4) == id,
            "identification {:#x} instead of {id:#x}",
            word(packet.header, 4)
        );
        self.sequence = self.sequence.wrapping_add(payload.len() as u32);
        self.payload.extend_from_slice(payload);
        self.parts += 1;
        self.segments += 1;
        self.longest = self.longest.max(payload.len());
        let last = self.payload.len() >= (self.length)(self.packet);
        ensure!(
            (head[13] & PSH != 0) == last,
            "PSH is not in the last segment, and only there"
        );
        if last {
            self.checker.take(&self.payload, &self.length);
            self.payload.clear();
            self.packet += 1;
            self.parts = 0;
        }
        Ok(())
    }
}

/// Receives what `ehea-net offload INTERFACE DESTINATION tcp` sends, until `count` packets have
/// arrived or nothing has arrived for `patience`. `length` returns the payload length of a packet
/// by its number.
pub fn collect_segments(
    port: &Port,
    stream: u32,
    count: u64,
    patience: Duration,
    length: impl Fn(u64) -> usize,
) -> Result<Segmented> {
    let mut assembly = Assembly::new(stream, length);
    let mut buffer = [0; 1 << 16];
    let mut last = Instant::now();
    while assembly.packet < count && last.elapsed() < patience {
        let Some(length) = port.try_receive(&mut buffer)? else {
            port.wait(false, Duration::from_millis(20))?;
            continue;
        };
        if let Some(packet) = packet(&buffer[..length], TCP_PROTOCOL)? {
            assembly.take(&packet)?;
            last = Instant::now();
        }
    }
    Ok(Segmented {
        summary: assembly.checker.finish(count),
        segments: assembly.segments,
        longest: assembly.longest,
    })
}

#[cfg(test)]
mod tests {
    use super::super::inet::sum;
    use super::super::pattern;
    use super::*;

    /// Returns one segment with its identification, sequence number, PSH flag and payload.
    fn segment(id: u16, sequence: u32, psh: bool, payload: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut header = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0];
        header.extend([10, 79, 0, 1, 10, 79, 0, 2]);
        header[4..6].copy_from_slice(&id.to_be_bytes());
        let mut tcp = [4000u16.to_be_bytes(), TCP_PORT.to_be_bytes()].concat();
        tcp.extend(sequence.to_be_bytes());
        tcp.extend([0, 0, 0, 1, 0x50, if psh { 0x18 } else { 0x10 }]);
        tcp.extend([0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend(payload);
        let pseudo = u32::from(sum(&header[12..20], 0)) + 6 + tcp.len() as u32;
        let checksum = !sum(&tcp, pseudo);
        tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
        (header, tcp)
    }

    fn take(assembly: &mut Assembly<impl Fn(u64) -> usize>, part: (Vec<u8>, Vec<u8>)) -> bool {
        let (header, payload) = &part;
        assembly.take(&Packet { header, payload }).is_ok()
    }

    #[test]
    fn right_segments_are_put_together() {
        let mut payload = vec![0; 250];
        pattern::fill(&mut payload, 9, 0);
        let mut assembly = Assembly::new(9, |_| 250);
        let first = FIRST_SEQUENCE;
        assert!(take(
            &mut assembly,
            segment(0, first, false, &payload[..100])
        ));
        assert!(take(
            &mut assembly,
            segment(1, first + 100, false, &payload[100..200])
        ));
        assert!(take(
            &mut assembly,
            segment(2, first + 200, true, &payload[200..])
        ));
        assembly.checker.finish(1).flawless().unwrap();
        assert_eq!((assembly.segments, assembly.longest), (3, 100));
    }

    #[test]
    fn wrong_segments_are_found() {
        let payload = [7; 100];
        let first = FIRST_SEQUENCE;
        let new = || Assembly::new(9, |_| 250);
        assert!(take(&mut new(), segment(0, first, false, &payload)));
        assert!(
            !take(&mut new(), segment(1, first, false, &payload)),
            "identification"
        );
        assert!(
            !take(&mut new(), segment(0, first + 1, false, &payload)),
            "sequence"
        );
        assert!(!take(&mut new(), segment(0, first, true, &payload)), "PSH");
        let mut wrong = segment(0, first, false, &payload);
        wrong.1[30] ^= 1;
        assert!(!take(&mut new(), wrong), "checksum");
    }
}
