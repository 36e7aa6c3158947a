// SPDX-License-Identifier: GPL-2.0

//! Queue pairs: work queues, state machine, error registers (§1.4, §3.3, §4.2).

use std::collections::VecDeque;

use ehea_abi::cb::qp::QpState;
use ehea_abi::ring::{QueueSize, SlotSize};
use ehea_abi::wqe::SwqeHeader;

use super::fifo::Fifo;
use super::flight::Flight;
use crate::limits::MAX_IN_FLIGHT;
use crate::object::ring::{Cursor, QueuePages};
use crate::refusal::Violation;

/// A send or receive queue: pages, a position, and how many slots the driver announced.
#[derive(Debug)]
pub(crate) struct WorkQueue {
    pub(crate) pages: QueuePages,
    pub(crate) cursor: Cursor,
    credits: u32,
    /// Slots that were announced so far, and those of them that were used.
    announced: u64,
    used: u64,
}

impl WorkQueue {
    pub(crate) fn new(size: QueueSize, slot: SlotSize) -> Self {
        Self {
            pages: QueuePages::new(size.pages(slot)),
            cursor: Cursor::new(size.slots(), slot.bytes()),
            credits: 0,
            announced: 0,
            used: 0,
        }
    }

    /// Slots that were announced since the queue was made.
    pub(crate) const fn announced(&self) -> u64 {
        self.announced
    }

    /// Slots that were used since the queue was made.
    pub(crate) const fn used(&self) -> u64 {
        self.used
    }

    /// Slots that the adapter may use.
    pub(crate) const fn credits(&self) -> u32 {
        self.credits
    }

    /// A doorbell. False: a ring is never completely full, so the count can't be true.
    #[must_use]
    pub(crate) fn announce(&mut self, count: u32) -> bool {
        let credits = self.credits.saturating_add(count);
        if credits >= self.cursor.slots() {
            return false;
        }
        self.credits = credits;
        self.announced = self.announced.saturating_add(count.into());
        true
    }

    /// Address of the current slot.
    pub(crate) fn address(&self) -> Result<u64, Violation> {
        self.pages
            .address(self.cursor.offset())
            .ok_or(Violation::QueueMemoryGone)
    }

    /// The current slot was used.
    pub(crate) fn take(&mut self) {
        self.credits = self.credits.saturating_sub(1);
        self.used = self.used.saturating_add(1);
        self.cursor.advance();
    }

    fn rewind(&mut self) {
        self.credits = 0;
        self.cursor.rewind();
    }
}

/// A packet that is being cut into segments.
#[derive(Debug)]
pub(crate) struct Uncut {
    /// The work request.
    pub(crate) header: SwqeHeader,
    /// Headers and payload.
    pub(crate) packet: Vec<u8>,
    /// Segments that were cut.
    pub(crate) segments: u16,
    /// Bytes of payload in these.
    pub(crate) offset: usize,
}

/// A send work request that is on its way out.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// The next frame, which the backend did not take yet.
    pub(crate) frame: Option<Vec<u8>>,
    /// What follows, to be cut as it is sent.
    pub(crate) uncut: Option<Uncut>,
    pub(crate) wr_id: u64,
    /// A completion follows the last frame.
    pub(crate) signalled: bool,
    /// The adapter fills in a TCP or UDP checksum.
    pub(crate) checksum: bool,
    /// The adapter cuts a packet into segments.
    pub(crate) segmented: bool,
}

/// What a queue pair has done so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct QpCounters {
    /// Completions of send work requests.
    pub(crate) completed: u64,
    /// Frames given to the driver.
    pub(crate) received: u64,
    /// Frames that were for it and are lost.
    pub(crate) dropped: u64,
}

/// A queue pair.
#[derive(Debug)]
pub(crate) struct Qp {
    pub(crate) number: u32,
    /// Handles of the send and receive completion queues and of the affiliated event queue.
    pub(crate) send_cq: u64,
    pub(crate) recv_cq: u64,
    pub(crate) eq: u64,
    pub(crate) token: u32,
    pub(crate) pd: u32,
    /// Index of the port.
    pub(crate) port: usize,
    /// Register block.
    pub(crate) slot: u32,
    pub(crate) sq: WorkQueue,
    pub(crate) rq1: WorkQueue,
    pub(crate) rq2: WorkQueue,
    pub(crate) rq3: WorkQueue,
    pub(crate) state: QpState,
    pub(crate) enabled: bool,
    /// When the queue pair, set up, was disabled, if it was and is not enabled yet.
    pub(crate) paused_ns: Option<u64>,
    /// The driver was told that the port is up.
    pub(crate) announced: bool,
    pub(crate) aer: u64,
    pub(crate) outgoing: Option<Outgoing>,
    /// Frames that were received for this queue pair.
    pub(crate) fifo: Fifo,
    /// In the order of arrival.
    pub(crate) in_flight: VecDeque<Flight>,
    pub(crate) counters: QpCounters,
    /// When it had its last part of a turn of work, as a number that grows.
    pub(crate) served: u64,
}

impl Qp {
    /// Whether frames that arrive are for this queue pair, now or as soon as it is enabled again.
    pub(crate) const fn is_operational(&self) -> bool {
        matches!(self.state, QpState::ReadyToReceive | QpState::ReadyToSend)
    }

    /// Whether frames may wait for this queue pair; for a disabled one not if `disabled_drops`.
    pub(crate) const fn lets_wait(&self, disabled_drops: bool) -> bool {
        self.is_operational() && (self.enabled || !disabled_drops)
    }

    pub(crate) const fn can_receive(&self) -> bool {
        self.enabled && self.is_operational()
    }

    pub(crate) const fn can_send(&self) -> bool {
        self.enabled && matches!(self.state, QpState::ReadyToSend)
    }

    /// Whether more can be under way to memory.
    pub(crate) fn has_flight_room(&self) -> bool {
        self.in_flight.len() < MAX_IN_FLIGHT
    }

    /// Whether doorbells count.
    pub(crate) const fn takes_doorbells(&self) -> bool {
        !matches!(self.state, QpState::Reset | QpState::Error)
    }

    pub(crate) fn queues(&self) -> [&WorkQueue; 4] {
        [&self.sq, &self.rq1, &self.rq2, &self.rq3]
    }

    pub(crate) fn queues_mut(&mut self) -> [&mut WorkQueue; 4] {
        [&mut self.sq, &mut self.rq1, &mut self.rq2, &mut self.rq3]
    }

    pub(crate) fn has_all_pages(&self) -> bool {
        self.queues().iter().all(|q| q.pages.is_complete())
    }

    /// Whether the state machine has that edge: bring-up goes through INITIALIZED, RESET and ERROR
    /// are reached from everywhere (choice).
    pub(crate) const fn may_become(&self, next: QpState) -> bool {
        use QpState::*;
        matches!(
            (self.state, next),
            (_, Reset | Error)
                | (Reset | Initialized, Initialized)
                | (Initialized | ReadyToReceive, ReadyToReceive)
                | (Initialized | ReadyToReceive | ReadyToSend, ReadyToSend)
        )
    }

    /// Enables or disables the queue pair at a time of the machine's clock. A queue pair that failed, or
    /// was never set up, has nothing to enable. Says how long it was disabled in between.
    pub(crate) fn set_enabled(&mut self, enabled: bool, now_ns: u64) -> Option<u64> {
        self.enabled = enabled && !matches!(self.state, QpState::Reset | QpState::Error);
        if self.can_receive() {
            return self
                .paused_ns
                .take()
                .map(|since| now_ns.saturating_sub(since));
        }
        if self.is_operational() && self.paused_ns.is_none() {
            self.paused_ns = Some(now_ns);
        }
        None
    }

    /// Enters another state. Positions, credits and toggle bits survive all but RESET (M8); the error
    /// register is cleared when the queue pair is set up again (choice).
    pub(crate) fn enter(&mut self, next: QpState) {
        self.state = next;
        match next {
            QpState::Reset => {
                for queue in self.queues_mut() {
                    queue.rewind();
                }
                self.outgoing = None;
                self.announced = false;
                self.paused_ns = None;
            }
            QpState::Initialized => self.aer = 0,
            QpState::Error => {
                self.enabled = false;
                self.outgoing = None;
                self.paused_ns = None;
            }
            _ => {}
        }
    }

    /// H_DISABLE_AND_GET_HEA: nothing is left that could touch memory.
    pub(crate) fn disable(&mut self) {
        self.enabled = false;
        self.enter(QpState::Reset);
    }

    /// Stops on an error.
    pub(crate) fn fail(&mut self, aer: u64) {
        self.aer |= aer;
        self.enter(QpState::Error);
    }
}
