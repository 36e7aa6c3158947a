// SPDX-License-Identifier: GPL-2.0

//! Frames that were received and wait for room in their queue pair (§7).

use std::collections::VecDeque;

/// Frames in the order of their arrival. The port accounts for their bytes.
#[derive(Debug, Default)]
pub(crate) struct Fifo {
    frames: VecDeque<Vec<u8>>,
}

impl Fifo {
    /// Returns the frame that is next.
    pub(crate) fn front(&self) -> Option<&[u8]> {
        self.frames.front().map(Vec::as_slice)
    }

    pub(super) fn push(&mut self, frame: Vec<u8>) {
        self.frames.push_back(frame);
    }

    pub(super) fn pop(&mut self) -> Option<Vec<u8>> {
        self.frames.pop_front()
    }
}
