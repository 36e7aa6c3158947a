// SPDX-License-Identifier: GPL-2.0

//! Send credits (eHEA ABI §6.3).
//!
//! The transmit path posts frames, one slot each, and the completion path gives slots back. Both
//! run at the same time. Each side counts its own slots with a counter that only ever grows (and
//! wraps), and reads the counter of the other side: *posted* is owned by [`SendPoster`],
//! *completed* by [`SendCompleter`]. Both are published in a [`SendProgress`](super::SendProgress).
//!
//! Frames that consist of immediate data need no completion of their own, since their buffer is
//! free as soon as the work request is written. Only every few of them ask for a completion. A
//! completion gives back its own slot and those of the frames without completion before it, because
//! the adapter processes a send queue in order.

use crate::abi::cqe::CqeStatus;
use crate::abi::wqe::{WrId, WrType};

use super::{Producer, SentWork, WorkQueue};

/// Number of free slots below which the transmit queue must be stopped after a frame.
pub const STOP_BELOW: u32 = 1;

/// Number of slots in which small frames ask for at most one completion.
const SLOTS_PER_SIGNAL: u32 = 10;

/// Divisor for the number of free slots that wake a stopped transmit queue: a quarter of all slots.
const WAKE_FRACTION: u32 = 4;

/// The posting side of a send queue.
#[derive(Clone, Debug)]
pub struct SendPoster {
    position: Producer,
    /// Maximum number of slots that are posted and not completed.
    capacity: u32,
    /// Number of slots posted, modulo 2^32.
    posted: u32,
    /// Number of slots posted since the last one that asked for a completion.
    unsignalled: u32,
    /// Maximum number of slots that one completion gives back.
    interval: u32,
}

/// A slot for one frame; see [`SendPoster::reserve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendTicket {
    /// Index of the slot in the ring, and of the frame's buffer.
    pub slot: usize,
    /// Identifier for the work request.
    pub wr_id: u64,
    /// True if the work request asks for a completion.
    pub signalled: bool,
}

impl SendPoster {
    /// Returns the posting side of an empty queue.
    pub const fn new(queue: &WorkQueue) -> Self {
        let capacity = queue.send_capacity();
        let interval = capacity / SLOTS_PER_SIGNAL;
        Self {
            position: Producer::new(queue.slots()),
            capacity,
            posted: 0,
            unsignalled: 0,
            interval: if interval == 0 { 1 } else { interval },
        }
    }

    /// Returns the number of slots posted so far, modulo 2^32. It must be published before the
    /// doorbell is rung.
    #[inline]
    pub const fn posted(&self) -> u32 {
        self.posted
    }

    /// Returns the number of slots that can be posted now, if `completed` slots are completed.
    #[inline]
    pub const fn free(&self, completed: u32) -> u32 {
        self.capacity
            .saturating_sub(self.posted.wrapping_sub(completed))
    }

    /// Returns the number of free slots at which a stopped transmit queue should be woken.
    #[inline]
    pub const fn wake_from(&self) -> u32 {
        let slots = self.capacity / WAKE_FRACTION;
        if slots > STOP_BELOW {
            slots
        } else {
            STOP_BELOW + 1
        }
    }

    /// Checks whether all frames are completed, except for those that will not report completion.
    ///
    /// Those frames consist of immediate data, so nothing is left that uses a memory region for
    /// sending.
    pub const fn is_idle(&self, completed: u32) -> bool {
        self.posted.wrapping_sub(completed) <= self.unsignalled
    }

    /// Returns the slot for the next frame, if `completed` slots are completed, or `None` if the
    /// queue is full.
    ///
    /// `immediate` says that the frame consists of immediate data, so that nobody waits for its
    /// completion.
    ///
    /// Nothing changes until [`SendPoster::post`], so a ticket may be dropped.
    #[inline]
    pub fn reserve(&self, completed: u32, immediate: bool) -> Option<SendTicket> {
        let free = self.free(completed);
        if free == 0 {
            return None;
        }
        // The sum is at most `interval`, which is below the number of slots.
        let covered = self.unsignalled.wrapping_add(1);
        // A frame that stops the queue must have a completion, or nothing would wake the queue.
        let signalled = !immediate || covered >= self.interval || free <= STOP_BELOW;
        let slot = self.position.index();
        let wr_id = WrId {
            count: self.posted,
            kind: if immediate {
                WrType::SEND_IMMEDIATE
            } else {
                WrType::SEND_MIXED
            },
            // Neither value is truncated: a ring has at most 2^15 slots.
            index: slot as u32,
            refill: if signalled { covered as u16 } else { 0 },
        };
        Some(SendTicket {
            slot,
            wr_id: wr_id.pack(),
            signalled,
        })
    }

    /// Takes the slot of `ticket`, which is the last one that was reserved. The caller has written
    /// its work request and will announce it to the adapter.
    #[inline]
    pub fn post(&mut self, ticket: &SendTicket) {
        self.posted = self.posted.wrapping_add(1);
        self.unsignalled = if ticket.signalled {
            0
        } else {
            self.unsignalled.wrapping_add(1)
        };
        self.position.advance();
    }
}

/// The completing side of a send queue.
#[derive(Clone, Debug)]
pub struct SendCompleter {
    slots: usize,
    /// Number of slots completed, modulo 2^32.
    completed: u32,
    /// Slot of the first frame that is not completed.
    tail: usize,
}

/// A completion of a send queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendCompletion {
    /// Index of the frame's slot, and of its buffer.
    pub slot: usize,
    /// True if the frame consists of immediate data, so that no buffer waits for the completion.
    pub immediate: bool,
    /// Error that the adapter reports if it did not send the frame.
    pub error: Option<CqeStatus>,
}

/// A completion after which the queue pair cannot be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The completion does not belong to a frame that was posted with a request for one.
    Corrupt {
        /// Identifier in the completion.
        wr_id: u64,
    },
    /// The adapter demands a reset of the queue pair.
    Fatal {
        /// Status in the completion.
        status: CqeStatus,
    },
}

impl SendCompleter {
    /// Returns the completing side of an empty queue.
    pub const fn new(queue: &WorkQueue) -> Self {
        Self {
            slots: queue.slots(),
            completed: 0,
            tail: 0,
        }
    }

    /// Returns the number of slots completed so far, modulo 2^32. It must be published when the
    /// buffers are taken.
    #[inline]
    pub const fn completed(&self) -> u32 {
        self.completed
    }

    /// Processes a completion that the adapter wrote, if `posted` slots are posted.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the queue pair cannot be used any more. The counters are then unchanged.
    #[inline]
    pub fn complete(&mut self, sent: SentWork, posted: u32) -> Result<SendCompletion, SendError> {
        let SentWork { wr_id, status } = sent;
        if status.any_of(CqeStatus::RESET_MASK) {
            return Err(SendError::Fatal { status });
        }
        let corrupt = SendError::Corrupt { wr_id };
        let wr_id = WrId::unpack(wr_id);
        let immediate = match wr_id.kind {
            WrType::SEND_IMMEDIATE => true,
            WrType::SEND_MIXED => false,
            _ => return Err(corrupt),
        };
        // The frame is the last of those that the completion gives back.
        let refill = u32::from(wr_id.refill);
        let slot = wr_id.index as usize;
        if refill == 0
            || refill > posted.wrapping_sub(self.completed)
            || slot >= self.slots
            || self.ahead(refill as usize - 1) != slot
        {
            return Err(corrupt);
        }
        self.completed = self.completed.wrapping_add(refill);
        self.tail = self.ahead(refill as usize);
        Ok(SendCompletion {
            slot,
            immediate,
            error: status.any_of(CqeStatus::ERROR_MASK).then_some(status),
        })
    }

    /// Returns the index of the slot `distance` slots behind the first that is not completed.
    /// `distance` is at most the number of slots, 2^15.
    #[inline]
    const fn ahead(&self, distance: usize) -> usize {
        let slot = self.tail.wrapping_add(distance);
        if slot < self.slots {
            slot
        } else {
            slot.wrapping_sub(self.slots)
        }
    }
}
