// SPDX-License-Identifier: GPL-2.0

//! What the two sides of a send queue tell each other while both run.
//!
//! The posting side is protected by the lock of the transmit queue, the completing side belongs to
//! the NAPI instance, and no lock is shared. Each side counts its own slots ([`SendPoster`],
//! [`SendCompleter`](super::SendCompleter)) and publishes the count here:
//!
//! - What the posting side has written to a slot is seen by whoever completes the slot, because it
//!   is written before the count of slots posted.
//! - What the completing side has taken out of a slot is gone when the slot is used again, because
//!   it is taken before the count of slots completed. The same holds for bounce slots.
//! - Whoever finds no room stops the transmit queue and looks again ([`stop_unless`]); whoever makes
//!   room counts first and looks then whether the queue is stopped. With a full barrier between the
//!   two on both sides, at least one of them sees the other, and no queue stays stopped for ever.
//!
//! Which order is needed where is checked by the interleavings of `tests/interleavings`, which run
//! this very file.

use super::{
    SendPoster,
    WorkQueue, //
};
use crate::sync::{
    full_barrier,
    AtomicBool,
    AtomicU32,
    Ordering::{
        Acquire,
        Relaxed,
        Release, //
    }, //
};

/// What both sides of a send queue know of each other. All counts are modulo 2^32.
#[derive(Debug)]
pub struct SendProgress {
    /// Slots that may be posted and not completed.
    capacity: u32,
    /// Free slots with which a stopped transmit queue is woken.
    wake_from: u32,
    /// Slots posted; written by the posting side.
    posted: AtomicU32,
    /// Slots completed; written by the completing side.
    completed: AtomicU32,
    /// Bounce slots given back; written by the completing side.
    bounces_returned: AtomicU32,
    /// The queue pair pauses: completions don't wake the transmit queue. Written under the lock of
    /// the transmit queue.
    paused: AtomicBool,
}

impl SendProgress {
    /// The progress of an empty queue.
    pub fn new(queue: &WorkQueue) -> Self {
        Self {
            capacity: queue.send_capacity(),
            wake_from: SendPoster::new(queue).wake_from(),
            posted: AtomicU32::new(0),
            completed: AtomicU32::new(0),
            bounces_returned: AtomicU32::new(0),
            paused: AtomicBool::new(false),
        }
    }

    /// Posting side: `posted` slots are written, so that they may be completed.
    #[inline]
    pub fn set_posted(&self, posted: u32) {
        self.posted.store(posted, Release);
    }

    /// Completing side: slots posted. What was written to them can be read.
    #[inline]
    pub fn posted(&self) -> u32 {
        self.posted.load(Acquire)
    }

    /// Completing side: `completed` slots are looked after, so that they may be used again.
    #[inline]
    pub fn set_completed(&self, completed: u32) {
        self.completed.store(completed, Release);
    }

    /// Posting side: slots completed, which may be used again.
    #[inline]
    pub fn completed(&self) -> u32 {
        self.completed.load(Acquire)
    }

    /// Posting side: slots completed, to know how many are free; none may be used again for that.
    #[inline]
    pub fn completed_count(&self) -> u32 {
        self.completed.load(Relaxed)
    }

    /// Completing side: the frames that were in `returned` bounce slots are sent, so that the slots
    /// may be used again.
    #[inline]
    pub fn set_bounces_returned(&self, returned: u32) {
        self.bounces_returned.store(returned, Release);
    }

    /// Posting side: bounce slots given back, which may be used again.
    #[inline]
    pub fn bounces_returned(&self) -> u32 {
        self.bounces_returned.load(Acquire)
    }

    /// Sets whether the queue pair pauses. Under the lock of the transmit queue.
    pub fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Relaxed);
    }

    /// Completing side, after [`SendProgress::set_completed`] with the same count: whether a stopped
    /// transmit queue has room enough to be woken, and may be.
    ///
    /// The caller wakes it if it finds it stopped after a full barrier.
    #[inline]
    pub fn may_wake(&self, completed: u32) -> bool {
        if self.paused.load(Relaxed) {
            return false;
        }
        let in_flight = self.posted.load(Relaxed).wrapping_sub(completed);
        self.capacity.saturating_sub(in_flight) >= self.wake_from
    }
}

/// Posting side: stops the transmit queue with `stop`, unless a look at it afterwards says that it
/// `has_room`, and undoes that with `start`. Returns whether the queue is stopped now.
pub fn stop_unless<Q>(
    queue: &mut Q,
    stop: impl FnOnce(&mut Q),
    has_room: impl FnOnce(&mut Q) -> bool,
    start: impl FnOnce(&mut Q),
) -> bool {
    stop(queue);
    // Pairs with the barrier between `set_completed()` and the look whether the queue is stopped:
    // either the room that a completion has made is seen here, or that completion sees the queue
    // stopped and wakes it.
    full_barrier();
    if has_room(queue) {
        start(queue);
        return false;
    }
    true
}
