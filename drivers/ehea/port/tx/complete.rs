// SPDX-License-Identifier: GPL-2.0

//! Completion of frames that were sent.
//!
//! A transmit queue has two sides. The [`Sender`](super::send::Sender) posts frames, protected by
//! the lock of the transmit queue. The [`Completer`] handles completions, and belongs to the NAPI
//! instance. Both share the [`SendRing`].

use super::ring::{
    Extra,
    SendRing, //
};
use crate::{
    firmware::{
        Cq,
        CqRegisters,
        Qp, //
    },
    kernel_ext::{
        dma::MappingConsumer,
        net::{
            napi::PollContext,
            queue::Completions, //
        }, //
    },
    port::{
        counters::QueueCounters,
        rings::CompletionRing, //
    },
    queue::{
        CompletionReader,
        SendCompleter,
        SendError, //
    }, //
};
use core::sync::atomic::Ordering::Relaxed;
use kernel::sync::Arc;

/// Completing side of a transmit queue.
pub(crate) struct Completer {
    completer: SendCompleter,
    reader: CompletionReader,
    completions: CompletionRing,
    registers: Arc<CqRegisters>,
    ring: Arc<SendRing>,
    counters: Arc<QueueCounters>,
    /// Queue of the stack, which is told what was sent.
    queue: Completions,
    /// Number of bytes completed.
    bytes: u64,
    /// Number of bounce slots given back.
    bounces: u32,
    /// Mappings of frames, in a CMO partition.
    mappings: Option<MappingConsumer>,
}

impl Completer {
    /// Makes the completing side of `qp`, which reports to `cq`. `completions` tells the stack.
    pub(crate) fn new(
        qp: &Qp,
        cq: &Cq,
        completions: Completions,
        ring: Arc<SendRing>,
        counters: &Arc<QueueCounters>,
        mappings: Option<MappingConsumer>,
    ) -> Self {
        Self {
            completer: SendCompleter::new(&qp.geometry().sq),
            reader: CompletionReader::new(cq.slots()),
            completions: CompletionRing(cq.memory().clone()),
            registers: cq.registers().clone(),
            ring,
            counters: counters.clone(),
            queue: completions,
            bytes: 0,
            bounces: 0,
            mappings,
        }
    }

    /// Gives back the bounce slots or mappings of a frame.
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
    /// The queue pair cannot be used any more.
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
            let extra = Extra::unpack(slot.extra.load(Relaxed));
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
        self.queue
            .completed(ctx.device(), packets, bytes as u32, may_wake);
        result
    }

    /// Returns the queue of the stack, which is told what was sent.
    pub(crate) fn queue(&mut self) -> &mut Completions {
        &mut self.queue
    }

    /// Returns where the next completion will be.
    #[inline]
    pub(crate) fn position(&self) -> CompletionReader {
        self.reader
    }
}
