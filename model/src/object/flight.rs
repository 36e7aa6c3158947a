// SPDX-License-Identifier: GPL-2.0

//! What a queue pair has begun to write to memory, and what arrives there later.

use ehea_abi::cqe::Cqe;

/// Something under way to memory.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A received frame and its completion.
    Received {
        /// Pieces of guest memory, address and bytes, that the frame goes to; none if it goes into the slot.
        buffer: Vec<(u64, usize)>,
        /// Keys of the memory regions of these.
        keys: Vec<u32>,
        /// With CRC.
        frame: Vec<u8>,
        /// Address of the slot of RQ1, and the toggle bit of its lap.
        slot: (u64, bool),
        completion: Cqe,
    },
    /// The completion of a send work request.
    Sent(Cqe),
}

impl Arrival {
    /// Bytes of the frame.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Received { frame, .. } => frame.len(),
            Self::Sent(_) => 0,
        }
    }
}

/// Something that arrives at a time of the machine's clock.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) due: u64,
    pub(crate) arrival: Arrival,
}
