// SPDX-License-Identifier: GPL-2.0

//! The error data block (§4.5).

use core::mem::{offset_of, size_of};
use zerocopy::byteorder::big_endian::U64;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::super::bits::Bits64;

/// Error data of a queue pair, completion queue or event queue.
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
pub struct ErrorBlock {
    /// Length of the block in bytes, in the low 12 bits.
    pub length: U64,
    /// Handle of the resource.
    pub resource: U64,
    /// Word that holds the type of the resource; see [`ErrorBlock::resource_type`].
    pub resource_type: U64,
    /// Undocumented.
    pub reserved1: [U64; 3],
    /// Affiliated error register.
    pub aer: U64,
    /// Undocumented.
    pub reserved2: [U64; 5],
    /// Affiliated error register of the receive side (queue pairs only).
    pub aerr: U64,
    /// Undocumented.
    pub reserved3: [U64; 9],
    /// Logical port (queue pairs only).
    pub port: U64,
}

const _: () = {
    assert!(size_of::<ErrorBlock>() == 0xb8);
    assert!(offset_of!(ErrorBlock, aer) == 0x30);
    assert!(offset_of!(ErrorBlock, aerr) == 0x60);
    assert!(offset_of!(ErrorBlock, port) == 0xb0);
};

/// Type of the resource that an [`ErrorBlock`] describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorResource(pub u8);

impl ErrorResource {
    /// A queue pair.
    pub const QP: Self = Self(0x8);
    /// A completion queue.
    pub const CQ: Self = Self(0x4);
    /// An event queue.
    pub const EQ: Self = Self(0x3);
}

impl ErrorBlock {
    const LENGTH: Bits64 = Bits64::range(52, 63);
    const TYPE: Bits64 = Bits64::range(0, 7);
    /// The bit of the affiliated error register that does not ask for a reset of the port.
    const AER_BENIGN: Bits64 = Bits64::bit(39);

    /// Returns an error block about `resource`, without error bits.
    pub fn new(resource: u64, kind: ErrorResource) -> Self {
        Self {
            length: U64::new(Self::LENGTH.set(size_of::<Self>() as u64)),
            resource: U64::new(resource),
            resource_type: U64::new(Self::TYPE.set(kind.0.into())),
            ..Self::default()
        }
    }

    /// Returns the type of the resource.
    pub fn resource_type(&self) -> ErrorResource {
        ErrorResource(Self::TYPE.get(self.resource_type.get()) as u8)
    }

    /// Checks whether the error leaves the queue pair unusable until it is set up again (§9.7).
    pub fn needs_reset(&self) -> bool {
        self.resource_type() != ErrorResource::QP
            || self.aer.get() & !Self::AER_BENIGN.mask() != 0
            || self.aerr.get() != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes as _;

    #[test]
    fn reset_decision() {
        let mut block = ErrorBlock::new(0x1234, ErrorResource::QP);
        assert!(!block.needs_reset());
        block.aer = U64::new(0x0000_0000_0100_0000);
        assert!(!block.needs_reset());
        block.aer = U64::new(0x0000_0000_0200_0000);
        assert!(block.needs_reset());
        assert!(ErrorBlock::new(1, ErrorResource::CQ).needs_reset());
        assert_eq!(
            &block.as_bytes()[..0x18],
            &[0, 0, 0, 0, 0, 0, 0, 0xb8, 0, 0, 0, 0, 0, 0, 0x12, 0x34, 8, 0, 0, 0, 0, 0, 0, 0]
        );
    }
}
