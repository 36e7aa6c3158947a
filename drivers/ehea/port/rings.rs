// SPDX-License-Identifier: GPL-2.0

//! Queue memory as the queue code sees it.

use crate::{
    abi::cqe::Cqe,
    kernel_ext::page::{
        QueueMemory,
        Window, //
    },
    queue::{
        CompletionMemory,
        OutOfSlot,
        Slot, //
    },
};
use kernel::sync::{
    barrier,
    Arc, //
};

impl Slot for Window<'_> {
    #[inline]
    fn size(&self) -> usize {
        Window::len(self)
    }

    #[inline]
    fn write(&mut self, offset: usize, bytes: &[u8]) -> core::result::Result<(), OutOfSlot> {
        self.write_bytes(offset, bytes).map_err(|_| OutOfSlot)
    }
}

/// A ring of completions: a send completion queue or RQ1.
pub(super) struct CompletionRing(pub(super) Arc<QueueMemory>);

impl CompletionMemory for CompletionRing {
    #[inline]
    fn valid_byte(&self, index: usize) -> u8 {
        let mut byte = [0];
        if let Some(entry) = self.0.entry(index) {
            // The offset is inside of every entry.
            let _ = entry.read_bytes(Cqe::VALID_OFFSET, &mut byte);
        }
        let [byte] = byte;
        byte
    }

    #[inline]
    fn read_barrier(&self) {
        barrier::dma_mb(barrier::Read);
    }

    #[inline]
    fn completion(&self, index: usize) -> Cqe {
        self.0
            .entry(index)
            .and_then(|entry| entry.read(0).ok())
            .unwrap_or_default()
    }
}
