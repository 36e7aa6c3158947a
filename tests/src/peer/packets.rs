// SPDX-License-Identifier: GPL-2.0
//! IPv4 packets with correct checksums.

use super::inet::{sum, IPV4_ETHERTYPE};
use super::{header, pattern};

const TCP_PROTOCOL: u8 = 6;
const UDP_PROTOCOL: u8 = 17;

/// Address and port.
pub type Endpoint = ([u8; 4], u16);

/// Sender and receiver of packets.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// MAC address of the station to which the frame goes.
    pub station: [u8; 6],
    /// Sender.
    pub from: Endpoint,
    /// Receiver.
    pub to: Endpoint,
}

impl Flow {
    /// Returns a frame with an IPv4 packet. The checksum is at offset `checksum` of what follows
    /// the IPv4 header.
    fn frame(&self, protocol: u8, id: u16, mut transport: Vec<u8>, checksum: usize) -> Vec<u8> {
        let length = transport.len() as u16;
        let mut ip = vec![0x45, 0];
        ip.extend((20 + length).to_be_bytes());
        ip.extend(id.to_be_bytes());
        // The packet must not be fragmented.
        ip.extend([0x40, 0, 64, protocol, 0, 0]);
        ip.extend(self.from.0);
        ip.extend(self.to.0);
        let pseudo = u32::from(sum(&ip[12..20], 0)) + u32::from(protocol) + u32::from(length);
        let right = !sum(&transport, pseudo);
        transport[checksum..checksum + 2].copy_from_slice(&right.to_be_bytes());
        let right = !sum(&ip, 0);
        ip[10..12].copy_from_slice(&right.to_be_bytes());
        let mut frame = header(self.station, IPV4_ETHERTYPE).to_vec();
        frame.append(&mut ip);
        frame.append(&mut transport);
        frame
    }

    fn ports(&self) -> Vec<u8> {
        [self.from.1.to_be_bytes(), self.to.1.to_be_bytes()].concat()
    }

    /// Returns a UDP datagram.
    pub fn datagram(&self, payload: &[u8]) -> Vec<u8> {
        let mut udp = self.ports();
        udp.extend((8 + payload.len() as u16).to_be_bytes());
        udp.extend([0, 0]);
        udp.extend(payload);
        self.frame(UDP_PROTOCOL, 0, udp, 6)
    }

    /// Returns a UDP datagram with a numbered payload of `length` bytes.
    pub fn numbered(&self, stream: u32, sequence: u64, length: usize) -> Vec<u8> {
        let mut payload = vec![0; length];
        pattern::fill(&mut payload, stream, sequence);
        self.datagram(&payload)
    }

    /// Returns the segments of a TCP packet, which [`super::collect_segments`] puts together again.
    /// `packet` is the number of the packet, and `sequence` the sequence number of its connection.
    pub fn segments(&self, packet: u64, sequence: u32, payload: &[u8], mss: usize) -> Vec<Vec<u8>> {
        const ACK: u8 = 0x10;
        const PSH: u8 = 0x08;
        let count = payload.len().div_ceil(mss);
        let segment = |(number, part): (usize, &[u8])| {
            let flags = if number + 1 == count { ACK | PSH } else { ACK };
            let mut tcp = self.ports();
            tcp.extend(sequence.wrapping_add((number * mss) as u32).to_be_bytes());
            tcp.extend([0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
            tcp.extend(part);
            let id = (packet as u16).wrapping_add(number as u16);
            self.frame(TCP_PROTOCOL, id, tcp, 16)
        };
        payload.chunks(mss).enumerate().map(segment).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::inet::packet;
    use super::super::udp_payload;
    use super::*;

    const FLOW: Flow = Flow {
        station: [2, 0, 0, 0, 0, 1],
        from: ([10, 0, 0, 1], 4000),
        to: ([10, 0, 0, 2], 5000),
    };

    #[test]
    fn datagrams_are_right() {
        for length in [18, 19, 400, 1472] {
            let frame = FLOW.numbered(7, 9, length);
            let payload = udp_payload(&frame, 5000).unwrap().unwrap();
            assert_eq!(pattern::check(payload, 7), Ok(9));
        }
    }

    #[test]
    fn segments_are_right() {
        let payload: Vec<u8> = (0..=255).cycle().take(2500).collect();
        let segments = FLOW.segments(3, u32::MAX - 500, &payload, 1000);
        let mut together = Vec::new();
        for (number, frame) in segments.iter().enumerate() {
            let packet = packet(frame, TCP_PROTOCOL).unwrap().unwrap();
            assert_eq!(packet.payload_sum(), 0xffff);
            assert_eq!(packet.payload[13] & 8 != 0, number == 2);
            together.extend(&packet.payload[20..]);
        }
        assert_eq!((segments.len(), together), (3, payload));
    }
}
