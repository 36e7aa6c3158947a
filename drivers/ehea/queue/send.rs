// SPDX-License-Identifier: GPL-2.0

//! Send credits (eHEA ABI §6.3).
//!
//! The transmit path posts frames, one slot each, and the completion path gives slots back; both
//! run at the same time. Each side counts its own slots with a counter that only ever grows (and
//! wraps), and reads the other side's: *posted* is owned by [`SendPoster`], *completed* by
//! [`SendCompleter`]. Both are published in a [`SendProgress`](super::SendProgress).
//!
//! Frames that consist of immediate data need no completion of their own, since their buffer is
//! free as soon as the work request is written. Only every few of them ask for one. A completion
//! gives back its own slot and those of the frames without completion before it, because a send
//! queue is worked off in order.

use crate::abi::cqe::CqeStatus;
use crate::abi::wqe::{WrId, WrType};

use super::{Producer, SentWork, WorkQueue};

/// The transmit queue must be stopped when fewer slots than this are free after a frame.
pub const STOP_BELOW: u32 = 1;

/// At most one completion in that many slots of the ring is asked for by small frames.
const SLOTS_PER_SIGNAL: u32 = 10;

/// The free slots that wake a stopped transmit queue, as a fraction of all.
const WAKE_FRACTION: u32 = 4;

/// The posting side of a send queue.
#[derive(Clone, Debug)]
pub struct SendPoster {
    position: Producer,
    /// Slots that may be posted and not completed.
    capacity: u32,
    /// Slots posted, modulo 2^32.
    posted: u32,
    /// Slots posted since the last one with a completion.
    unsignalled: u32,
    /// A completion is asked for at the latest with that many slots.
    interval: u32,
}

/// A slot for one frame; see [`SendPoster::reserve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendTicket {
    /// The slot of the ring, also the index of the frame's buffer.
    pub slot: usize,
    /// To be written into the work request.
    pub wr_id: u64,
    /// Whether the work request asks for a completion.
    pub signalled: bool,
}

impl SendPoster {
    /// The posting side of an empty queue.
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

    /// Slots posted so far, modulo 2^32. To be published before the doorbell.
    #[inline]
    pub const fn posted(&self) -> u32 {
        self.posted
    }

    /// Slots that can be posted now, given how many are completed.
    #[inline]
    pub const fn free(&self, completed: u32) -> u32 {
        self.capacity
            .saturating_sub(self.posted.wrapping_sub(completed))
    }

    /// With how many free slots a stopped transmit queue should be woken.
    #[inline]
    pub const fn wake_from(&self) -> u32 {
        let slots = self.capacity / WAKE_FRACTION;
        if slots > STOP_BELOW {
            slots
        } else {
            STOP_BELOW + 1
        }
    }

    /// Whether all frames are completed, but for those that will not report it.
    ///
    /// Those consist of immediate data, so that no memory region is used for sending.
    pub const fn is_idle(&self, completed: u32) -> bool {
        self.posted.wrapping_sub(completed) <= self.unsignalled
    }

    /// The slot for the next frame, given how many are completed. None if the queue is full.
    ///
    /// `immediate`: the frame consists of immediate data, and nobody waits for its completion.
    ///
    /// Nothing changes until [`SendPoster::post`], so that a ticket may be dropped.
    #[inline]
    pub fn reserve(&self, completed: u32, immediate: bool) -> Option<SendTicket> {
        let free = self.free(completed);
        if free == 0 {
            return None;
        }
        // Fewer than `interval`, which is below the number of slots.
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
            // Neither is truncated: a ring has at most 2^15 slots.
            index: slot as u32,
            refill: if signalled { covered as u16 } else { 0 },
        };
        Some(SendTicket {
            slot,
            wr_id: wr_id.pack(),
            signalled,
        })
    }

    /// Takes the slot of `ticket`, the last one that was reserved. Its work request is written, and
    /// the caller will announce it.
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
    /// Slots completed, modulo 2^32.
    completed: u32,
    /// The slot of the first frame that is not completed.
    tail: usize,
}

/// A completion of a send queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendCompletion {
    /// The slot of the frame, also the index of its buffer.
    pub slot: usize,
    /// The frame consists of immediate data: no buffer waits for the completion.
    pub immediate: bool,
    /// The frame was not sent; what the adapter says about it.
    pub error: Option<CqeStatus>,
}

/// A completion after which the queue pair can't be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The completion is not that of a frame which was posted with one.
    Corrupt {
        /// The completion's identifier.
        wr_id: u64,
    },
    /// The adapter demands a reset of the queue pair.
    Fatal {
        /// The completion's status.
        status: CqeStatus,
    },
}

impl SendCompleter {
    /// The completing side of an empty queue.
    pub const fn new(queue: &WorkQueue) -> Self {
        Self {
            slots: queue.slots(),
            completed: 0,
            tail: 0,
        }
    }

    /// Slots completed so far, modulo 2^32. To be published when the buffers are taken.
    #[inline]
    pub const fn completed(&self) -> u32 {
        self.completed
    }

    /// Takes note of a completion that the adapter wrote, given how many slots are posted.
    ///
    /// # Errors
    ///
    /// See [`SendError`]. The counters are unchanged then.
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

    /// The slot `distance` behind the first that is not completed; `distance` is at most the number
    /// of slots, 2^15.
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
