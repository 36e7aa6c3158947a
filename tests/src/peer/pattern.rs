// SPDX-License-Identifier: GPL-2.0
//! Content of a numbered payload. `guest-tools/pattern.c` makes the same in the guest.
//!
//! A payload starts with the magic number, the stream (4 bytes), the sequence number (8 bytes) and
//! the payload's length (2 bytes), all big-endian. Then follow the little-endian words of a
//! splitmix64 generator, whose first state is made of the stream and the sequence number.

use std::fmt;

/// Number of bytes before the pattern.
pub const HEADER: usize = 18;

const MAGIC: [u8; 4] = *b"eHEA";

/// Flaw of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It is no numbered payload at all.
    Unnumbered,
    /// It belongs to another stream.
    Stream(u32),
    /// Its length differs from the one in the payload.
    Length {
        /// Length that the sender wrote.
        written: usize,
        /// Length that arrived.
        came: usize,
    },
    /// Its pattern is broken from this byte on.
    Content {
        /// Offset of the first wrong byte.
        at: usize,
        /// Number of wrong bytes.
        wrong: usize,
    },
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unnumbered => write!(f, "not a numbered payload"),
            Self::Stream(stream) => write!(f, "of stream {stream}"),
            Self::Length { written, came } => write!(f, "{came} of {written} bytes"),
            Self::Content { at, wrong } => {
                write!(f, "{wrong} wrong bytes, the first at {at}")
            }
        }
    }
}

/// Fills a payload of at least [`HEADER`] bytes.
pub fn fill(payload: &mut [u8], stream: u32, sequence: u64) {
    let length = payload.len() as u16;
    payload[..4].copy_from_slice(&MAGIC);
    payload[4..8].copy_from_slice(&stream.to_be_bytes());
    payload[8..16].copy_from_slice(&sequence.to_be_bytes());
    payload[16..HEADER].copy_from_slice(&length.to_be_bytes());
    let mut words = Words::new(stream, sequence);
    for chunk in payload[HEADER..].chunks_mut(8) {
        chunk.copy_from_slice(&words.next()[..chunk.len()]);
    }
}

/// Returns the sequence number in a payload.
pub fn sequence(payload: &[u8]) -> Option<u64> {
    let bytes = payload.get(8..)?.first_chunk()?;
    Some(u64::from_be_bytes(*bytes))
}

/// Checks a payload and returns its sequence number. If the payload is flawed, the error contains
/// the number, too, as far as it can be read.
pub fn check(payload: &[u8], stream: u32) -> Result<u64, (Option<u64>, Flaw)> {
    let Some((header, content)) = payload.split_first_chunk::<HEADER>() else {
        return Err((None, Flaw::Unnumbered));
    };
    if header[..4] != MAGIC {
        return Err((None, Flaw::Unnumbered));
    }
    let number = |bytes: &[u8]| bytes.iter().fold(0u64, |n, &b| n << 8 | u64::from(b));
    let found = number(&header[4..8]) as u32;
    if found != stream {
        return Err((None, Flaw::Stream(found)));
    }
    let sequence = number(&header[8..16]);
    let written = number(&header[16..]) as usize;
    if written != payload.len() {
        let came = payload.len();
        return Err((Some(sequence), Flaw::Length { written, came }));
    }
    let mut words = Words::new(stream, sequence);
    let mut wrong = 0;
    let mut at = None;
    for (index, chunk) in content.chunks(8).enumerate() {
        let word = words.next();
        if word[..chunk.len()] == *chunk {
            continue;
        }
        let differing = chunk.iter().zip(&word).filter(|(a, b)| a != b).count();
        let first = chunk.iter().zip(&word).position(|(a, b)| a != b);
        wrong += differing;
        at = at.or(first.map(|first| HEADER + index * 8 + first));
    }
    match at {
        None => Ok(sequence),
        Some(at) => Err((Some(sequence), Flaw::Content { at, wrong })),
    }
}

/// Generator of the pattern (splitmix64).
struct Words(u64);

impl Words {
    fn new(stream: u32, sequence: u64) -> Self {
        Self(sequence ^ u64::from(stream) << 32)
    }

    fn next(&mut self) -> [u8; 8] {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_as_documented() {
        let mut payload = [0; 46];
        fill(&mut payload, 0x0102_0304, 5);
        assert_eq!(
            &payload[..18],
            b"eHEA\x01\x02\x03\x04\0\0\0\0\0\0\0\x05\0\x2e"
        );
        // The first word of splitmix64 started with 0x0102030400000005.
        let mut words = Words(0x0102_0304_0000_0005);
        assert_eq!(payload[18..26], words.next());
        // This is a known value of the generator: the first output for state 0.
        assert_eq!(u64::from_le_bytes(Words(0).next()), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn every_wrong_byte_is_found() {
        for length in [HEADER, HEADER + 1, 46, 1486, 9000] {
            let mut payload = vec![0; length];
            fill(&mut payload, 7, 99);
            assert_eq!(check(&payload, 7), Ok(99));
            for at in 0..length {
                payload[at] ^= 0x10;
                assert_ne!(check(&payload, 7), Ok(99), "byte {at} of {length}");
                payload[at] ^= 0x10;
            }
        }
    }

    #[test]
    fn flaws_are_told_apart() {
        let mut payload = vec![0; 100];
        fill(&mut payload, 7, 99);
        assert_eq!(check(&payload, 8), Err((None, Flaw::Stream(7))));
        assert_eq!(
            check(&payload[..99], 7),
            Err((
                Some(99),
                Flaw::Length {
                    written: 100,
                    came: 99
                }
            ))
        );
        payload[20] ^= 1;
        payload[80] ^= 1;
        assert_eq!(
            check(&payload, 7),
            Err((Some(99), Flaw::Content { at: 20, wrong: 2 }))
        );
        assert_eq!(check(&payload[..17], 7), Err((None, Flaw::Unnumbered)));
    }
}
