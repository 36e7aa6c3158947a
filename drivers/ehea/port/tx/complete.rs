// SPDX-License-Identifier: GPL-2.0

//! Completion of what was sent.
//!
//! A transmit queue has two sides. The [`Sender`](super::send::Sender) posts frames; it is protected
//! by the lock of the transmit queue. The [`Completer`] takes note of what was sent; it belongs to
//! the NAPI instance. They share the [`SendRing`].

use crate::{
    firmware::{
        CqRegisters,
        Result, //
    },
    kernel_ext::{
        dma::MappingConsumer,
        net::{
            napi::PollContext,
            skbuff::SkbSlot, //
        },
        page::QueueMemory, //
    },
    port::{
        rings::CompletionRing,
        QueueCounters, //
    },
    queue::{
        CompletionReader,
        SendCompleter,
        SendError,
        SendProgress,
        WorkQueue, //
    },
};
use core::sync::atomic::{
    AtomicU64,
    AtomicU8,
    Ordering::Relaxed, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// What is known of the frame in a slot of the send queue, if the adapter reads it. Written before
/// the frame is posted, read after it was completed.
pub(crate) struct SendSlot {
    /// The buffer, if the adapter reads from it.
    pub(crate) skb: SkbSlot,
    /// Bytes posted that the adapter reads, until now, with this frame.
    pub(crate) bytes: AtomicU64,
    /// What the frame has besides: see [`Extra`].
    pub(crate) extra: AtomicU8,
}

/// What a frame has besides its buffer: nothing, as a rule.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extra(u8);

impl Extra {
    /// Nothing.
    pub(crate) const NONE: Self = Self(0);

    /// Set if the rest is a number of mappings, else it is one of bounce slots.
    const MAPPINGS: u8 = 1 << 7;

    /// That many bounce slots, instead of the buffer.
    pub(crate) const fn bounces(slots: u8) -> Self {
        Self(slots & !Self::MAPPINGS)
    }

    /// That many mappings, of the buffer.
    pub(crate) const fn mappings(count: u8) -> Self {
        Self(count | Self::MAPPINGS)
    }

    /// Whether there is something.
    #[inline]
    pub(crate) const fn is_some(self) -> bool {
        self.0 != 0
    }

    /// Bounce slots, if the frame is in some.
    pub(crate) const fn bounce_slots(self) -> Option<u8> {
        if self.0 != 0 && self.0 & Self::MAPPINGS == 0 {
            Some(self.0)
        } else {
            None
        }
    }

    /// How many mappings the frame has.
    pub(crate) const fn mapping_count(self) -> u8 {
        if self.0 & Self::MAPPINGS != 0 {
            self.0 & !Self::MAPPINGS
        } else {
            0
        }
    }

    /// As it is kept in a slot.
    #[inline]
    pub(crate) const fn pack(self) -> u8 {
        self.0
    }
}

/// What both sides of a send queue share.
pub(crate) struct SendRing {
    pub(crate) slots: KVec<SendSlot>,
    pub(crate) progress: SendProgress,
}

impl SendRing {
    pub(crate) fn new(queue: &WorkQueue) -> Result<Self> {
        let mut slots = KVec::with_capacity(queue.slots(), GFP_KERNEL)?;
        for _ in 0..queue.slots() {
            let slot = SendSlot {
                skb: SkbSlot::new(),
                bytes: AtomicU64::new(0),
                extra: AtomicU8::new(0),
            };
            slots.push(slot, GFP_KERNEL)?;
        }
        Ok(Self {
            slots,
            progress: SendProgress::new(queue),
        })
    }
}

/// The completing side of a transmit queue.
pub(crate) struct Completer {
    completer: SendCompleter,
    reader: CompletionReader,
    completions: CompletionRing,
    registers: Arc<CqRegisters>,
    ring: Arc<SendRing>,
    counters: Arc<QueueCounters>,
    /// The number of the transmit queue.
    queue: u16,
    /// Bytes completed.
    bytes: u64,
    /// Bounce slots given back.
    bounces: u32,
    /// The mappings of frames, in a CMO partition.
    mappings: Option<MappingConsumer>,
}

impl Completer {
    pub(crate) fn new(
        queue: &WorkQueue,
        index: u16,
        memory: Arc<QueueMemory>,
        registers: Arc<CqRegisters>,
        ring: Arc<SendRing>,
        counters: Arc<QueueCounters>,
        mappings: Option<MappingConsumer>,
    ) -> Self {
        Self {
            completer: SendCompleter::new(queue),
            reader: CompletionReader::new(memory.entries()),
            completions: CompletionRing(memory),
            registers,
            ring,
            counters,
            queue: index,
            bytes: 0,
            bounces: 0,
            mappings,
        }
    }

    /// Gives back what a frame had besides its buffer.
    #[cold]
    fn release(&mut self, extra: Extra) {
        match extra.bounce_slots() {
            Some(slots) => {
                self.bounces = self.bounces.wrapping_add(slots.into());
                self.ring.progress.set_bounces_returned(self.bounces);
            }
            None => {
                if let Some(mappings) = &mut self.mappings {
                    mappings.unmap(extra.mapping_count().into());
                }
            }
        }
    }

    /// Handles all completions that there are.
    ///
    /// # Errors
    ///
    /// The queue pair can't be used any more.
    pub(crate) fn poll(&mut self, ctx: &PollContext<'_>) -> core::result::Result<(), SendError> {
        let before = self.bytes;
        // Neither wraps: a send queue has at most 2^15 slots.
        let (mut consumed, mut packets) = (0u32, 0u32);
        let mut result = Ok(());
        while let Some(sent) = self.reader.next_sent(&self.completions) {
            consumed = consumed.wrapping_add(1);
            // The sender fills in the slot before this.
            let posted = self.ring.progress.posted();
            let completion = match self.completer.complete(sent, posted) {
                Ok(completion) => completion,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            };
            if completion.error.is_some() {
                self.counters.tx_errors.inc();
            }
            if completion.immediate {
                continue;
            }
            let Some(slot) = self.ring.slots.get(completion.slot) else {
                continue;
            };
            packets = packets.wrapping_add(1);
            self.bytes = slot.bytes.load(Relaxed);
            let extra = Extra(slot.extra.load(Relaxed));
            // A mapping goes before the memory does.
            let skb = slot.skb.take();
            if extra.is_some() {
                self.release(extra);
            }
            if let Some(skb) = skb {
                ctx.consume(skb);
            }
        }
        if consumed == 0 {
            return result;
        }

        self.registers.consumed(consumed);
        // The sender reuses the slots after this.
        let progress = &self.ring.progress;
        let completed = self.completer.completed();
        progress.set_completed(completed);

        let bytes = self.bytes.wrapping_sub(before);
        let may_wake = progress.may_wake(completed);
        // CAST: Fewer bytes than a send queue of the longest frames has: 2^15 of 2^16 bytes.
        ctx.device()
            .tx_completed(self.queue, packets, bytes as u32, may_wake);
        result
    }

    /// Arms the interrupt; returns whether there is a completion.
    pub(crate) fn rearm(&mut self) -> bool {
        self.registers.arm();
        self.reader.has_next(&self.completions)
    }
}
