// SPDX-License-Identifier: GPL-2.0

//! Checks of what firmware allocated (eHEA ABI §3.1 to §3.3, §6.1).
//!
//! Firmware may give less or more than was asked for. Its answer must be consistent, because driver
//! and adapter wrap around at the same place in each ring.

use core::fmt;

use crate::abi::hcall::{
    AllocCq, AllocEq, AllocQp, CqAllocated, EqAllocated, QpAllocated, QueueSelect,
};
use crate::abi::regs::BLOCK_SIZE;
use crate::abi::ring::{QueueSize, SlotSize, CQES_PER_PAGE, EQES_PER_PAGE};

/// Number of queue pages of the largest completion queue that the driver accepts.
const MAX_CQ_PAGES: u32 = 2048;
/// Number of queue pages of the largest event queue that the driver accepts.
const MAX_EQ_PAGES: u32 = 64;
/// Highest number that a queue pair or interrupt can have; both numbers have 24 bits.
const MAX_NUMBER: u32 = 0x00ff_ffff;

/// Inconsistency of an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeometryError {
    /// A ring has an impossible number of entries.
    Entries {
        /// Name of the ring.
        ring: &'static str,
        /// Number of entries that firmware reported or that the pages hold.
        entries: u32,
    },
    /// A ring has an impossible number of queue pages.
    Pages {
        /// Name of the ring.
        ring: &'static str,
        /// Number of pages that firmware reported.
        pages: u32,
    },
    /// The requested slot size does not exist.
    SlotSize {
        /// Code of the slot size.
        code: u8,
    },
    /// The number of a queue pair or interrupt is out of range.
    Number {
        /// The number.
        number: u32,
    },
    /// The register block is not at the start of a 4 KiB page.
    Registers {
        /// Real address of the register block.
        address: u64,
    },
}

impl fmt::Display for GeometryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entries { ring, entries } => write!(f, "{ring}: {entries} entries"),
            Self::Pages { ring, pages } => write!(f, "{ring}: {pages} pages"),
            Self::SlotSize { code } => write!(f, "slot size code {code}"),
            Self::Number { number } => write!(f, "number {number:#x}"),
            Self::Registers { address } => write!(f, "registers at {address:#x}"),
        }
    }
}

/// Checks a number that firmware gave to a queue pair or interrupt.
fn check_number(number: u32) -> Result<(), GeometryError> {
    if number <= MAX_NUMBER {
        Ok(())
    } else {
        Err(GeometryError::Number { number })
    }
}

/// Checks the real address of a register block.
fn check_registers(address: u64) -> Result<(), GeometryError> {
    if address != 0 && address & (BLOCK_SIZE as u64 - 1) == 0 {
        Ok(())
    } else {
        Err(GeometryError::Registers { address })
    }
}

/// Size of a work queue: a send queue, or receive queue 1, 2 or 3.
///
/// # Invariants
///
/// The pages that firmware wants hold a ring of `size` slots of size `slot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkQueue {
    size: QueueSize,
    slot: SlotSize,
}

impl WorkQueue {
    /// Returns a work queue of size `size`.
    pub const fn new(size: QueueSize, slot: SlotSize) -> Self {
        Self { size, slot }
    }

    /// Checks one queue of a queue pair: the numbers of usable entries and of pages that firmware
    /// reported, against the slot size that was asked for.
    fn check(
        ring: &'static str,
        slot_code: u8,
        entries: u16,
        pages: u32,
    ) -> Result<Self, GeometryError> {
        let entries = entries.into();
        let slot =
            SlotSize::from_code(slot_code).ok_or(GeometryError::SlotSize { code: slot_code })?;
        let size = QueueSize::for_entries(entries)
            .filter(|size| size.entries() == entries)
            .ok_or(GeometryError::Entries { ring, entries })?;
        if size.pages(slot) != pages {
            return Err(GeometryError::Pages { ring, pages });
        }
        Ok(Self::new(size, slot))
    }

    /// Returns the number of slots of the ring, a power of two.
    #[inline]
    pub const fn slots(&self) -> usize {
        self.size.slots() as usize
    }

    /// Returns the size of a slot in bytes.
    #[inline]
    pub const fn slot_bytes(&self) -> usize {
        self.slot.bytes()
    }

    /// Returns the number of queue pages to register.
    #[inline]
    pub const fn pages(&self) -> usize {
        self.size.pages(self.slot) as usize
    }

    /// Returns the maximum number of work requests of a send queue that are posted and not
    /// completed. A ring is never quite full.
    #[inline]
    pub const fn send_capacity(&self) -> u32 {
        self.size.slots() - 2
    }

    /// Returns the maximum number of buffers of receive queue 2 or 3 that are posted at the same
    /// time.
    #[inline]
    pub const fn receive_capacity(&self) -> usize {
        self.slots() - 2
    }

    /// Returns the number of slots of receive queue 1 that the adapter is given at the start.
    #[inline]
    pub const fn inline_capacity(&self) -> usize {
        self.slots() - 1
    }
}

/// Sizes of the four work queues of a queue pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QpGeometry {
    /// Send queue.
    pub sq: WorkQueue,
    /// Receive queue 1.
    pub rq1: WorkQueue,
    /// Receive queue 2.
    pub rq2: WorkQueue,
    /// Receive queue 3.
    pub rq3: WorkQueue,
}

impl QpGeometry {
    /// Checks the answer to an allocation of a queue pair.
    ///
    /// The numbers of entries may differ from those asked for. The slot sizes may not, and the
    /// numbers of pages must be those that entries and slot sizes need.
    ///
    /// # Errors
    ///
    /// [`GeometryError`] if the answer is inconsistent. The caller must then free the queue pair.
    pub fn check(call: &AllocQp, answer: &QpAllocated) -> Result<Self, GeometryError> {
        check_number(answer.number)?;
        check_registers(answer.registers)?;
        let [rq1_slot, rq2_slot, rq3_slot] = call.rq.slot;
        let [rq1_entries, rq2_entries, rq3_entries] = answer.rq_entries;
        let [rq1_pages, rq2_pages, rq3_pages] = answer.rq_pages;
        Ok(Self {
            sq: WorkQueue::check("SQ", call.sq_slot, answer.sq_entries, answer.sq_pages)?,
            rq1: WorkQueue::check("RQ1", rq1_slot, rq1_entries, rq1_pages)?,
            rq2: WorkQueue::check("RQ2", rq2_slot, rq2_entries, rq2_pages)?,
            rq3: WorkQueue::check("RQ3", rq3_slot, rq3_entries, rq3_pages)?,
        })
    }

    /// Returns the four queues in the order of their registration.
    pub const fn queues(&self) -> [(QueueSelect, WorkQueue); 4] {
        [
            (QueueSelect::Sq, self.sq),
            (QueueSelect::Rq1, self.rq1),
            (QueueSelect::Rq2, self.rq2),
            (QueueSelect::Rq3, self.rq3),
        ]
    }
}

/// Size of a completion queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CqGeometry {
    pages: u32,
}

impl CqGeometry {
    /// Checks the answer to an allocation of a completion queue. The queue must have at least as
    /// many entries as were asked for.
    ///
    /// # Errors
    ///
    /// [`GeometryError`] if the answer is inconsistent. The caller must then free the completion
    /// queue.
    pub fn check(call: &AllocCq, answer: &CqAllocated) -> Result<Self, GeometryError> {
        let ring = "CQ";
        check_registers(answer.registers)?;
        let pages = answer.pages;
        if pages == 0 || pages > MAX_CQ_PAGES {
            return Err(GeometryError::Pages { ring, pages });
        }
        let entries = pages.saturating_mul(CQES_PER_PAGE);
        if entries < call.cqes {
            return Err(GeometryError::Entries { ring, entries });
        }
        Ok(Self { pages })
    }

    /// Returns the number of queue pages to register.
    pub const fn pages(&self) -> usize {
        self.pages as usize
    }

    /// Returns the number of slots of the ring. The ring wraps there, whatever number of entries
    /// firmware reported.
    pub const fn slots(&self) -> usize {
        self.pages.saturating_mul(CQES_PER_PAGE) as usize
    }
}

/// Size of an event queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EqGeometry {
    pages: u32,
}

impl EqGeometry {
    /// Checks the answer to an allocation of an event queue. The queue must have at least as many
    /// entries as were asked for.
    ///
    /// # Errors
    ///
    /// [`GeometryError`] if the answer is inconsistent. The caller must then free the event queue.
    pub fn check(call: &AllocEq, answer: &EqAllocated) -> Result<Self, GeometryError> {
        let ring = "EQ";
        if answer.interrupt == 0 {
            return Err(GeometryError::Number { number: 0 });
        }
        check_number(answer.interrupt)?;
        let pages = answer.pages;
        if pages == 0 || pages > MAX_EQ_PAGES {
            return Err(GeometryError::Pages { ring, pages });
        }
        let entries = pages.saturating_mul(EQES_PER_PAGE);
        if entries < call.max_eqes {
            return Err(GeometryError::Entries { ring, entries });
        }
        Ok(Self { pages })
    }

    /// Returns the number of queue pages to register.
    pub const fn pages(&self) -> usize {
        self.pages as usize
    }

    /// Returns the number of slots of the ring, after which it wraps.
    pub const fn slots(&self) -> usize {
        self.pages.saturating_mul(EQES_PER_PAGE) as usize
    }
}
