// SPDX-License-Identifier: GPL-2.0
//! Parser of UDP datagrams, which checks the checksums that the adapter computed.

use anyhow::{ensure, Result};

use super::inet::{packet, word};

const UDP_PROTOCOL: u8 = 17;

/// Returns the payload of a UDP datagram to `port`, or `None` if the frame is something else.
///
/// # Errors
///
/// A length or a checksum is wrong, or the UDP checksum is missing.
pub fn udp_payload(frame: &[u8], port: u16) -> Result<Option<&[u8]>> {
    let Some(packet) = packet(frame, UDP_PROTOCOL)? else {
        return Ok(None);
    };
    if word(packet.payload, 2) != port {
        return Ok(None);
    }
    ensure!(
        packet.payload.len() >= 8 && usize::from(word(packet.payload, 4)) == packet.payload.len(),
        "a malformed UDP header"
    );
    ensure!(
        word(packet.payload, 6) != 0,
        "a UDP datagram without checksum"
    );
    ensure!(packet.payload_sum() == 0xffff, "a wrong UDP checksum");
    Ok(Some(&packet.payload[8..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A datagram as a Linux host sends it: from 10.0.0.1:4000 to 10.0.0.2:5000, with "hello".
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
