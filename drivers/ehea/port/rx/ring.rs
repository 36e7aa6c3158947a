// SPDX-License-Identifier: GPL-2.0

//! Ring of RQ2 or RQ3, for buffers of either kind.

use crate::{
    kernel_ext::dma::QueueMemory,
    queue::PostedBuffers,
    shared::Translation, //
};
use kernel::sync::Arc;

/// Failure to post a buffer, which only an adapter that breaks its rules can cause.
pub(crate) struct Lost;

/// Ring of RQ2 or RQ3.
pub(crate) struct Ring {
    memory: Arc<QueueMemory>,
    pub(crate) posted: PostedBuffers,
    /// Number of buffers that were posted and not announced to the adapter.
    unannounced: u16,
}

impl Ring {
    /// Makes an empty ring in `memory`.
    pub(crate) fn new(memory: Arc<QueueMemory>, posted: PostedBuffers) -> Self {
        Self {
            memory,
            posted,
            unannounced: 0,
        }
    }

    /// Returns the number of slots.
    pub(crate) fn slots(&self) -> usize {
        self.memory.entries()
    }

    /// Posts the buffer at the adapter address `address` in the next slot.
    #[inline(always)]
    pub(crate) fn post(&mut self, address: u64, key: u32) -> core::result::Result<(), Lost> {
        let mut slot = self.memory.entry(self.posted.next_slot()).ok_or(Lost)?;
        self.posted
            .post(&mut slot, address, key)
            .map_err(|_| Lost)?;
        // Not more than the ring has slots, 2^15.
        self.unannounced = self.unannounced.wrapping_add(1);
        Ok(())
    }

    /// Writes the work request in slot `index` again.
    pub(crate) fn rewrite(
        &self,
        index: usize,
        address: u64,
        translation: &Translation,
    ) -> core::result::Result<(), Lost> {
        let mut slot = self.memory.entry(index).ok_or(Lost)?;
        self.posted
            .rewrite(&mut slot, index, address, translation.key)
            .map_err(|_| Lost)
    }

    /// Returns the number of buffers that were posted and not announced. They count as announced
    /// from now on.
    pub(crate) fn take_unannounced(&mut self) -> u16 {
        core::mem::take(&mut self.unannounced)
    }
}
