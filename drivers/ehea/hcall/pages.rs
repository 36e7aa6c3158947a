// SPDX-License-Identifier: GPL-2.0

//! Registration of pages (eHEA ABI §3.5).
//!
//! Firmware answers `H_PAGE_REGISTERED` to every call but the last, and `H_SUCCESS` to the last.
//! Both are demanded exactly: any other answer means that firmware and driver disagree about the
//! size of the resource.

use super::{Caller, HcallError, Hypervisor, Memory, QueuePage};
use crate::abi::cb::adapter::PageSize;
use crate::abi::hcall::{Opcode, QueueSelect, RegisterRpages, ReturnCode, MAX_PAGES_PER_CALL};

/// The 4 KiB page in which firmware finds the addresses of the pages of a memory region.
///
/// It is filled again for each call; firmware reads it during the call only.
pub trait PageList {
    /// The page.
    type Block;

    /// Returns the page.
    fn block(&self) -> &Self::Block;

    /// Returns its real address, a multiple of 4 KiB.
    fn real_address(&self) -> u64;

    /// Stores `page` as the big-endian doubleword number `index`, which is below
    /// [`MAX_PAGES_PER_CALL`].
    fn set(&mut self, index: usize, page: u64);
}

impl<T: PageList + ?Sized> PageList for &mut T {
    type Block = T::Block;

    fn block(&self) -> &T::Block {
        T::block(self)
    }

    fn real_address(&self) -> u64 {
        T::real_address(self)
    }

    fn set(&mut self, index: usize, page: u64) {
        T::set(self, index, page);
    }
}

impl<H: Hypervisor> Caller<H> {
    /// Registers the 4 KiB pages of a queue in ring order.
    ///
    /// `resource` is the event queue, completion queue or queue pair; `queue` says which queue of a
    /// queue pair. `what` says in error messages what the pages are for.
    ///
    /// # Errors
    ///
    /// Any answer that is not the expected one, also a success that comes too early or not at all.
    /// The caller must free the resource then, with force.
    pub fn register_queue(
        &self,
        resource: u64,
        queue: QueueSelect,
        pages: impl ExactSizeIterator<Item = H::QueuePage>,
        what: &'static str,
    ) -> Result<(), HcallError> {
        let count = pages.len();
        for (done, page) in (1..).zip(pages) {
            let call = RegisterRpages {
                adapter: self.adapter(),
                page_size: PageSize::K4.code(),
                queue,
                resource,
                address: page.real_address(),
                count: 1,
            };
            self.register_rpages(&call, Memory::Queue(&page), done >= count, what)?;
        }
        Ok(())
    }

    /// Makes one registration call and checks its answer. Returns how many calls it took. `memory` is
    /// the page of a queue, or the list of pages, that the call names. `last` says that no page of the
    /// resource is left after this call.
    ///
    /// # Errors
    ///
    /// As for [`Caller::register_queue`].
    pub fn register_rpages(
        &self,
        call: &RegisterRpages,
        memory: Memory<'_, H>,
        last: bool,
        what: &'static str,
    ) -> Result<u64, HcallError> {
        let expected = if last {
            ReturnCode::SUCCESS
        } else {
            ReturnCode::PAGE_REGISTERED
        };
        let opcode = Opcode::REGISTER_HEA_RPAGES;
        let answer = self.answer(opcode, call.pack(), memory);
        if answer.code == expected {
            Ok(answer.calls)
        } else {
            Err(HcallError {
                opcode,
                code: answer.code,
                what,
            })
        }
    }
}

/// Returns the number of pages that the next call should register, if `left` are left.
///
/// As many as fit a page list, but a call never leaves a single page over: a count of 1 has another
/// meaning (the address is that of the page, not of a list), which is known from queues only.
pub fn next_count(left: u64) -> u64 {
    const MAX: u64 = MAX_PAGES_PER_CALL as u64;
    if left == MAX + 1 {
        MAX - 1
    } else {
        left.min(MAX)
    }
}
