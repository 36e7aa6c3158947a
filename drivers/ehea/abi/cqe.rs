// SPDX-License-Identifier: GPL-2.0

//! Completion queue entries (§6.5).

use core::mem::{offset_of, size_of};
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::bits::{Bits64, Bits8};

/// Flags and error codes of the `status` field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CqeStatus(pub u16);

impl CqeStatus {
    /// The frame was not checked; `inet_checksum_value` is usable.
    pub const BLIND_CKSUM: Self = Self(0x8000);
    /// The TCP or UDP checksum is wrong.
    pub const ERR_TCP: Self = Self(0x4000);
    /// The IPv4 header checksum is wrong.
    pub const ERR_IP: Self = Self(0x2000);
    /// The frame CRC is wrong.
    pub const ERR_CRC: Self = Self(0x1000);
    /// A VLAN tag was stripped into `vlan_tag`.
    pub const VLAN_TAG_XTRACT: Self = Self(0x0400);
    /// Receive errors that are fatal to the queue pair, any of them.
    pub const FATAL_ERROR_MASK: Self = Self(0x000f);
    /// Send error that is fatal to the queue pair.
    pub const RESET_MASK: Self = Self(0x0002);
    /// Errors that make the frame bad, any of them.
    pub const ERROR_MASK: Self = Self(0x700f);

    /// Checks whether any flag of `flags` is set.
    pub const fn any_of(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    /// Returns the flags that are set in `self` or in `flags`.
    #[must_use]
    pub const fn with(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }
}

/// A completion queue entry. Receive completions are at the start of a slot of RQ1.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct Cqe {
    /// Identifier of the work request; unused for frames in RQ1.
    pub wr_id: U64,
    /// Byte that holds the number of the receive queue; see [`Cqe::receive_queue`].
    pub kind: u8,
    /// Byte that holds the toggle bit; see [`Cqe::toggle_of`].
    pub valid: u8,
    /// Status: [`CqeStatus`].
    pub status: U16,
    /// Reserved.
    pub reserved1: [u8; 2],
    /// Length of a received frame in bytes, including four bytes of CRC.
    pub num_bytes_transferred: U16,
    /// Tag control information, valid with [`CqeStatus::VLAN_TAG_XTRACT`].
    pub vlan_tag: U16,
    /// Internet checksum of everything behind the Ethernet header, valid with
    /// [`CqeStatus::BLIND_CKSUM`].
    pub inet_checksum_value: U16,
    /// Reserved.
    pub reserved2: u8,
    /// Length of the headers; 0 means that no TCP or UDP header was recognised.
    pub header_length: u8,
    /// Reserved.
    pub reserved3: [u8; 2],
    /// Undocumented.
    pub page_offset: U16,
    /// Undocumented.
    pub wqe_count: U16,
    /// Token that the driver gave to the queue pair.
    pub qp_token: U32,
    /// Undocumented.
    pub timestamp: U32,
    /// Reserved.
    pub reserved4: [u8; 28],
}

const _: () = {
    assert!(size_of::<Cqe>() == super::ring::CQE_SIZE);
    assert!(offset_of!(Cqe, kind) == 0x08);
    assert!(offset_of!(Cqe, valid) == 0x09);
    assert!(offset_of!(Cqe, status) == 0x0a);
    assert!(offset_of!(Cqe, num_bytes_transferred) == 0x0e);
    assert!(offset_of!(Cqe, vlan_tag) == 0x10);
    assert!(offset_of!(Cqe, inet_checksum_value) == 0x12);
    assert!(offset_of!(Cqe, header_length) == 0x15);
    assert!(offset_of!(Cqe, qp_token) == 0x1c);
    assert!(offset_of!(Cqe, timestamp) == 0x20);
};

/// The receive queue that holds a frame's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveQueue {
    /// RQ1: the data are in the slot itself, behind the completion.
    Rq1,
    /// RQ2: the data are in a buffer of RQ2.
    Rq2,
    /// RQ3: the data are in a buffer of RQ3.
    Rq3,
}

impl ReceiveQueue {
    /// Returns the queue with the number `number`, or `None` if it doesn't exist.
    const fn of(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::Rq1),
            2 => Some(Self::Rq2),
            3 => Some(Self::Rq3),
            _ => None,
        }
    }
}

impl Cqe {
    const RECEIVE_QUEUE: Bits8 = Bits8::range(1, 2);
    const VALID: Bits8 = Bits8::bit(0);
    const WORD_VALID: Bits64 = Bits64::bit(8);
    const WORD_STATUS: Bits64 = Bits64::range(16, 31);

    /// Offset of the byte with the toggle bit. A reader reads it before everything else; a writer
    /// writes it after everything else.
    pub const VALID_OFFSET: usize = 0x09;
    /// Offset of the aligned doubleword that holds the byte at [`Cqe::VALID_OFFSET`].
    pub const VALID_WORD: usize = 0x08;
    /// Offset in a slot of RQ1 at which the data of a frame start.
    pub const INLINE_DATA: usize = 0x40;
    /// Number of bytes of CRC that `num_bytes_transferred` includes.
    pub const CRC_LENGTH: u16 = 4;

    /// Returns the toggle bit in the byte at [`Cqe::VALID_OFFSET`].
    pub const fn toggle_of(valid: u8) -> bool {
        Self::VALID.is_set(valid as u64)
    }

    /// Returns the toggle bit in the doubleword at [`Cqe::VALID_WORD`].
    pub const fn toggle_of_word(word: u64) -> bool {
        Self::WORD_VALID.is_set(word)
    }

    /// Returns the status in the doubleword at [`Cqe::VALID_WORD`].
    pub const fn status_of_word(word: u64) -> CqeStatus {
        // Not truncated: the field has 16 bits.
        CqeStatus(Self::WORD_STATUS.get(word) as u16)
    }

    /// Returns the byte at [`Cqe::VALID_OFFSET`] for the toggle bit `toggle`.
    pub const fn valid_byte(toggle: bool) -> u8 {
        Self::VALID.flag(toggle) as u8
    }

    /// Returns the doubleword at [`Cqe::VALID_WORD`]. The adapter stores it last, with one store.
    pub const fn valid_word(&self) -> u64 {
        let [status0, status1] = self.status.to_bytes();
        let [length0, length1] = self.num_bytes_transferred.to_bytes();
        u64::from_be_bytes([
            self.kind,
            self.valid,
            status0,
            status1,
            self.reserved1[0],
            self.reserved1[1],
            length0,
            length1,
        ])
    }

    /// Returns the status.
    pub fn status(&self) -> CqeStatus {
        CqeStatus(self.status.get())
    }

    /// Returns the receive queue that holds the data, or `None` if the adapter wrote a number that
    /// does not exist.
    pub const fn receive_queue(&self) -> Option<ReceiveQueue> {
        ReceiveQueue::of(Self::RECEIVE_QUEUE.get(self.kind as u64))
    }

    /// Returns the `kind` byte for data in `queue`.
    pub const fn kind_byte(queue: ReceiveQueue) -> u8 {
        Self::RECEIVE_QUEUE.set(match queue {
            ReceiveQueue::Rq1 => 1,
            ReceiveQueue::Rq2 => 2,
            ReceiveQueue::Rq3 => 3,
        }) as u8
    }

    /// Returns the length of a received frame without its CRC, in bytes, or `None` if it is shorter
    /// than the CRC.
    pub fn frame_length(&self) -> Option<usize> {
        self.num_bytes_transferred
            .get()
            .checked_sub(Self::CRC_LENGTH)
            .map(usize::from)
    }
}

/// The part of a completion that a driver reads: its first three doublewords. See [`Cqe`] for the
/// fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion([u64; Self::WORDS]);

impl Completion {
    /// Number of doublewords that are read.
    pub const WORDS: usize = 3;

    const RECEIVE_QUEUE: Bits64 = Bits64::range(1, 2);
    const LENGTH: Bits64 = Bits64::range(48, 63);
    const VLAN_TAG: Bits64 = Bits64::range(0, 15);
    const CHECKSUM: Bits64 = Bits64::range(16, 31);
    const HEADER_LENGTH: Bits64 = Bits64::range(40, 47);

    /// Returns the completion that starts with these doublewords.
    pub const fn new(words: [u64; Self::WORDS]) -> Self {
        Self(words)
    }

    /// Returns the identifier of the work request. It is unused for frames in RQ1.
    pub const fn wr_id(&self) -> u64 {
        self.0[0]
    }

    /// Returns the status.
    pub const fn status(&self) -> CqeStatus {
        Cqe::status_of_word(self.0[1])
    }

    /// Returns the receive queue that holds the data, or `None` if the adapter wrote a number that
    /// does not exist.
    pub const fn receive_queue(&self) -> Option<ReceiveQueue> {
        ReceiveQueue::of(Self::RECEIVE_QUEUE.get(self.0[1]))
    }

    /// Returns the length of a received frame without its CRC, in bytes, or `None` if it is shorter
    /// than the CRC.
    pub const fn frame_length(&self) -> Option<usize> {
        // CAST: Has 16 bits.
        (Self::LENGTH.get(self.0[1]) as usize).checked_sub(Cqe::CRC_LENGTH as usize)
    }

    /// Returns the tag control information. It is valid with [`CqeStatus::VLAN_TAG_XTRACT`].
    pub const fn vlan_tag(&self) -> u16 {
        // CAST: Has 16 bits.
        Self::VLAN_TAG.get(self.0[2]) as u16
    }

    /// Returns the Internet checksum of everything behind the Ethernet header. It is valid with
    /// [`CqeStatus::BLIND_CKSUM`].
    pub const fn inet_checksum(&self) -> u16 {
        // CAST: Has 16 bits.
        Self::CHECKSUM.get(self.0[2]) as u16
    }

    /// Checks whether a TCP or UDP header was recognised.
    pub const fn has_header(&self) -> bool {
        Self::HEADER_LENGTH.is_set(self.0[2])
    }
}

impl From<&Cqe> for Completion {
    fn from(cqe: &Cqe) -> Self {
        Self([
            cqe.wr_id.get(),
            cqe.valid_word(),
            u64::from(cqe.vlan_tag.get()) << 48
                | u64::from(cqe.inet_checksum_value.get()) << 32
                | u64::from(cqe.header_length) << 16
                | u64::from(u16::from_be_bytes(cqe.reserved3)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes as _;

    #[test]
    fn cqe_bytes() {
        let cqe = Cqe {
            wr_id: U64::new(0x1122_3344_5566_7788),
            kind: Cqe::kind_byte(ReceiveQueue::Rq2),
            valid: Cqe::valid_byte(true),
            status: U16::new(CqeStatus::BLIND_CKSUM.with(CqeStatus::VLAN_TAG_XTRACT).0),
            num_bytes_transferred: U16::new(1518),
            vlan_tag: U16::new(0x0064),
            inet_checksum_value: U16::new(0xbeef),
            header_length: 20,
            qp_token: U32::new(3),
            ..Cqe::default()
        };
        let mut bytes = [0u8; 64];
        bytes[..0x16].copy_from_slice(&[
            0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x40, 0x80, 0x84, 0x00, 0, 0, 0x05,
            0xee, 0x00, 0x64, 0xbe, 0xef, 0, 20,
        ]);
        bytes[0x1f] = 3;
        assert_eq!(cqe.as_bytes(), bytes);
        assert_eq!(cqe.valid_word().to_be_bytes(), bytes[0x08..0x10]);
        assert!(Cqe::toggle_of_word(cqe.valid_word()));
        assert_eq!(Cqe::status_of_word(cqe.valid_word()), cqe.status());
        assert_eq!(cqe.frame_length(), Some(1514));
        assert_eq!(cqe.receive_queue(), Some(ReceiveQueue::Rq2));

        let completion = Completion::from(&cqe);
        let words = completion.0.map(U64::new);
        assert_eq!(words.as_bytes(), &bytes[..size_of_val(&words)]);
        assert_eq!(completion.wr_id(), 0x1122_3344_5566_7788);
        assert_eq!(completion.status(), cqe.status());
        assert_eq!(completion.receive_queue(), Some(ReceiveQueue::Rq2));
        assert_eq!(completion.frame_length(), Some(1514));
        assert_eq!(completion.vlan_tag(), 0x0064);
        assert_eq!(completion.inet_checksum(), 0xbeef);
        assert!(completion.has_header());
    }

    #[test]
    fn hostile_values() {
        let cqe = Cqe::default();
        assert_eq!(cqe.receive_queue(), None);
        assert_eq!(cqe.frame_length(), None);
        let completion = Completion::from(&cqe);
        assert_eq!(completion.receive_queue(), None);
        assert_eq!(completion.frame_length(), None);
        assert!(!completion.has_header());
        let completion = Completion::new([u64::MAX; Completion::WORDS]);
        assert_eq!(completion.receive_queue(), Some(ReceiveQueue::Rq3));
        assert_eq!(completion.frame_length(), Some(0xfffb));
        assert!(Cqe::toggle_of(0xff) && !Cqe::toggle_of(0x7f));
        assert!(!Cqe::toggle_of_word(!(0x80 << 48)));
    }
}
