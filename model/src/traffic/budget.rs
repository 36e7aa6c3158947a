// SPDX-License-Identifier: GPL-2.0

//! How much is done in a turn of work.

use crate::limits::{QUANTUM_BYTES, QUANTUM_FRAMES, TURN_BYTES, TURN_FRAMES};

const TURN: Amount = Amount {
    frames: TURN_FRAMES,
    bytes: TURN_BYTES,
};
const QUANTUM: Amount = Amount {
    frames: QUANTUM_FRAMES,
    bytes: QUANTUM_BYTES,
};

/// An amount of work.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Amount {
    /// Frames of both directions; a work request without a frame counts as one.
    pub(crate) frames: usize,
    /// Bytes that are copied: read for sending, cut into segments, delivered.
    pub(crate) bytes: usize,
}

impl Amount {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            frames: self.frames.saturating_add(other.frames),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    fn minus(self, other: Self) -> Self {
        Self {
            frames: self.frames.saturating_sub(other.frames),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    fn min(self, other: Self) -> Self {
        Self {
            frames: self.frames.min(other.frames),
            bytes: self.bytes.min(other.bytes),
        }
    }

    /// Whether it is as much as there may be in a turn.
    pub(crate) const fn is_a_turn(self) -> bool {
        self.reaches(TURN)
    }

    /// Whether work of this amount has reached a limit.
    const fn reaches(self, limit: Self) -> bool {
        self.frames >= limit.frames || self.bytes >= limit.bytes
    }
}

/// What may be done before others get their turn, and what was done. The last packet may exceed the
/// bytes.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: Amount,
    spent: Amount,
}

impl Budget {
    /// What one direction of a queue pair gets in a turn of work of which so much is done.
    pub(crate) fn quantum(done: Amount) -> Self {
        Self {
            limit: QUANTUM.min(TURN.minus(done)),
            spent: Amount::default(),
        }
    }

    /// A whole turn.
    pub(crate) const fn turn() -> Self {
        Self {
            limit: TURN,
            spent: Amount {
                frames: 0,
                bytes: 0,
            },
        }
    }

    /// Whatever there is, which is bounded by something else.
    pub(crate) const fn unlimited() -> Self {
        Self {
            limit: Amount {
                frames: usize::MAX,
                bytes: usize::MAX,
            },
            ..Self::turn()
        }
    }

    /// What was done.
    pub(crate) const fn spent(&self) -> Amount {
        self.spent
    }

    pub(crate) const fn is_used_up(&self) -> bool {
        self.spent.reaches(self.limit)
    }

    /// Bytes were copied.
    pub(crate) const fn spend(&mut self, bytes: usize) {
        self.spent.bytes = self.spent.bytes.saturating_add(bytes);
    }

    /// A frame is done with, after so many more bytes were copied.
    pub(crate) const fn spend_frame(&mut self, bytes: usize) {
        self.spent.frames = self.spent.frames.saturating_add(1);
        self.spend(bytes);
    }
}
