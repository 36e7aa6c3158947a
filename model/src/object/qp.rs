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

/// A send or receive queue: its pages, its position, and the number of slots that the driver
/// announced.
#[derive(Debug)]
pub(crate) struct WorkQueue {
    pub(crate) pages: QueuePages,
    pub(crate) cursor: Cursor,
    credits: u32,
    /// Number of slots that were announced so far, and number of these that were used.
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

    /// Returns the number of slots that were announced since the queue was made.
    pub(crate) const fn announced(&self) -> u64 {
        self.announced
    }

    /// Returns the number of slots that were used since the queue was made.
    pub(crate) const fn used(&self) -> u64 {
        self.used
    }

    /// Returns the number of slots that the adapter may use.
    pub(crate) const fn credits(&self) -> u32 {
        self.credits
    }

    /// Adds announced slots for a doorbell. Returns false if the count cannot be true, because a
    /// ring is never completely full.
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

    /// Returns the address of the current slot.
    pub(crate) fn address(&self) -> Result<u64, Violation> {
        self.pages
            .address(self.cursor.offset())
            .ok_or(Violation::QueueMemoryGone)
    }

    /// Moves past the current slot, which was used.
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
    /// Headers and payload of the packet.
    pub(crate) packet: Vec<u8>,
    /// Number of segments cut so far.
    pub(crate) segments: u16,
    /// Number of bytes of payload in these segments.
    pub(crate) offset: usize,
}

/// A send work request that is on its way out.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// Next frame, which the backend has not taken yet.
    pub(crate) frame: Option<Vec<u8>>,
    /// Rest of the packet, which is cut while it is sent.
    pub(crate) uncut: Option<Uncut>,
    pub(crate) wr_id: u64,
    /// True if a completion follows the last frame.
    pub(crate) signalled: bool,
    /// True if the adapter fills in a TCP or UDP checksum.
    pub(crate) checksum: bool,
    /// True if the adapter cuts a packet into segments.
    pub(crate) segmented: bool,
}

/// Counts of what a queue pair has done so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct QpCounters {
    /// Number of completions of send work requests.
    pub(crate) completed: u64,
    /// Number of frames given to the driver.
    pub(crate) received: u64,
    /// Number of frames for this queue pair that were lost.
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
    /// Index of the register block.
    pub(crate) slot: u32,
    pub(crate) sq: WorkQueue,
    pub(crate) rq1: WorkQueue,
    pub(crate) rq2: WorkQueue,
    pub(crate) rq3: WorkQueue,
    pub(crate) state: QpState,
    pub(crate) enabled: bool,
    /// Time at which the queue pair was disabled after it was set up; `None` if it was not or is
    /// enabled again.
    pub(crate) paused_ns: Option<u64>,
    /// True if the driver was told that the port is up.
    pub(crate) announced: bool,
    pub(crate) aer: u64,
    pub(crate) outgoing: Option<Outgoing>,
    /// Frames that were received for this queue pair.
    pub(crate) fifo: Fifo,
    /// Writes under way to memory, in the order of arrival.
    pub(crate) in_flight: VecDeque<Flight>,
    pub(crate) counters: QpCounters,
    /// Ordinal of the queue pair's last part of a turn of work.
    pub(crate) served: u64,
}

impl Qp {
    /// Checks whether arriving frames are for this queue pair, now or as soon as it is enabled
    /// again.
    pub(crate) const fn is_operational(&self) -> bool {
        matches!(self.state, QpState::ReadyToReceive | QpState::ReadyToSend)
    }

    /// Checks whether frames may wait for this queue pair. They may not wait for a disabled one if
    /// `disabled_drops`.
    pub(crate) const fn lets_wait(&self, disabled_drops: bool) -> bool {
        self.is_operational() && (self.enabled || !disabled_drops)
    }

    /// Checks whether completions of the queue pair go to the completion queue `cq`.
    pub(crate) const fn completes_to(&self, cq: u64) -> bool {
        self.send_cq == cq || self.recv_cq == cq
    }

    pub(crate) const fn can_receive(&self) -> bool {
        self.enabled && self.is_operational()
    }

    pub(crate) const fn can_send(&self) -> bool {
        self.enabled && matches!(self.state, QpState::ReadyToSend)
    }

    /// Checks whether one more write may be under way to memory.
    pub(crate) fn has_flight_room(&self) -> bool {
        self.in_flight.len() < MAX_IN_FLIGHT
    }

    /// Checks whether doorbells have an effect.
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

    /// Checks whether the state machine has a transition to `next`. Bring-up goes through
    /// INITIALIZED; RESET and ERROR can be entered from everywhere (choice).
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

    /// Enables or disables the queue pair at the virtual time `now_ns`. A queue pair that failed or
    /// was never set up cannot be enabled. Returns how long it was disabled, when it is enabled
    /// again.
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

    /// Enters another state. Positions, credits and toggle bits survive all states but RESET (M8).
    /// The error register is cleared when the queue pair is set up again (choice).
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

    /// Disables the queue pair for good (H_DISABLE_AND_GET_HEA), so that nothing is left that could
    /// touch memory.
    pub(crate) fn disable(&mut self) {
        self.enabled = false;
        self.enter(QpState::Reset);
    }

    /// Stops the queue pair because of an error.
    pub(crate) fn fail(&mut self, aer: u64) {
        self.aer |= aer;
        self.enter(QpState::Error);
    }
}
