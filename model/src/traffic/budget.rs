// SPDX-License-Identifier: GPL-2.0

//! Limits of a turn of work.

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
    /// Number of frames in both directions. A work request without a frame counts as one.
    pub(crate) frames: usize,
    /// Number of bytes that are copied: read for sending, cut into segments, or delivered.
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

    /// Checks whether this is as much as a turn may have.
    pub(crate) const fn is_a_turn(self) -> bool {
        self.reaches(TURN)
    }

    /// Checks whether work of this amount has reached a limit.
    const fn reaches(self, limit: Self) -> bool {
        self.frames >= limit.frames || self.bytes >= limit.bytes
    }
}

/// Limit of the work before others get their turn, and the work done so far. The last packet may
/// exceed the limit of bytes.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: Amount,
    spent: Amount,
}

impl Budget {
    /// Returns the budget of one direction of a queue pair in a turn of work of which `done` is
    /// already done.
    pub(crate) fn quantum(done: Amount) -> Self {
        Self {
            limit: QUANTUM.min(TURN.minus(done)),
            spent: Amount::default(),
        }
    }

    /// Returns the budget of a whole turn.
    pub(crate) const fn turn() -> Self {
        Self {
            limit: TURN,
            spent: Amount {
                frames: 0,
                bytes: 0,
            },
        }
    }

    /// Returns a budget without limit, for work that something else limits.
    pub(crate) const fn unlimited() -> Self {
        Self {
            limit: Amount {
                frames: usize::MAX,
                bytes: usize::MAX,
            },
            ..Self::turn()
        }
    }

    /// Returns the work done so far.
    pub(crate) const fn spent(&self) -> Amount {
        self.spent
    }

    pub(crate) const fn is_used_up(&self) -> bool {
        self.spent.reaches(self.limit)
    }

    /// Counts bytes that were copied.
    pub(crate) const fn spend(&mut self, bytes: usize) {
        self.spent.bytes = self.spent.bytes.saturating_add(bytes);
    }

    /// Counts a frame that is finished, and `bytes` more bytes that were copied for it.
    pub(crate) const fn spend_frame(&mut self, bytes: usize) {
        self.spent.frames = self.spent.frames.saturating_add(1);
        self.spend(bytes);
    }
}
