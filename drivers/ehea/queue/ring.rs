// SPDX-License-Identifier: GPL-2.0

//! Positions in rings (eHEA ABI §6.1).

use crate::abi::cqe::Cqe;
use crate::abi::eqe;
use crate::abi::ring::Toggle;

/// A position in a ring that the driver writes: a send queue, or receive queue 2 or 3.
#[derive(Clone, Copy, Debug)]
pub struct Producer {
    index: usize,
    slots: usize,
}

impl Producer {
    /// The first slot of a ring with that many slots.
    pub const fn new(slots: usize) -> Self {
        Self { index: 0, slots }
    }

    /// The slot to write next.
    #[inline]
    pub const fn index(&self) -> usize {
        self.index
    }

    /// Slots of the ring.
    #[inline]
    pub const fn slots(&self) -> usize {
        self.slots
    }

    /// Goes on to the next slot.
    #[inline]
    pub fn advance(&mut self) {
        self.index = next(self.index, self.slots);
    }
}

/// The slot after `index` in a ring.
#[inline]
const fn next(index: usize, slots: usize) -> usize {
    let next = index.saturating_add(1);
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

/// Memory of a ring of completions that the adapter writes: a send completion queue, or receive
/// queue 1, whose slots start with a completion.
pub trait CompletionMemory {
    /// Reads the byte at [`Cqe::VALID_OFFSET`] of slot `index`, with a volatile access.
    fn valid_byte(&self, index: usize) -> u8;

    /// Orders the read of the valid byte before the reads that follow.
    fn read_barrier(&self);

    /// Copies the completion at the start of slot `index` out, with volatile accesses.
    fn completion(&self, index: usize) -> Cqe;
}

/// Reads the completions of a ring in order.
#[derive(Clone, Copy, Debug)]
pub struct CompletionReader {
    position: Consumer,
}

impl CompletionReader {
    /// Starts at the first slot of an empty ring with that many slots.
    pub const fn new(slots: usize) -> Self {
        Self {
            position: Consumer::new(slots),
        }
    }

    /// The slot that is read next.
    #[inline]
    pub const fn index(&self) -> usize {
        self.position.index
    }

    /// Whether there is a completion to read.
    #[inline]
    pub fn has_next(&self, memory: &impl CompletionMemory) -> bool {
        let valid = memory.valid_byte(self.position.index);
        self.position.toggle.matches(Cqe::toggle_of(valid))
    }

    /// Reads the next completion, if there is one. Returns the slot that it was in, too.
    ///
    /// The adapter may write the slot again once its credit is returned, not before.
    #[inline]
    pub fn next(&mut self, memory: &impl CompletionMemory) -> Option<(usize, Cqe)> {
        if !self.has_next(memory) {
            return None;
        }
        memory.read_barrier();
        let index = self.position.index;
        self.position.advance();
        Some((index, memory.completion(index)))
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
    /// Starts at the first slot of an empty queue with that many slots.
    pub const fn new(slots: usize) -> Self {
        Self {
            position: Consumer::new(slots),
        }
    }

    /// Reads the next entry, if there is one: an [`eqe::Eqe`] or [`eqe::NeqEntry`] to unpack.
    pub fn next(&mut self, memory: &impl EventMemory) -> Option<u64> {
        let entry = memory.event(self.position.index);
        if !self.position.toggle.matches(eqe::VALID.is_set(entry)) {
            return None;
        }
        self.position.advance();
        Some(entry)
    }
}
