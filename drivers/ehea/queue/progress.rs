// SPDX-License-Identifier: GPL-2.0

//! Communication between the two sides of a send queue while both run.
//!
//! The posting side is protected by the lock of the transmit queue. The completing side belongs to
//! the NAPI instance. They share no lock. Each side counts its own slots ([`SendPoster`],
//! [`SendCompleter`](super::SendCompleter)) and publishes the count here:
//!
//! - The completing side sees what the posting side has written for a slot, because that is written
//!   before the count of posted slots.
//! - The posting side does not reuse a slot before the completing side has taken out what it holds,
//!   because that is taken before the count of completed slots is published. The same holds for
//!   bounce slots.
//! - The side that finds no room stops the transmit queue and checks again. The side that makes room
//!   counts first and then checks whether the queue is stopped. The kernel's functions for that have
//!   a full barrier between the two steps, so that at least one side sees the other, and no queue
//!   stays stopped for ever.
//!
//! `tests/interleavings` runs this very file in all interleavings and thereby checks the memory
//! orderings.

use super::{
    SendPoster,
    WorkQueue, //
};
use crate::sync::{
    AtomicU32,
    Ordering::{
        Acquire,
        Relaxed,
        Release, //
    }, //
};

/// State of a send queue that its two sides share. All counts are modulo 2^32.
#[derive(Debug)]
pub struct SendProgress {
    /// Maximum number of slots that are posted and not completed.
    capacity: u32,
    /// Number of free slots from which a stopped transmit queue is woken.
    wake_from: u32,
    /// Number of posted slots; written by the posting side.
    posted: AtomicU32,
    /// Number of completed slots; written by the completing side.
    completed: AtomicU32,
    /// Number of returned bounce slots; written by the completing side.
    bounces_returned: AtomicU32,
}

impl SendProgress {
    /// Returns the progress of an empty queue.
    pub fn new(queue: &WorkQueue) -> Self {
        Self {
            capacity: queue.send_capacity(),
            wake_from: SendPoster::new(queue).wake_from(),
            posted: AtomicU32::new(0),
            completed: AtomicU32::new(0),
            bounces_returned: AtomicU32::new(0),
        }
    }

    /// Publishes that `posted` slots are written and may be completed. For the posting side.
    #[inline]
    pub fn set_posted(&self, posted: u32) {
        self.posted.store(posted, Release);
    }

    /// Returns the number of posted slots, whose contents can then be read. For the completing
    /// side.
    #[inline]
    pub fn posted(&self) -> u32 {
        self.posted.load(Acquire)
    }

    /// Publishes that `completed` slots are dealt with and may be reused. For the completing side.
    #[inline]
    pub fn set_completed(&self, completed: u32) {
        self.completed.store(completed, Release);
    }

    /// Returns the number of completed slots, which may then be reused. For the posting side.
    #[inline]
    pub fn completed(&self) -> u32 {
        self.completed.load(Acquire)
    }

    /// Returns the number of completed slots without synchronisation: it tells how many slots are
    /// free, but none may be reused because of it. For the posting side.
    #[inline]
    pub fn completed_count(&self) -> u32 {
        self.completed.load(Relaxed)
    }

    /// Publishes that the frames in `returned` bounce slots are sent, so that the slots may be
    /// reused. For the completing side.
    #[inline]
    pub fn set_bounces_returned(&self, returned: u32) {
        self.bounces_returned.store(returned, Release);
    }

    /// Returns the number of returned bounce slots, which may then be reused. For the posting side.
    #[inline]
    pub fn bounces_returned(&self) -> u32 {
        self.bounces_returned.load(Acquire)
    }

    /// Checks whether a stopped transmit queue has enough room to be woken. For the completing
    /// side, after [`SendProgress::set_completed`] with the same count.
    #[inline]
    pub fn may_wake(&self, completed: u32) -> bool {
        let in_flight = self.posted.load(Relaxed).wrapping_sub(completed);
        self.capacity.saturating_sub(in_flight) >= self.wake_from
    }
}
