// SPDX-License-Identifier: GPL-2.0

//! Work queue entries (§6.2, §6.4).

use core::mem::{offset_of, size_of};
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::bits::Bits64;

/// A piece of memory that the adapter reads or writes.
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
pub struct Descriptor {
    /// Address in the memory region that `lkey` names.
    pub vaddr: U64,
    /// Key of the (shared) memory region.
    pub lkey: U32,
    /// Length in bytes.
    pub length: U32,
}

const _: () = assert!(size_of::<Descriptor>() == 16);

impl Descriptor {
    /// Returns a descriptor of `length` bytes at `vaddr`.
    pub fn new(vaddr: u64, lkey: u32, length: u32) -> Self {
        Self {
            vaddr: U64::new(vaddr),
            lkey: U32::new(lkey),
            length: U32::new(length),
        }
    }

    /// Returns the doublewords of the descriptor that [`Descriptor::new`] makes of the same
    /// arguments, in order.
    #[inline]
    pub const fn words(vaddr: u64, lkey: u32, length: u32) -> [u64; 2] {
        [vaddr, (lkey as u64) << 32 | length as u64]
    }
}

/// Flags of the `tx_control` field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxControl(pub u16);

impl TxControl {
    /// Appends the frame CRC.
    pub const CRC: Self = Self(0x8000);
    /// Fills in the IPv4 header checksum.
    pub const IP_CHECKSUM: Self = Self(0x4000);
    /// Fills in the TCP or UDP checksum.
    pub const TCP_CHECKSUM: Self = Self(0x2000);
    /// Cuts the payload into segments of `mss` bytes.
    pub const TSO: Self = Self(0x1000);
    /// Writes a completion queue entry when the frame is sent.
    pub const SIGNALLED_COMPLETION: Self = Self(0x0800);
    /// Inserts an 802.1Q tag from `vlan_tag`.
    pub const VLAN_INSERT: Self = Self(0x0400);
    /// Marks the immediate data as present.
    pub const IMM_DATA_PRESENT: Self = Self(0x0200);
    /// Marks the descriptors as present.
    pub const DESCRIPTORS_PRESENT: Self = Self(0x0100);
    /// Completes the work request without sending anything.
    pub const PURGE: Self = Self(0x0010);

    /// Checks whether all flags of `flags` are set.
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Returns the flags that are set in `self` or in `flags`.
    #[must_use]
    pub const fn with(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }

    /// Returns the flags that are set in `self` or in `flags` if `on`, else `self`.
    #[must_use]
    pub const fn with_if(self, on: bool, flags: Self) -> Self {
        if on {
            self.with(flags)
        } else {
            self
        }
    }
}

/// Header of a send work queue entry. The layout of what follows depends on the format.
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
pub struct SwqeHeader {
    /// Work request identifier, chosen by the driver; the adapter copies it into the completion.
    pub wr_id: U64,
    /// Flags: [`TxControl`].
    pub tx_control: U16,
    /// Tag control information, valid with [`TxControl::VLAN_INSERT`].
    pub vlan_tag: U16,
    /// Reserved.
    pub reserved1: u8,
    /// Offset of the IPv4 header from the start of the frame, before VLAN insertion.
    pub ip_start: u8,
    /// Offset of the last byte of the IPv4 header.
    pub ip_end: u8,
    /// Number of bytes of immediate data.
    pub immediate_data_length: u8,
    /// Offset of the 16-bit TCP or UDP checksum field from the start of the frame.
    pub tcp_offset: u8,
    /// Reserved.
    pub reserved2: [u8; 3],
    /// Wrap tag; 0.
    pub wrap_tag: u8,
    /// Number of valid descriptors.
    pub descriptors: u8,
    /// Reserved.
    pub reserved3: [u8; 4],
    /// Number of payload bytes in a segment, with [`TxControl::TSO`].
    pub mss: U16,
    /// Reserved.
    pub reserved4: [u8; 4],
}

const _: () = {
    assert!(size_of::<SwqeHeader>() == 0x20);
    assert!(offset_of!(SwqeHeader, tx_control) == 0x08);
    assert!(offset_of!(SwqeHeader, vlan_tag) == 0x0a);
    assert!(offset_of!(SwqeHeader, ip_start) == 0x0d);
    assert!(offset_of!(SwqeHeader, ip_end) == 0x0e);
    assert!(offset_of!(SwqeHeader, immediate_data_length) == 0x0f);
    assert!(offset_of!(SwqeHeader, tcp_offset) == 0x10);
    assert!(offset_of!(SwqeHeader, wrap_tag) == 0x14);
    assert!(offset_of!(SwqeHeader, descriptors) == 0x15);
    assert!(offset_of!(SwqeHeader, mss) == 0x1a);
};

impl SwqeHeader {
    /// Returns the flags.
    pub fn control(&self) -> TxControl {
        TxControl(self.tx_control.get())
    }
}

/// Fields of a [`SwqeHeader`] that a driver sets, in native byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwqeHead {
    /// Work request identifier, chosen by the driver; the adapter copies it into the completion.
    pub wr_id: u64,
    /// Flags.
    pub control: TxControl,
    /// Tag control information, valid with [`TxControl::VLAN_INSERT`].
    pub vlan_tag: u16,
    /// Offset of the IPv4 header from the start of the frame, before VLAN insertion.
    pub ip_start: u8,
    /// Offset of the last byte of the IPv4 header.
    pub ip_end: u8,
    /// Number of bytes of immediate data.
    pub immediate_data_length: u8,
    /// Offset of the 16-bit TCP or UDP checksum field from the start of the frame.
    pub tcp_offset: u8,
    /// Number of valid descriptors.
    pub descriptors: u8,
    /// Number of payload bytes in a segment, with [`TxControl::TSO`].
    pub mss: u16,
}

impl SwqeHead {
    /// Returns the doublewords of the header, in order.
    #[inline]
    pub const fn words(&self) -> [u64; 4] {
        [
            self.wr_id,
            (self.control.0 as u64) << 48
                | (self.vlan_tag as u64) << 32
                | (self.ip_start as u64) << 16
                | (self.ip_end as u64) << 8
                | self.immediate_data_length as u64,
            (self.tcp_offset as u64) << 56 | (self.descriptors as u64) << 16,
            (self.mss as u64) << 32,
        ]
    }
}

/// Layout of a send work queue entry behind its header. It follows from two flags of [`TxControl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwqeFormat {
    /// Format 1: descriptors only.
    Descriptors,
    /// Format 2: descriptor 1, then immediate data, then the other descriptors. In the frame, the
    /// immediate data come first.
    Mixed,
    /// Format 3: immediate data only.
    Immediate,
}

impl SwqeFormat {
    /// Offset in the slot of descriptor 1 (formats 1 and 2) or of the immediate data (format 3).
    pub const BODY: usize = 0x20;
    /// Offset in the slot of the immediate data of format 2.
    pub const MIXED_IMMEDIATE: usize = 0x30;
    /// Offset in the slot of descriptor 2 of format 2. It does not depend on the length of the
    /// immediate data.
    pub const MIXED_DESCRIPTORS: usize = 0xd0;
    /// Maximum length of the immediate data of format 2, in bytes.
    pub const MIXED_IMMEDIATE_MAX: usize = Self::MIXED_DESCRIPTORS - Self::MIXED_IMMEDIATE;
    /// Maximum length of the immediate data of format 3, in bytes. They fit every slot of at least
    /// 256 bytes.
    pub const IMMEDIATE_MAX: usize = 0x100 - Self::BODY;

    /// Returns the format that the flags select, or `None` if they mark neither immediate data nor
    /// descriptors as present.
    pub const fn of(control: TxControl) -> Option<Self> {
        match (
            control.contains(TxControl::IMM_DATA_PRESENT),
            control.contains(TxControl::DESCRIPTORS_PRESENT),
        ) {
            (false, true) => Some(Self::Descriptors),
            (true, true) => Some(Self::Mixed),
            (true, false) => Some(Self::Immediate),
            (false, false) => None,
        }
    }

    /// Returns the flags that select the format.
    pub const fn flags(self) -> TxControl {
        match self {
            Self::Descriptors => TxControl::DESCRIPTORS_PRESENT,
            Self::Mixed => TxControl::IMM_DATA_PRESENT.with(TxControl::DESCRIPTORS_PRESENT),
            Self::Immediate => TxControl::IMM_DATA_PRESENT,
        }
    }

    /// Returns the offset in the slot of the immediate data.
    pub const fn immediate_offset(self) -> usize {
        match self {
            Self::Mixed => Self::MIXED_IMMEDIATE,
            Self::Descriptors | Self::Immediate => Self::BODY,
        }
    }

    /// Returns the maximum length of the immediate data, in bytes.
    pub const fn immediate_max(self) -> usize {
        match self {
            Self::Descriptors => 0,
            Self::Mixed => Self::MIXED_IMMEDIATE_MAX,
            Self::Immediate => Self::IMMEDIATE_MAX,
        }
    }

    /// Returns how many descriptors fit a slot of `slot` bytes.
    pub const fn max_descriptors(self, slot: usize) -> usize {
        match self {
            Self::Descriptors => slot.saturating_sub(Self::BODY) / size_of::<Descriptor>(),
            Self::Mixed => {
                1 + slot.saturating_sub(Self::MIXED_DESCRIPTORS) / size_of::<Descriptor>()
            }
            Self::Immediate => 0,
        }
    }

    /// Returns the offset in the slot of descriptor `index` (0-based), or `None` if the descriptor
    /// does not fit a slot of `slot` bytes.
    pub const fn descriptor_offset(self, index: usize, slot: usize) -> Option<usize> {
        if index >= self.max_descriptors(slot) {
            return None;
        }
        match self {
            Self::Mixed if index > 0 => {
                Some(Self::MIXED_DESCRIPTORS + (index - 1) * size_of::<Descriptor>())
            }
            _ => Some(Self::BODY + index * size_of::<Descriptor>()),
        }
    }
}

/// A receive work queue entry of RQ2 or RQ3 with the one descriptor that the driver uses.
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
pub struct Rwqe {
    /// Work request identifier, chosen by the driver; the adapter copies it into the completion.
    pub wr_id: U64,
    /// Reserved.
    pub reserved1: [u8; 5],
    /// Number of valid descriptors.
    pub data_segments: u8,
    /// Reserved.
    pub reserved2: [u8; 18],
    /// The first descriptor.
    pub buffer: Descriptor,
}

const _: () = {
    assert!(size_of::<Rwqe>() == 0x30);
    assert!(offset_of!(Rwqe, data_segments) == 0x0d);
    assert!(offset_of!(Rwqe, buffer) == Rwqe::DESCRIPTORS);
};

impl Rwqe {
    /// Offset of the descriptors in the slot.
    pub const DESCRIPTORS: usize = 0x20;

    /// Returns an entry that posts the buffer `buffer`.
    pub fn new(wr_id: WrId, buffer: Descriptor) -> Self {
        Self {
            wr_id: U64::new(wr_id.pack()),
            data_segments: 1,
            buffer,
            ..Self::default()
        }
    }

    /// Returns the doublewords of an entry that posts the buffer at `vaddr`, in order; see
    /// [`Rwqe::new`] and [`Descriptor::new`].
    #[inline]
    pub const fn words(wr_id: WrId, vaddr: u64, lkey: u32, length: u32) -> [u64; 6] {
        let [vaddr, length] = Descriptor::words(vaddr, lkey, length);
        // One descriptor.
        [wr_id.pack(), 1 << 16, 0, 0, vaddr, length]
    }

    /// Returns how many descriptors fit a slot of `slot` bytes.
    pub const fn max_descriptors(slot: usize) -> usize {
        slot.saturating_sub(Self::DESCRIPTORS) / size_of::<Descriptor>()
    }
}

/// Kind of a work request, in its [`WrId`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WrType(pub u8);

impl WrType {
    /// A send work request with descriptors.
    pub const SEND_MIXED: Self = Self(1);
    /// A send work request with immediate data only.
    pub const SEND_IMMEDIATE: Self = Self(2);
    /// A buffer of RQ2.
    pub const RQ2_BUFFER: Self = Self(3);
    /// A buffer of RQ3.
    pub const RQ3_BUFFER: Self = Self(4);
}

/// Work request identifier. The adapter does not interpret it and copies it from the work request
/// to its completion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WrId {
    /// Running number, 20 bits.
    pub count: u32,
    /// Kind of the work request, 4 bits.
    pub kind: WrType,
    /// Slot in the buffer array, 24 bits.
    pub index: u32,
    /// Number of send slots that the completion gives back.
    pub refill: u16,
}

impl WrId {
    const COUNT: Bits64 = Bits64::range(0, 19);
    const TYPE: Bits64 = Bits64::range(20, 23);
    const INDEX: Bits64 = Bits64::range(24, 47);
    const REFILL: Bits64 = Bits64::range(48, 63);

    /// Returns the 64-bit identifier.
    pub const fn pack(self) -> u64 {
        Self::COUNT.set(self.count as u64)
            | Self::TYPE.set(self.kind.0 as u64)
            | Self::INDEX.set(self.index as u64)
            | Self::REFILL.set(self.refill as u64)
    }

    /// Returns the parts of an identifier.
    pub const fn unpack(wr_id: u64) -> Self {
        Self {
            count: Self::COUNT.get(wr_id) as u32,
            kind: WrType(Self::TYPE.get(wr_id) as u8),
            index: Self::INDEX.get(wr_id) as u32,
            refill: Self::REFILL.get(wr_id) as u16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes as _;

    #[test]
    fn swqe_header_bytes() {
        let header = SwqeHeader {
            wr_id: U64::new(0x0102_0304_0506_0708),
            tx_control: U16::new(
                TxControl::CRC
                    .with(TxControl::SIGNALLED_COMPLETION)
                    .with(SwqeFormat::Mixed.flags())
                    .0,
            ),
            vlan_tag: U16::new(0x2064),
            ip_start: 14,
            ip_end: 33,
            immediate_data_length: 160,
            tcp_offset: 50,
            descriptors: 3,
            mss: U16::new(1448),
            ..SwqeHeader::default()
        };
        assert_eq!(
            header.as_bytes(),
            [
                1, 2, 3, 4, 5, 6, 7, 8, 0x8b, 0x00, 0x20, 0x64, 0, 14, 33, 160, //
                50, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0x05, 0xa8, 0, 0, 0, 0,
            ]
        );
        let head = SwqeHead {
            wr_id: 0x0102_0304_0506_0708,
            control: header.control(),
            vlan_tag: 0x2064,
            ip_start: 14,
            ip_end: 33,
            immediate_data_length: 160,
            tcp_offset: 50,
            descriptors: 3,
            mss: 1448,
        };
        assert_eq!(head.words().map(U64::new).as_bytes(), header.as_bytes());
    }

    #[test]
    fn descriptor_bytes() {
        let descriptor = Descriptor::new(0x8000_0000_0123_4567, 0xa1b2_c3d4, 0x2000);
        assert_eq!(
            descriptor.as_bytes(),
            [0x80, 0, 0, 0, 0x01, 0x23, 0x45, 0x67, 0xa1, 0xb2, 0xc3, 0xd4, 0, 0, 0x20, 0]
        );
        let words = Descriptor::words(0x8000_0000_0123_4567, 0xa1b2_c3d4, 0x2000);
        assert_eq!(words.map(U64::new).as_bytes(), descriptor.as_bytes());
    }

    #[test]
    fn rwqe_bytes() {
        let wr_id = WrId {
            kind: WrType::RQ2_BUFFER,
            index: 5,
            ..WrId::default()
        };
        let rwqe = Rwqe::new(wr_id, Descriptor::new(0x8000_0000_0000_1000, 7, 2048));
        let mut bytes = [0u8; 0x30];
        bytes[..8].copy_from_slice(&[0, 0, 0x03, 0, 0, 5, 0, 0]);
        bytes[0x0d] = 1;
        bytes[0x20] = 0x80;
        bytes[0x26] = 0x10;
        bytes[0x2b] = 7;
        bytes[0x2e] = 0x08;
        assert_eq!(rwqe.as_bytes(), bytes);
        let words = Rwqe::words(wr_id, 0x8000_0000_0000_1000, 7, 2048);
        assert_eq!(words.map(U64::new).as_bytes(), bytes);
    }

    /// Capacities of §6.2 for slots of 512 bytes.
    #[test]
    fn capacities() {
        assert_eq!(SwqeFormat::Descriptors.max_descriptors(512), 30);
        assert_eq!(SwqeFormat::Mixed.max_descriptors(512), 20);
        assert_eq!(SwqeFormat::MIXED_IMMEDIATE_MAX, 160);
        assert_eq!(SwqeFormat::IMMEDIATE_MAX, 224);
        assert_eq!(SwqeFormat::Mixed.descriptor_offset(0, 512), Some(0x20));
        assert_eq!(SwqeFormat::Mixed.descriptor_offset(1, 512), Some(0xd0));
        assert_eq!(SwqeFormat::Mixed.descriptor_offset(19, 512), Some(0x1f0));
        assert_eq!(SwqeFormat::Mixed.descriptor_offset(20, 512), None);
        assert_eq!(
            SwqeFormat::Descriptors.descriptor_offset(29, 512),
            Some(0x1f0)
        );
        assert_eq!(Rwqe::max_descriptors(128), 6);
    }

    #[test]
    fn wr_id() {
        let id = WrId {
            count: 0xfffff,
            kind: WrType(0xf),
            index: 0,
            refill: 0xffff,
        };
        assert_eq!(id.pack(), 0xffff_ff00_0000_ffff);
        assert_eq!(WrId::unpack(id.pack()), id);
    }
}
