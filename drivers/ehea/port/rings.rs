// SPDX-License-Identifier: GPL-2.0

//! Queue memory as the queue code sees it.

use crate::{
    abi::cqe::Cqe,
    kernel_ext::page::{
        QueueMemory,
        Window, //
    },
    queue::{
        CompletionEntry,
        CompletionMemory,
        OutOfSlot,
        Slot, //
    },
};
use core::mem::offset_of;
use kernel::sync::{
    barrier,
    Arc, //
};
use zerocopy::{
    byteorder::big_endian::U64,
    FromBytes,
    IntoBytes, //
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

/// A slot of a [`CompletionRing`]; reads as 0 if there is no such slot.
pub(super) struct CompletionSlot<'a>(Option<Window<'a>>);

impl CompletionSlot<'_> {
    #[inline]
    fn read<T: FromBytes + IntoBytes>(&self, offset: usize) -> T {
        self.0
            .and_then(|entry| entry.read(offset).ok())
            .unwrap_or_else(T::new_zeroed)
    }
}

impl CompletionEntry for CompletionSlot<'_> {
    #[inline]
    fn valid_word(&self) -> u64 {
        self.read::<U64>(Cqe::VALID_WORD).get()
    }

    #[inline]
    fn wr_id(&self) -> u64 {
        self.read::<U64>(offset_of!(Cqe, wr_id)).get()
    }

    #[inline]
    fn completion(&self) -> Cqe {
        self.read(0)
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
