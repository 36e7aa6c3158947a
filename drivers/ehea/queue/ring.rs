// SPDX-License-Identifier: GPL-2.0

//! Positions in rings (eHEA ABI §6.1).

use core::mem::size_of;

use crate::abi::cqe::{Completion, Cqe, CqeStatus};
use crate::abi::eqe;
use crate::abi::ring::Toggle;

/// A position in a ring that the driver writes: a send queue, or receive queue 2 or 3.
#[derive(Clone, Copy, Debug)]
pub struct Producer {
    index: usize,
    slots: usize,
}

impl Producer {
    /// Returns the position at the first slot of a ring of `slots` slots.
    pub const fn new(slots: usize) -> Self {
        Self { index: 0, slots }
    }

    /// Returns the index of the slot to write next.
    #[inline]
    pub const fn index(&self) -> usize {
        self.index
    }

    /// Returns the number of slots of the ring.
    #[inline]
    pub const fn slots(&self) -> usize {
        self.slots
    }

    /// Moves to the next slot.
    #[inline]
    pub fn advance(&mut self) {
        self.index = next(self.index, self.slots);
    }
}

/// Returns the index of the slot after `index` in a ring of `slots` slots.
#[inline]
const fn next(index: usize, slots: usize) -> usize {
    // A ring has at most 2^15 slots.
    let next = index.wrapping_add(1);
    if next < slots {
        next
    } else {
        0
    }
}

/// A position in a ring that the adapter writes, with the toggle value of new entries.
#[derive(Clone, Copy, Debug)]
struct Consumer {
    index: usize,
    slots: usize,
    toggle: Toggle,
}

impl Consumer {
    const fn new(slots: usize) -> Self {
        Self {
            index: 0,
            slots,
            toggle: Toggle::FIRST_LAP,
        }
    }

    #[inline]
    fn advance(&mut self) {
        self.index = next(self.index, self.slots);
        if self.index == 0 {
            self.toggle = self.toggle.next_lap();
        }
    }
}

/// A slot in a ring of completions that the adapter writes.
pub trait CompletionEntry {
    /// Reads the big-endian doubleword number `index`, with one volatile access.
    fn word(&self, index: usize) -> u64;
}

/// Indices of the doublewords of a completion.
const WR_ID: usize = 0;
const VALID: usize = Cqe::VALID_WORD / size_of::<u64>();
const REST: usize = 2;

/// Memory of a ring of completions that the adapter writes: a send completion queue, or receive
/// queue 1, whose slots start with a completion.
pub trait CompletionMemory {
    /// One slot.
    type Entry<'a>: CompletionEntry
    where
        Self: 'a;

    /// Returns slot `index`.
    fn entry(&self, index: usize) -> Self::Entry<'_>;

    /// Orders the read of the valid word before the reads that follow.
    fn read_barrier(&self);
}

/// The completion of a send work request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentWork {
    /// Identifier of the work request.
    pub wr_id: u64,
    /// Status that the adapter reports.
    pub status: CqeStatus,
}

/// Reads the completions of a ring in order.
#[derive(Clone, Copy, Debug)]
pub struct CompletionReader {
    position: Consumer,
}

impl CompletionReader {
    /// Returns a reader at the first slot of an empty ring of `slots` slots.
    pub const fn new(slots: usize) -> Self {
        Self {
            position: Consumer::new(slots),
        }
    }

    /// Returns the index of the slot that is read next.
    #[cfg(test)]
    pub const fn index(&self) -> usize {
        self.position.index
    }

    /// Checks whether there is a completion to read.
    #[inline]
    pub fn has_next(&self, memory: &impl CompletionMemory) -> bool {
        let word = memory.entry(self.position.index).word(VALID);
        self.position.toggle.matches(Cqe::toggle_of_word(word))
    }

    /// Returns the next slot and its valid word, and moves to the slot behind it. Returns `None` if
    /// the slot holds no new completion.
    #[inline]
    fn take<'a, M: CompletionMemory>(&mut self, memory: &'a M) -> Option<(M::Entry<'a>, u64)> {
        let entry = memory.entry(self.position.index);
        let word = entry.word(VALID);
        if !self.position.toggle.matches(Cqe::toggle_of_word(word)) {
            return None;
        }
        memory.read_barrier();
        self.position.advance();
        Some((entry, word))
    }

    /// Reads the next completion and the slot that holds it, or returns `None` if there is no
    /// completion.
    ///
    /// The adapter does not write the slot again before its credit is returned.
    #[inline]
    pub fn next<'a, M: CompletionMemory>(
        &mut self,
        memory: &'a M,
    ) -> Option<(M::Entry<'a>, Completion)> {
        let (entry, word) = self.take(memory)?;
        let completion = Completion::new([entry.word(WR_ID), word, entry.word(REST)]);
        Some((entry, completion))
    }

    /// Reads the fields of the next completion that matter in a send completion queue, or returns
    /// `None` if there is no completion.
    #[inline]
    pub fn next_sent(&mut self, memory: &impl CompletionMemory) -> Option<SentWork> {
        let (entry, word) = self.take(memory)?;
        Some(SentWork {
            wr_id: entry.word(WR_ID),
            status: Cqe::status_of_word(word),
        })
    }
}

/// Memory of an event queue, which the adapter writes.
pub trait EventMemory {
    /// Reads the big-endian doubleword number `index`, with one volatile access.
    fn event(&self, index: usize) -> u64;
}

/// Reads the entries of an event queue in order.
#[derive(Clone, Copy, Debug)]
pub struct EventReader {
    position: Consumer,
}

impl EventReader {
    /// Returns a reader at the first slot of an empty queue of `slots` slots.
    pub const fn new(slots: usize) -> Self {
        Self {
            position: Consumer::new(slots),
        }
    }

    /// Reads the next entry, to be unpacked as an [`eqe::Eqe`] or [`eqe::NeqEntry`]. Returns `None`
    /// if there is no new entry.
    pub fn next(&mut self, memory: &impl EventMemory) -> Option<u64> {
        let entry = memory.event(self.position.index);
        if !self.position.toggle.matches(eqe::VALID.is_set(entry)) {
            return None;
        }
        self.position.advance();
        Some(entry)
    }
}
