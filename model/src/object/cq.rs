// SPDX-License-Identifier: GPL-2.0

//! Completion queues: entries in memory and the one-shot event (§3.2, §5.3, §6.7).

use ehea_abi::ring::{CQES_PER_PAGE, CQE_SIZE};

use crate::object::ring::{Cursor, QueuePages};
use crate::refusal::Violation;

/// A completion queue.
#[derive(Debug)]
pub(crate) struct Cq {
    pub(crate) number: u32,
    /// Handle of the event queue.
    pub(crate) eq: u64,
    pub(crate) token: u32,
    pub(crate) pages: QueuePages,
    /// Index of the register block.
    pub(crate) slot: u32,
    cursor: Cursor,
    /// Number of free entries (FEC).
    free: u32,
    /// True if an event was raised and not acknowledged (EP).
    event_pending: bool,
    /// True if the next completion raises an event (N1).
    armed: bool,
    /// Number of completions that the driver has not given back yet.
    unconsumed: u32,
    /// Time at which the event was raised, or later at which the driver last made progress or got
    /// its first new completion.
    raised_ns: Option<u64>,
    /// Number of times that the event was not raised again since then because the guest was busy.
    waited: u32,
}

/// Number of times that a busy guest is waited for; they add up to one second.
const WAITS: u32 = 50;

impl Cq {
    pub(crate) fn new(number: u32, eq: u64, token: u32, pages: u32, slot: u32) -> Self {
        let slots = pages.saturating_mul(CQES_PER_PAGE);
        Self {
            number,
            eq,
            token,
            pages: QueuePages::new(pages),
            slot,
            cursor: Cursor::new(slots, CQE_SIZE),
            free: slots,
            event_pending: false,
            armed: false,
            unconsumed: 0,
            raised_ns: None,
            waited: 0,
        }
    }

    /// Returns the address of the next entry and the toggle bit of its lap.
    pub(crate) fn next_entry(&self) -> Result<(u64, bool), Violation> {
        if self.free == 0 {
            return Err(Violation::CompletionQueueFull);
        }
        let gpa = self
            .pages
            .address(self.cursor.offset())
            .ok_or(Violation::QueueMemoryGone)?;
        Ok((gpa, self.cursor.toggle().bit()))
    }

    /// Moves past the next entry, which was written.
    pub(crate) fn wrote(&mut self) {
        self.cursor.advance();
        self.free = self.free.saturating_sub(1);
    }

    /// Counts a completion that became visible. Returns whether it raises an event.
    pub(crate) fn completed(&mut self, now: u64) -> bool {
        if self.unconsumed == 0 && self.raised_ns.is_some() {
            self.raised_ns = Some(now);
        }
        self.unconsumed = self.unconsumed.saturating_add(1);
        let event = self.armed && !self.event_pending;
        if event {
            self.armed = false;
            self.event_pending = true;
            self.raised_ns = Some(now);
        }
        event
    }

    /// Notes that the driver gave back `count` entries.
    pub(crate) fn consumed(&mut self, count: u32, now: u64) {
        self.unconsumed = self.unconsumed.saturating_sub(count);
        if count > 0 && self.raised_ns.is_some() {
            self.raised_ns = Some(now);
        }
    }

    /// Adds to the free entries (register FECA). Returns whether the count was plausible; what
    /// exceeds the queue is ignored.
    pub(crate) fn add_free(&mut self, count: u32, now: u64) -> bool {
        self.consumed(count, now);
        let free = self.free.saturating_add(count);
        self.free = free.min(self.cursor.slots());
        free <= self.cursor.slots()
    }

    pub(crate) const fn free(&self) -> u32 {
        self.free
    }

    /// Returns the number of completions that the driver has not given back yet.
    pub(crate) const fn unconsumed(&self) -> u32 {
        self.unconsumed
    }

    pub(crate) const fn is_event_pending(&self) -> bool {
        self.event_pending
    }

    pub(crate) const fn is_armed(&self) -> bool {
        self.armed
    }

    /// Sets register EP.
    pub(crate) fn set_event_pending(&mut self, pending: bool) {
        self.event_pending = pending;
        self.raised_ns = None;
        self.waited = 0;
    }

    /// Sets register N1. Completions that are already there raise no event (§6.7, choice).
    pub(crate) fn set_armed(&mut self, armed: bool) {
        self.armed = armed;
        self.raised_ns = None;
        self.waited = 0;
    }

    /// Returns the time at which the event is due once more if the driver does nothing for `patience` nanoseconds.
    pub(crate) fn reraise_at(&self, patience: u64) -> Option<u64> {
        if self.unconsumed == 0 {
            return None;
        }
        self.raised_ns.map(|at| at.saturating_add(patience))
    }

    /// Waits once more for a guest that is busy. Returns false if it was waited for long enough.
    pub(crate) fn waits(&mut self, now: u64) -> bool {
        if self.waited >= WAITS {
            return false;
        }
        self.waited = self.waited.saturating_add(1);
        self.raised_ns = Some(now);
        true
    }

    /// Notes that no queue pair is enabled whose completions come here. The driver need not look.
    pub(crate) fn rests(&mut self, now: u64) {
        self.raised_ns = Some(now);
        self.waited = 0;
    }

    /// Notes that the event was raised once more.
    pub(crate) fn reraised(&mut self, now: u64) {
        self.raised_ns = Some(now);
        self.waited = 0;
    }
}
