// SPDX-License-Identifier: GPL-2.0
//! IPv4 packets and their checksums.

use anyhow::{ensure, Result};

use super::split;

pub(super) const IPV4_ETHERTYPE: u16 = 0x0800;

/// An IPv4 packet whose header is right.
pub(super) struct Packet<'a> {
    /// Header, including options.
    pub(super) header: &'a [u8],
    /// Payload behind the header, without padding.
    pub(super) payload: &'a [u8],
}

impl Packet<'_> {
    /// Returns the sum of pseudo header and payload. It is 0xffff if the payload's checksum is
    /// right.
    pub(super) fn payload_sum(&self) -> u16 {
        let protocol = u32::from(self.header[9]);
        let pseudo = u32::from(sum(&self.header[12..20], 0)) + protocol + self.payload.len() as u32;
        sum(self.payload, pseudo)
    }
}

/// Returns the packet in a frame, or `None` if the frame holds something else than this protocol
/// over IPv4.
///
/// # Errors
///
/// A length or the header's checksum is wrong.
pub(super) fn packet(frame: &[u8], protocol: u8) -> Result<Option<Packet<'_>>> {
    let Some((IPV4_ETHERTYPE, packet)) = split(frame) else {
        return Ok(None);
    };
    let header_length = usize::from(packet.first().copied().unwrap_or_default() & 0xf) * 4;
    let total = usize::from(word(packet, 2));
    ensure!(
        header_length >= 20 && total >= header_length && packet.len() >= total,
        "a malformed IPv4 header"
    );
    let (header, payload) = packet[..total].split_at(header_length);
    ensure!(sum(header, 0) == 0xffff, "a wrong IPv4 checksum");
    Ok((header[9] == protocol).then_some(Packet { header, payload }))
}

/// Returns the big-endian 16-bit number at `at`, or 0 beyond the end.
pub(super) fn word(bytes: &[u8], at: usize) -> u16 {
    match bytes.get(at..at + 2) {
        Some(&[high, low]) => u16::from_be_bytes([high, low]),
        _ => 0,
    }
}

/// Returns the Internet sum (RFC 1071) of bytes, folded to 16 bits.
pub(super) fn sum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = u64::from(start);
    for chunk in bytes.chunks(2) {
        let low = chunk.get(1).copied().unwrap_or_default();
        sum += u64::from(u16::from_be_bytes([chunk[0], low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
