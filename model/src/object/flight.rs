// SPDX-License-Identifier: GPL-2.0

//! Writes to memory that a queue pair has begun and that arrive later.

use ehea_abi::cqe::Cqe;

/// A write that is under way to memory.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A received frame and its completion.
    Received {
        /// Pieces of guest memory, address and bytes, that the frame goes to; empty if the frame
        /// goes into the slot.
        buffer: Vec<(u64, usize)>,
        /// Keys of the memory regions of these pieces.
        keys: Vec<u32>,
        /// The frame, with CRC.
        frame: Vec<u8>,
        /// Address of the slot of RQ1, and the toggle bit of its lap.
        slot: (u64, bool),
        completion: Cqe,
    },
    /// The completion of a send work request.
    Sent(Cqe),
}

impl Arrival {
    /// Returns the length of the frame in bytes; 0 if there is none.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Received { frame, .. } => frame.len(),
            Self::Sent(_) => 0,
        }
    }
}

/// A write that arrives at the virtual time `due`.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) due: u64,
    pub(crate) arrival: Arrival,
}
