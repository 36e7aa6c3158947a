// SPDX-License-Identifier: GPL-2.0
//! Takes UDP datagrams apart and checks the checksums that the adapter computed.

use anyhow::{ensure, Result};

use super::split;

const IPV4_ETHERTYPE: u16 = 0x0800;
const UDP_PROTOCOL: u8 = 17;

/// The payload of a UDP datagram to `port`, or `None` if the frame is something else. An error if a
/// length or a checksum is wrong, or the UDP checksum is missing.
pub fn udp_payload(frame: &[u8], port: u16) -> Result<Option<&[u8]>> {
    let Some((IPV4_ETHERTYPE, packet)) = split(frame) else {
        return Ok(None);
    };
    let header_length = usize::from(packet.first().copied().unwrap_or_default() & 0xf) * 4;
    let total = word(packet, 2);
    ensure!(
        header_length >= 20 && total >= header_length && packet.len() >= total,
        "a malformed IPv4 header"
    );
    let (ip, segment) = packet[..total].split_at(header_length);
    ensure!(sum(ip, 0) == 0xffff, "a wrong IPv4 checksum");
    if ip[9] != UDP_PROTOCOL || word(segment, 2) != usize::from(port) {
        return Ok(None);
    }
    ensure!(
        segment.len() >= 8 && word(segment, 4) == segment.len(),
        "a malformed UDP header"
    );
    ensure!(word(segment, 6) != 0, "a UDP datagram without checksum");
    let pseudo = u32::from(sum(&ip[12..20], 0)) + u32::from(UDP_PROTOCOL) + segment.len() as u32;
    ensure!(sum(segment, pseudo) == 0xffff, "a wrong UDP checksum");
    Ok(Some(&segment[8..]))
}

/// The big-endian 16-bit number at `at`, 0 beyond the end.
fn word(bytes: &[u8], at: usize) -> usize {
    match bytes.get(at..at + 2) {
        Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])),
        _ => 0,
    }
}

/// The Internet sum (RFC 1071) of bytes, folded to 16 bits.
fn sum(bytes: &[u8], start: u32) -> u16 {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A datagram as a Linux host sends it: 10.0.0.1:4000 to 10.0.0.2:5000, "hello".
    const FRAME: [u8; 47] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0, 0, 1, 0x08, 0x00, //
        0x45, 0, 0, 33, 0x12, 0x34, 0x40, 0, 64, 17, 0x14, 0x96, 10, 0, 0, 1, 10, 0, 0, 2, //
        0x0f, 0xa0, 0x13, 0x88, 0, 13, 0x84, 0xd7, b'h', b'e', b'l', b'l', b'o',
    ];

    #[test]
    fn a_right_datagram_is_taken() {
        assert_eq!(udp_payload(&FRAME, 5000).unwrap().unwrap(), b"hello");
        assert!(udp_payload(&FRAME, 5001).unwrap().is_none());
    }

    #[test]
    fn padding_is_no_payload() {
        let mut frame = FRAME.to_vec();
        frame.resize(60, 0xaa);
        assert_eq!(udp_payload(&frame, 5000).unwrap().unwrap(), b"hello");
    }

    #[test]
    fn wrong_checksums_are_found() {
        for at in [14 + 8, 14 + 24, 14 + 29, FRAME.len() - 1] {
            let mut frame = FRAME;
            frame[at] ^= 1;
            assert!(udp_payload(&frame, 5000).is_err(), "byte {at}");
        }
        let mut frame = FRAME;
        frame[40..42].fill(0);
        assert!(udp_payload(&frame, 5000).is_err());
    }
}
