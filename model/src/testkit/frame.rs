// SPDX-License-Identifier: GPL-2.0

//! Frames for tests, built independently of the model's own parsers.

/// Returns the Internet checksum, calculated word by word (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Functions that build and check frames.
#[derive(Clone, Copy, Debug)]
pub struct Frame;

impl Frame {
    /// MAC address of the first port of [`super::TestMachine::default_config`].
    pub const STATION: [u8; 6] = [0x02, 0, 0, 0, 0, 1];
    /// MAC address of another station.
    pub const PEER: [u8; 6] = [0x02, 0, 0, 0, 0, 0x99];

    /// Returns the Internet checksum of `bytes`.
    pub fn checksum(bytes: &[u8]) -> u16 {
        checksum(bytes)
    }

    /// Returns `len` bytes of a pattern that differs from offset to offset and from seed to seed.
    pub fn pattern(len: usize, seed: u32) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
        (0..len)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                state as u8
            })
            .collect()
    }

    /// Returns a frame of `len` bytes with an experimental EtherType.
    pub fn raw(to: [u8; 6], len: usize, seed: u32) -> Vec<u8> {
        let mut frame = [&to[..], &Self::PEER, &[0x88, 0xb5]].concat();
        frame.extend(Self::pattern(len.saturating_sub(14), seed));
        frame
    }

    fn ipv4(to: [u8; 6], protocol: u8, l4: &[u8]) -> Vec<u8> {
        let total = (20 + l4.len()) as u16;
        let mut ip = vec![0x45, 0, 0, 0, 0x12, 0x34, 0x40, 0, 64, protocol, 0, 0];
        ip[2..4].copy_from_slice(&total.to_be_bytes());
        ip.extend([10, 0, 0, 2, 10, 0, 0, 1]);
        let sum = checksum(&ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        [&to[..], &Self::PEER, &[0x08, 0x00], &ip, l4].concat()
    }

    fn pseudo_header(protocol: u8, len: usize) -> Vec<u8> {
        let mut pseudo = vec![10, 0, 0, 2, 10, 0, 0, 1, 0, protocol];
        pseudo.extend((len as u16).to_be_bytes());
        pseudo
    }

    /// Returns an IPv4 UDP frame with correct checksums.
    pub fn udp(to: [u8; 6], ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
        let len = 8 + payload.len();
        let mut udp = Vec::new();
        udp.extend(ports.0.to_be_bytes());
        udp.extend(ports.1.to_be_bytes());
        udp.extend((len as u16).to_be_bytes());
        udp.extend([0, 0]);
        udp.extend(payload);
        let sum = match checksum(&[Self::pseudo_header(17, len), udp.clone()].concat()) {
            0 => 0xffff,
            sum => sum,
        };
        udp[6..8].copy_from_slice(&sum.to_be_bytes());
        Self::ipv4(to, 17, &udp)
    }

    /// Returns an IPv4 TCP frame with the flags `flags` and correct checksums.
    pub fn tcp(
        to: [u8; 6],
        ports: (u16, u16),
        sequence: u32,
        flags: u8,
        payload: &[u8],
    ) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend(ports.0.to_be_bytes());
        tcp.extend(ports.1.to_be_bytes());
        tcp.extend(sequence.to_be_bytes());
        tcp.extend([0, 0, 0, 7, 0x50, flags, 0x20, 0, 0, 0, 0, 0]);
        tcp.extend(payload);
        let pseudo = Self::pseudo_header(6, tcp.len());
        let sum = checksum(&[pseudo, tcp.clone()].concat());
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        Self::ipv4(to, 6, &tcp)
    }

    /// Returns the frame `frame` with an 802.1Q tag added.
    pub fn tagged(frame: &[u8], tci: u16) -> Vec<u8> {
        [
            &frame[..12],
            &[0x81, 0x00],
            &tci.to_be_bytes(),
            &frame[12..],
        ]
        .concat()
    }

    /// Checks whether the checksums of an untagged IPv4 TCP or UDP frame without options are
    /// correct.
    pub fn is_intact(frame: &[u8]) -> bool {
        let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
        let l4 = &frame[34..14 + total];
        let mut pseudo = frame[26..34].to_vec();
        pseudo.extend([0, frame[23]]);
        pseudo.extend((l4.len() as u16).to_be_bytes());
        checksum(&frame[14..34]) == 0 && checksum(&[&pseudo[..], l4].concat()) == 0
    }
}
