// SPDX-License-Identifier: GPL-2.0

//! The Internet checksum and the headers it protects.

use zerocopy::byteorder::big_endian::{U16, U32};
use zerocopy::FromBytes as _;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Running sum of big-endian words. Pieces must be added at even offsets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum(u64);

impl Sum {
    /// Adds bytes; an odd last byte counts as if a zero byte followed.
    #[must_use]
    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        let words = bytes.len() / 4;
        let Ok((words, rest)) = <[U32]>::ref_from_prefix_with_elems(bytes, words) else {
            return self;
        };
        // Frames are short enough that the sum cannot overflow.
        let sum = words
            .iter()
            .fold(self.0, |sum, word| sum.wrapping_add(word.get().into()));
        let mut tail = [0u8; 4];
        for (to, from) in tail.iter_mut().zip(rest) {
            *to = *from;
        }
        Self(sum.wrapping_add(u32::from_be_bytes(tail).into()))
    }

    #[must_use]
    pub(crate) fn word(self, word: u16) -> Self {
        Self(self.0.wrapping_add(word.into()))
    }

    /// Returns the folded sum.
    fn fold(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff).wrapping_add(sum >> 16);
        }
        sum as u16
    }

    /// Returns the value for a checksum field: the complement of the folded sum.
    pub(crate) fn checksum(self) -> u16 {
        !self.fold()
    }

    /// Checks whether bytes that contain their own checksum are intact.
    pub(crate) fn is_intact(self) -> bool {
        self.fold() == 0xffff
    }
}

/// The fixed part of an IPv4 header.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Ipv4 {
    pub(crate) version_ihl: u8,
    pub(crate) tos: u8,
    pub(crate) total_length: U16,
    pub(crate) id: U16,
    pub(crate) fragment: U16,
    pub(crate) ttl: u8,
    pub(crate) protocol: u8,
    pub(crate) checksum: U16,
    pub(crate) source: [u8; 4],
    pub(crate) destination: [u8; 4],
}

impl Ipv4 {
    /// Position of the checksum in the header.
    pub(crate) const CHECKSUM: usize = 10;
    pub(crate) const TCP: u8 = 6;
    pub(crate) const UDP: u8 = 17;

    pub(crate) const fn is_version_4(&self) -> bool {
        self.version_ihl >> 4 == 4
    }

    /// Returns the length in bytes that the header gives for itself.
    pub(crate) const fn header_length(&self) -> usize {
        ((self.version_ihl & 0xf) as usize).saturating_mul(4)
    }

    /// Checks whether the packet is a fragment; the first fragment counts.
    pub(crate) fn is_fragment(&self) -> bool {
        self.fragment.get() & 0x3fff != 0
    }

    /// Returns the sum of the pseudo header in front of `length` bytes of TCP or UDP.
    pub(crate) fn pseudo_header(&self, length: usize) -> Sum {
        Sum::default()
            .bytes(&self.source)
            .bytes(&self.destination)
            .word(self.protocol.into())
            .word(length as u16)
    }
}

/// The fixed part of a TCP header.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Tcp {
    pub(crate) ports: [U16; 2],
    pub(crate) sequence: U32,
    pub(crate) acknowledgement: U32,
    pub(crate) offset: u8,
    pub(crate) flags: u8,
    pub(crate) window: U16,
    pub(crate) checksum: U16,
    pub(crate) urgent: U16,
}

impl Tcp {
    /// Position of the checksum in the header.
    pub(crate) const CHECKSUM: usize = 16;
    pub(crate) const FIN: u8 = 0x01;
    pub(crate) const PSH: u8 = 0x08;

    /// Returns the length in bytes that the header gives for itself.
    pub(crate) const fn header_length(&self) -> usize {
        ((self.offset >> 4) as usize).saturating_mul(4)
    }
}

/// Length of a UDP header in bytes.
pub(crate) const UDP_HEADER: usize = 8;
/// Position of the checksum in a UDP header.
pub(crate) const UDP_CHECKSUM: usize = 6;

/// Stores a big-endian word in a frame. Nothing happens if it is outside the frame.
pub(crate) fn store(frame: &mut [u8], at: usize, word: u16) {
    let field = frame.get_mut(at..).and_then(<[u8]>::first_chunk_mut);
    if let Some(field) = field {
        *field = word.to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns the Internet checksum, calculated word by word (RFC 1071).
    pub(crate) fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    proptest! {
        #[test]
        fn like_the_naive_version(bytes in proptest::collection::vec(any::<u8>(), 0..3000),
                                  cut in 0usize..1500) {
            prop_assert_eq!(Sum::default().bytes(&bytes).checksum(), naive(&bytes));
            let cut = (cut * 2).min(bytes.len() & !1);
            let (a, b) = bytes.split_at(cut);
            prop_assert_eq!(Sum::default().bytes(a).bytes(b).checksum(), naive(&bytes));
        }
    }

    #[test]
    fn intact() {
        let mut header = [
            0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0,
            0xc7,
        ];
        let checksum = Sum::default().bytes(&header).checksum();
        assert_eq!(checksum, 0xb861);
        store(&mut header, Ipv4::CHECKSUM, checksum);
        assert!(Sum::default().bytes(&header).is_intact());
        header[0] ^= 1;
        assert!(!Sum::default().bytes(&header).is_intact());
    }
}
