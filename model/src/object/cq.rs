// SPDX-License-Identifier: GPL-2.0

//! Completion queues: entries in memory and the one-shot event (§3.2, §5.3, §6.7).

use ehea_abi::ring::{CQES_PER_PAGE, CQE_SIZE};

use crate::object::ring::{Cursor, QueuePages};
use crate::refusal::Violation;

/// The interrupt is raised again if the driver neither consumed nor armed for this long, and the guest has
/// nothing else to do (M10).
pub(crate) const RERAISE_NS: u64 = 20_000_000;

/// A completion queue.
#[derive(Debug)]
pub(crate) struct Cq {
    pub(crate) number: u32,
    /// Handle of the event queue.
    pub(crate) eq: u64,
    pub(crate) token: u32,
    pub(crate) pages: QueuePages,
    /// Register block.
    pub(crate) slot: u32,
    cursor: Cursor,
    /// FEC: free entries.
    free: u32,
    /// EP: an event was raised and not acknowledged.
    event_pending: bool,
    /// N1: the next completion raises an event.
    armed: bool,
    /// Completions that the driver did not give back yet.
    unconsumed: u32,
    /// When the event was raised, or after it the driver last made progress or was first given
    /// something again.
    raised_ns: Option<u64>,
    /// How often it was not raised again since then, because the guest was busy.
    waited: u32,
}

/// So often a busy guest is waited for: for a second in all.
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

    /// The address of the next entry and the toggle bit of its lap.
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

    /// The next entry was written.
    pub(crate) fn wrote(&mut self) {
        self.cursor.advance();
        self.free = self.free.saturating_sub(1);
    }

    /// A completion of this queue became visible. Says whether that is an event.
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

    /// The driver gave entries back.
    pub(crate) fn consumed(&mut self, count: u32, now: u64) {
        self.unconsumed = self.unconsumed.saturating_sub(count);
        if count > 0 && self.raised_ns.is_some() {
            self.raised_ns = Some(now);
        }
    }

    /// FECA. Says whether the count was plausible; what exceeds the queue is ignored.
    pub(crate) fn add_free(&mut self, count: u32, now: u64) -> bool {
        self.consumed(count, now);
        let free = self.free.saturating_add(count);
        self.free = free.min(self.cursor.slots());
        free <= self.cursor.slots()
    }

    pub(crate) const fn free(&self) -> u32 {
        self.free
    }

    /// Completions that the driver did not give back yet.
    pub(crate) const fn unconsumed(&self) -> u32 {
        self.unconsumed
    }

    pub(crate) const fn is_event_pending(&self) -> bool {
        self.event_pending
    }

    pub(crate) const fn is_armed(&self) -> bool {
        self.armed
    }

    /// EP.
    pub(crate) fn set_event_pending(&mut self, pending: bool) {
        self.event_pending = pending;
        self.raised_ns = None;
        self.waited = 0;
    }

    /// N1. Completions that are there already raise no event (§6.7, choice).
    pub(crate) fn set_armed(&mut self, armed: bool) {
        self.armed = armed;
        self.raised_ns = None;
        self.waited = 0;
    }

    /// When the event is due once more, if the driver does nothing until then.
    pub(crate) fn reraise_at(&self) -> Option<u64> {
        if self.unconsumed == 0 {
            return None;
        }
        self.raised_ns.map(|at| at.saturating_add(RERAISE_NS))
    }

    /// Waits once more for a guest that is busy, unless it was waited for long enough.
    pub(crate) fn waits(&mut self, now: u64) -> bool {
        if self.waited >= WAITS {
            return false;
        }
        self.waited = self.waited.saturating_add(1);
        self.raised_ns = Some(now);
        true
    }

    /// The event is raised once more.
    pub(crate) fn reraised(&mut self, now: u64) {
        self.raised_ns = Some(now);
        self.waited = 0;
    }
}
