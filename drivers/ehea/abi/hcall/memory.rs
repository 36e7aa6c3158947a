// SPDX-License-Identifier: GPL-2.0

//! Calls about pages and memory regions: H_REGISTER_HEA_RPAGES, H_REGISTER_SMR, H_FREE_RESOURCE
//! (§3.5 to §3.7).

use super::super::bits::Bits64;
use super::super::cb::adapter::PageSize;
use super::alloc::MrAccess;
use super::Regs;

/// Maximum number of pages that one call can register in a memory region: the doublewords of a 4
/// KiB list.
pub const MAX_PAGES_PER_CALL: usize = 512;

/// Queue to which registered pages belong. 0 for everything that is not a queue pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueSelect {
    /// The only queue of an event queue or completion queue, the memory region, or the send queue
    /// of a queue pair.
    #[default]
    Sq,
    /// Receive queue 1.
    Rq1,
    /// Receive queue 2.
    Rq2,
    /// Receive queue 3.
    Rq3,
}

/// H_REGISTER_HEA_RPAGES: registers pages of a queue or memory region, in ascending order.
///
/// Firmware answers [`super::ReturnCode::PAGE_REGISTERED`] while it expects more pages and
/// [`super::ReturnCode::SUCCESS`] for the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterRpages {
    /// Adapter handle.
    pub adapter: u64,
    /// Page size code; see [`PageSize`]. Queues accept 4 KiB only.
    pub page_size: u8,
    /// Queue of a queue pair that the pages belong to.
    pub queue: QueueSelect,
    /// Handle of the queue, queue pair or memory region.
    pub resource: u64,
    /// Real address of the page if `count` is 1. Otherwise, real address of a page-aligned list of
    /// `count` big-endian doublewords, which hold the real addresses of the pages.
    pub address: u64,
    /// Number of pages, at most [`MAX_PAGES_PER_CALL`].
    pub count: u64,
}

impl RegisterRpages {
    const PAGE_SIZE: Bits64 = Bits64::range(48, 55);
    const QUEUE: Bits64 = Bits64::range(62, 63);

    /// Returns the page size, or `None` if its code is not known.
    pub const fn page_size(&self) -> Option<PageSize> {
        PageSize::from_code(self.page_size)
    }

    /// Returns the registers of the call.
    pub const fn pack(&self) -> Regs {
        let queue = match self.queue {
            QueueSelect::Sq => 0,
            QueueSelect::Rq1 => 1,
            QueueSelect::Rq2 => 2,
            QueueSelect::Rq3 => 3,
        };
        [
            self.adapter,
            Self::PAGE_SIZE.set(self.page_size as u64) | Self::QUEUE.set(queue),
            self.resource,
            self.address,
            self.count,
            0,
            0,
            0,
            0,
        ]
    }

    /// Returns the call in registers.
    pub const fn unpack(regs: &Regs) -> Self {
        let [adapter, select, resource, address, count, ..] = *regs;
        Self {
            adapter,
            page_size: Self::PAGE_SIZE.get(select) as u8,
            queue: match Self::QUEUE.get(select) {
                0 => QueueSelect::Sq,
                1 => QueueSelect::Rq1,
                2 => QueueSelect::Rq2,
                _ => QueueSelect::Rq3,
            },
            resource,
            address,
            count,
        }
    }
}

/// H_REGISTER_SMR: makes a shared memory region, which is an alias of a memory region with a key of
/// its own.
///
/// The result is a [`super::MrAllocated`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterSmr {
    /// Adapter handle.
    pub adapter: u64,
    /// Handle of the memory region.
    pub mr: u64,
    /// First address of the region, as the adapter sees it.
    pub start: u64,
    /// Access control word.
    pub access: u32,
    /// Protection domain.
    pub pd: u32,
}

impl RegisterSmr {
    /// Returns the registers of the call.
    pub const fn pack(&self) -> Regs {
        [
            self.adapter,
            self.mr,
            self.start,
            MrAccess::CONTROL.set(self.access as u64),
            MrAccess::PD.set(self.pd as u64),
            0,
            0,
            0,
            0,
        ]
    }

    /// Returns the call in registers.
    pub const fn unpack(regs: &Regs) -> Self {
        let [adapter, mr, start, access, pd, ..] = *regs;
        Self {
            adapter,
            mr,
            start,
            access: MrAccess::CONTROL.get(access) as u32,
            pd: MrAccess::PD.get(pd) as u32,
        }
    }
}

/// H_FREE_RESOURCE: frees an event queue, completion queue, queue pair, memory region or shared
/// memory region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeResource {
    /// Adapter handle.
    pub adapter: u64,
    /// Handle of the resource.
    pub resource: u64,
    /// True if the resource shall be freed even if something depends on it.
    pub force: bool,
}

impl FreeResource {
    /// Returns the registers of the call.
    pub const fn pack(&self) -> Regs {
        [
            self.adapter,
            self.resource,
            self.force as u64,
            0,
            0,
            0,
            0,
            0,
            0,
        ]
    }

    /// Returns the call in registers.
    pub const fn unpack(regs: &Regs) -> Self {
        let [adapter, resource, force, ..] = *regs;
        Self {
            adapter,
            resource,
            force: force != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn register_rpages() {
        let call = RegisterRpages {
            adapter: 1,
            page_size: PageSize::M16.code(),
            queue: QueueSelect::Rq3,
            resource: 2,
            address: 0x1000,
            count: 512,
        };
        assert_eq!(call.pack(), [1, 0x303, 2, 0x1000, 512, 0, 0, 0, 0]);
        assert_eq!(RegisterRpages::unpack(&call.pack()), call);
    }

    #[test]
    fn register_smr() {
        let call = RegisterSmr {
            adapter: 1,
            mr: 2,
            start: 0x8000_0000_0000_0000,
            access: 0x0080_0000,
            pd: 0xaabc_deff,
        };
        assert_eq!(
            call.pack(),
            [
                1,
                2,
                0x8000_0000_0000_0000,
                0x0080_0000_0000_0000,
                0xaabc_deff,
                0,
                0,
                0,
                0
            ]
        );
        assert_eq!(RegisterSmr::unpack(&call.pack()), call);
    }

    #[test]
    fn free_resource() {
        let call = FreeResource {
            adapter: 1,
            resource: 2,
            force: true,
        };
        assert_eq!(call.pack(), [1, 2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(FreeResource::unpack(&call.pack()), call);
    }
}
