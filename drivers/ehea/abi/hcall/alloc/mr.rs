// SPDX-License-Identifier: GPL-2.0

//! Memory regions.

use super::super::super::bits::Bits64;
use super::super::Regs;
use super::{ResourceType, HIGH_WORD, LOW_WORD, TYPE};

/// Positions of the access control word and the protection domain in calls about memory regions.
pub(in super::super) struct MrAccess;

impl MrAccess {
    pub(in super::super) const CONTROL: Bits64 = HIGH_WORD;
    pub(in super::super) const PD: Bits64 = LOW_WORD;
}

/// Access control word of the adapter's memory regions: the adapter may write and read (§12).
pub const ACCESS_LOCAL_WRITE: u32 = 0x0080_0000;
/// Bits of the access control word for remote access. An Ethernet adapter refuses them (§12).
pub const ACCESS_REMOTE: u32 = 0x0078_0000;

/// H_ALLOC_HEA_RESOURCE of a memory region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocMr {
    /// Adapter handle.
    pub adapter: u64,
    /// First address of the region, as the adapter sees it.
    pub start: u64,
    /// Length in bytes. Exactly this much memory is registered afterwards.
    pub length: u64,
    /// Access control word, without the page size.
    pub access: u32,
    /// Page size code of the registrations that follow. It is the top byte of the access control
    /// word (§12).
    pub page_size: u8,
    /// Protection domain.
    pub pd: u32,
}

impl AllocMr {
    const PAGE_SIZE: Bits64 = Bits64::range(0, 7);
    const ACCESS: Bits64 = Bits64::range(8, 31);

    /// Returns the registers of the call.
    pub const fn pack(&self) -> Regs {
        [
            self.adapter,
            TYPE.set(ResourceType::MR.0 as u64),
            self.start,
            self.length,
            Self::PAGE_SIZE.set(self.page_size as u64) | Self::ACCESS.set(self.access as u64),
            MrAccess::PD.set(self.pd as u64),
            0,
            0,
            0,
        ]
    }

    /// Returns the call in registers.
    pub const fn unpack(regs: &Regs) -> Self {
        let [adapter, _, start, length, access, pd, ..] = *regs;
        Self {
            adapter,
            start,
            length,
            access: Self::ACCESS.get(access) as u32,
            page_size: Self::PAGE_SIZE.get(access) as u8,
            pd: MrAccess::PD.get(pd) as u32,
        }
    }
}

/// Answer to the allocation of a memory region or shared memory region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MrAllocated {
    /// Handle of the region.
    pub handle: u64,
    /// Key by which descriptors name the region.
    pub lkey: u32,
}

impl MrAllocated {
    /// Returns the registers of the answer.
    pub const fn pack(&self) -> Regs {
        [self.handle, 0, self.lkey as u64, 0, 0, 0, 0, 0, 0]
    }

    /// Returns the answer in registers.
    pub const fn unpack(regs: &Regs) -> Self {
        let [handle, _, lkey, ..] = *regs;
        Self {
            handle,
            lkey: LOW_WORD.get(lkey) as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mr() {
        let call = AllocMr {
            adapter: 1,
            start: 0x8000_0000_0000_0000,
            length: 0x8000_0000,
            access: ACCESS_LOCAL_WRITE,
            page_size: 0,
            pd: 0xaabc_deff,
        };
        assert_eq!(
            call.pack(),
            [
                1,
                5,
                0x8000_0000_0000_0000,
                0x8000_0000,
                0x0080_0000_0000_0000,
                0xaabc_deff,
                0,
                0,
                0
            ]
        );
        let large = AllocMr {
            page_size: 3,
            ..call
        };
        assert_eq!(large.pack()[4], 0x0380_0000_0000_0000);
        assert_eq!(AllocMr::unpack(&large.pack()), large);
        let answer = MrAllocated {
            handle: 2,
            lkey: 0xdead_0001,
        };
        assert_eq!(answer.pack(), [2, 0, 0xdead_0001, 0, 0, 0, 0, 0, 0]);
        assert_eq!(MrAllocated::unpack(&answer.pack()), answer);
    }
}
