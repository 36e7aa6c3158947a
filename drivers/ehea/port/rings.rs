// SPDX-License-Identifier: GPL-2.0

//! Queue memory as the layer `queue` sees it.

use crate::{
    firmware::CqRegisters,
    kernel_ext::{
        dma::QueueMemory,
        page::Window, //
    },
    queue::{
        CompletionEntry,
        CompletionMemory,
        CompletionReader,
        OutOfSlot,
        Slot, //
    }, //
};
use core::mem::size_of;
use kernel::sync::{
    barrier,
    Arc, //
};

impl Slot for Window<'_> {
    #[inline(always)]
    fn write(&mut self, offset: usize, bytes: &[u8]) -> core::result::Result<(), OutOfSlot> {
        self.write_bytes(offset, bytes).map_err(|_| OutOfSlot)
    }

    #[inline]
    fn write_words<const N: usize>(
        &mut self,
        offset: usize,
        words: [u64; N],
    ) -> core::result::Result<(), OutOfSlot> {
        Window::write_words(self, offset, words).map_err(|_| OutOfSlot)
    }
}

/// Ring of completions: a send completion queue or RQ1.
pub(super) struct CompletionRing(pub(super) Arc<QueueMemory>);

/// Ring of completions, and the registers of its completion queue.
pub(super) struct ArmedRing {
    ring: CompletionRing,
    registers: Arc<CqRegisters>,
}

impl ArmedRing {
    /// Returns the ring in `memory`, of which the completion queue with `registers` interrupts.
    pub(super) fn new(memory: &Arc<QueueMemory>, registers: &Arc<CqRegisters>) -> Self {
        Self {
            ring: CompletionRing(memory.clone()),
            registers: registers.clone(),
        }
    }

    /// Arms the interrupt for the next completion. Returns whether there is one at `position`.
    #[inline]
    pub(super) fn arm(&self, position: &CompletionReader) -> bool {
        self.registers.arm();
        position.has_next(&self.ring)
    }
}

/// Slot of a [`CompletionRing`]. A slot that does not exist reads as 0.
pub(super) struct CompletionSlot<'a>(Option<Window<'a>>);

impl<'a> CompletionSlot<'a> {
    /// Returns the memory of the slot.
    #[inline]
    pub(super) fn window(&self) -> Option<Window<'a>> {
        self.0
    }
}

impl CompletionEntry for CompletionSlot<'_> {
    #[inline]
    fn word(&self, index: usize) -> u64 {
        let word = self.0.and_then(|entry| {
            let [word] = entry
                .read_words(index.wrapping_mul(size_of::<u64>()))
                .ok()?;
            Some(word)
        });
        word.unwrap_or(0)
    }
}

impl CompletionMemory for CompletionRing {
    type Entry<'a> = CompletionSlot<'a>;

    #[inline]
    fn entry(&self, index: usize) -> CompletionSlot<'_> {
        CompletionSlot(self.0.entry(index))
    }

    #[inline]
    fn read_barrier(&self) {
        barrier::dma_mb(barrier::Read);
    }
}
