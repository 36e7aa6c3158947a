// SPDX-License-Identifier: GPL-2.0

//! Memory regions and shared memory regions (eHEA ABI §3.4 to §3.7, §8.2, §8.3).

use core::borrow::Borrow;
use core::fmt;
use core::ops::Deref;

use crate::abi::cb::adapter::{PageSize, PageSizes};
use crate::abi::hcall::{
    AllocMr, MrAllocated, Opcode, QueueSelect, RegisterRpages, RegisterSmr, ReturnCode,
    ACCESS_LOCAL_WRITE,
};
use crate::bmap::{Busmap, RunStore, START};
use crate::hcall::{
    next_count, Caller, HcallError, Hypervisor, Memory, PageList, PROTECTION_DOMAIN,
};

const REGION: &str = "memory region";
const REGION_PAGES: &str = "pages of a memory region";
const SHARED_REGION: &str = "shared memory region";

/// Reason for which a memory region cannot be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterError {
    /// The busmap is empty.
    NoMemory,
    /// Firmware refused.
    Hcall(HcallError),
}

impl From<HcallError> for RegisterError {
    fn from(error: HcallError) -> Self {
        Self::Hcall(error)
    }
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => f.write_str("no memory to register"),
            Self::Hcall(error) => error.fmt(f),
        }
    }
}

/// Registered memory region. The adapter may access all memory of its busmap.
///
/// Dropping it frees it, in process context.
#[derive(Debug)]
pub struct MemoryRegion<H: Hypervisor> {
    caller: Caller<H>,
    allocated: MrAllocated,
    page_size: PageSize,
    register_calls: u64,
}

impl<H: Hypervisor + Clone> MemoryRegion<H> {
    /// Registers all memory of `map`, with the largest of the page sizes `sizes` that the adapter
    /// offers. If firmware does not accept that size after all, tries the smaller ones.
    ///
    /// # Errors
    ///
    /// The last refusal of firmware, after which nothing stays allocated;
    /// [`RegisterError::NoMemory`] if the map is empty.
    pub fn register<R: RunStore>(
        caller: &Caller<H>,
        list: &mut impl PageList<Block = H::Block>,
        map: &Busmap<R>,
        sizes: PageSizes,
    ) -> Result<Self, RegisterError> {
        if map.is_empty() {
            return Err(RegisterError::NoMemory);
        }
        let mut sizes = PageSize::LARGEST_FIRST
            .into_iter()
            .filter(|&size| sizes.contains(size))
            .peekable();
        let mut size = sizes.next().unwrap_or(PageSize::K4);
        loop {
            match Self::register_with(caller, list, map, size) {
                Ok(region) => return Ok(region),
                Err(error) => match sizes.next() {
                    Some(smaller) if refuses_argument(error.code) => size = smaller,
                    _ => return Err(error.into()),
                },
            }
        }
    }

    /// Registers all memory of `map` with pages of size `page_size`. After a failure, nothing stays
    /// allocated.
    fn register_with<R: RunStore>(
        caller: &Caller<H>,
        list: &mut impl PageList<Block = H::Block>,
        map: &Busmap<R>,
        page_size: PageSize,
    ) -> Result<Self, HcallError> {
        let call = AllocMr {
            adapter: caller.adapter(),
            start: START,
            length: map.total_bytes(),
            access: ACCESS_LOCAL_WRITE,
            page_size: page_size.code(),
            pd: PROTECTION_DOMAIN,
        };
        let regs = caller.call(Opcode::ALLOC_HEA_RESOURCE, call.pack(), REGION)?;
        let allocated = MrAllocated::unpack(regs.borrow());
        // From here on, dropping the region frees it.
        let mut region = Self {
            caller: caller.clone(),
            allocated,
            page_size,
            register_calls: 0,
        };

        let mut pages = map.pages(page_size);
        while pages.left() > 0 {
            let count = next_count(pages.left());
            let mut address = list.real_address();
            for (index, page) in (0..).zip(pages.by_ref().take(count as usize)) {
                if count == 1 {
                    address = page;
                } else {
                    list.set(index, page);
                }
            }
            let call = RegisterRpages {
                adapter: caller.adapter(),
                page_size: page_size.code(),
                queue: QueueSelect::Sq,
                resource: allocated.handle,
                address,
                count,
            };
            let last = pages.left() == 0;
            let memory = match count {
                1 => Memory::None,
                _ => Memory::Block(list.block()),
            };
            let calls = caller.register_rpages(&call, memory, last, REGION_PAGES)?;
            region.register_calls = region.register_calls.saturating_add(calls);
        }
        Ok(region)
    }
}

impl<H: Hypervisor> MemoryRegion<H> {
    /// Returns the handle.
    pub fn handle(&self) -> u64 {
        self.allocated.handle
    }

    /// Returns the caller of hypercalls for the adapter.
    pub fn caller(&self) -> &Caller<H> {
        &self.caller
    }

    /// Returns the page size with which the region was registered.
    pub fn page_size(&self) -> PageSize {
        self.page_size
    }

    /// Returns the number of H_REGISTER_HEA_RPAGES calls that the registration took.
    pub fn register_calls(&self) -> u64 {
        self.register_calls
    }
}

impl<H: Hypervisor> Drop for MemoryRegion<H> {
    fn drop(&mut self) {
        self.caller.free_or_report(self.allocated.handle, REGION);
    }
}

/// Checks whether a refusal may be due to an argument, such as the page size, that the caller can
/// choose differently. Lack of resources or of authority is no such reason.
fn refuses_argument(code: ReturnCode) -> bool {
    /// `H_P2` to `H_P9`: the second to ninth argument is not valid.
    const P2: i64 = -55;
    const P9: i64 = -62;
    match code {
        ReturnCode::FUNCTION
        | ReturnCode::PARAMETER
        | ReturnCode::MLENGTH_PARM
        | ReturnCode::MEM_PARM
        | ReturnCode::MEM_ACCESS_PARM
        | ReturnCode::ATTR_PARM => true,
        ReturnCode(code) => (P9..=P2).contains(&code),
    }
}

/// Shared memory region: a key of its own for the memory of a [`MemoryRegion`].
///
/// `M` is a shared owner of the memory region, such as an `Arc`. It is dropped after the shared
/// region is freed. Dropping the shared region frees it, in process context.
#[derive(Debug)]
pub struct SharedRegion<H: Hypervisor, M: Deref<Target = MemoryRegion<H>>> {
    allocated: MrAllocated,
    region: M,
}

impl<H: Hypervisor, M: Deref<Target = MemoryRegion<H>>> SharedRegion<H, M> {
    /// Makes a shared region of `region`.
    ///
    /// # Errors
    ///
    /// Those of [`Caller::call`].
    pub fn register(region: M) -> Result<Self, HcallError> {
        let caller = region.caller();
        let call = RegisterSmr {
            adapter: caller.adapter(),
            mr: region.handle(),
            start: START,
            access: ACCESS_LOCAL_WRITE,
            pd: PROTECTION_DOMAIN,
        };
        let regs = caller.call(Opcode::REGISTER_SMR, call.pack(), SHARED_REGION)?;
        Ok(Self {
            allocated: MrAllocated::unpack(regs.borrow()),
            region,
        })
    }

    /// Returns the key by which descriptors refer to the region.
    #[inline]
    pub fn lkey(&self) -> u32 {
        self.allocated.lkey
    }
}

impl<H: Hypervisor, M: Deref<Target = MemoryRegion<H>>> Drop for SharedRegion<H, M> {
    fn drop(&mut self) {
        self.region
            .caller()
            .free_or_report(self.allocated.handle, SHARED_REGION);
    }
}
