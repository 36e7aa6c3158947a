// SPDX-License-Identifier: GPL-2.0

//! Received frames on their way to the stack.
//!
//! A small frame is in the slot of RQ1 that reports it; others are in a buffer of RQ2 or RQ3. Each
//! buffer that is used up is replaced at once, by a new one if there is one, else by itself after its
//! frame was copied: the rings never run dry, whatever the state of memory. In a CMO partition all
//! frames are copied, and buffers stay ([`mapped`](super::charged)).

use super::{
    buffers::{
        repost,
        BufferRing,
        ChunkCounts,
        FreeBuffer,
        NewChunks,
        Spares, //
    },
    charged::{
        ChunkCount,
        Lost,
        MappedBuffers, //
    }, //
};
use crate::{
    abi::cqe::{
        Completion,
        Cqe, //
    },
    cmo::BufferKind,
    error::{
        Error,
        Result, //
    },
    kernel_ext::{
        dma::{
            Access,
            Unrestricted, //
        },
        net::{
            napi::PollContext,
            skbuff::{
                RxChecksum,
                RxMeta, //
            }, //
        },
        page::QueueMemory, //
    },
    port::{
        context::Context,
        counters::QueueCounters,
        rings::CompletionSlot, //
    },
    queue::{
        self,
        parse_received,
        BadFrame,
        Location,
        PostedBuffers,
        ReceiveError,
        Received,
        ReceivedFrame, //
    },
    shared::{
        AdapterAddress,
        Map,
        Translation, //
    },
    trace::Direction, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Hands the frames of a queue pair to the stack, and replaces their buffers.
pub(crate) struct Deliverer {
    ctx: Arc<Context>,
    /// The number of the receive queue.
    queue: u16,
    pub(crate) rq2: BufferRing,
    pub(crate) rq3: BufferRing,
    mapping: Translation,
    pub(crate) counters: Arc<QueueCounters>,
    /// None in a CMO partition.
    token: Option<Unrestricted>,
}

impl Deliverer {
    /// That of queue pair `queue`, with the memory of RQ2 and RQ3, which are empty.
    pub(crate) fn new(
        ctx: &Arc<Context>,
        queue: u16,
        rq2: (&Arc<QueueMemory>, PostedBuffers),
        rq3: (&Arc<QueueMemory>, PostedBuffers),
        mapping: Translation,
        counters: Arc<QueueCounters>,
        (access, counts): (&Access, Option<&ChunkCounts>),
    ) -> Result<Self> {
        let ring = |kind: BufferKind,
                    (memory, posted): (&Arc<QueueMemory>, PostedBuffers),
                    count: Option<&Arc<ChunkCount>>| {
            let mapped = match count {
                Some(count) => Some(MappedBuffers::new(
                    kind,
                    memory.entries(),
                    access,
                    count.clone(),
                )?),
                None => None,
            };
            BufferRing::new(memory.clone(), posted, mapped)
        };
        Ok(Self {
            ctx: ctx.clone(),
            queue,
            rq2: ring(BufferKind::RQ2, rq2, counts.map(|counts| &counts.rq2))?,
            rq3: ring(BufferKind::RQ3, rq3, counts.map(|counts| &counts.rq3))?,
            mapping,
            counters,
            token: access.unrestricted(),
        })
    }

    /// Writes work requests for all buffers that there should be, outside of CMO. Process context.
    pub(crate) fn fill(&mut self) -> Result {
        let Some(token) = self.token else {
            return Ok(());
        };
        self.rq2.fill(self.ctx.dev(), &self.mapping, token)?;
        self.rq3.fill(self.ctx.dev(), &self.mapping, token)
    }

    /// Writes work requests for mapped buffers.
    ///
    /// # Errors
    ///
    /// Some are not in the memory map, or there is no room for them; they are given up.
    pub(crate) fn add(&mut self, chunks: &mut NewChunks) -> Result {
        self.rq2.add(&mut chunks.rq2, &self.mapping)?;
        self.rq3.add(&mut chunks.rq3, &self.mapping)
    }

    /// How many buffers of RQ2 and RQ3 are not in `map`.
    pub(crate) fn unmapped(&self, map: &Map) -> (usize, usize) {
        (self.rq2.unmapped(map), self.rq3.unmapped(map))
    }

    /// Has the receiver use another memory map; returns the one before. The queue pair must pause.
    ///
    /// # Errors
    ///
    /// There are not enough spares, because buffers have been posted since they were counted. Nothing
    /// has changed then.
    pub(crate) fn exchange(
        &mut self,
        mapping: Translation,
        spares: &mut Spares,
    ) -> Result<Translation> {
        let (rq2, rq3) = self.unmapped(&mapping.map);
        if rq2 > spares.rq2.len() || rq3 > spares.rq3.len() {
            return Err(Error::Kernel(EAGAIN));
        }
        self.rq2.rewrite(&mapping, &mut spares.rq2)?;
        self.rq3.rewrite(&mapping, &mut spares.rq3)?;
        Ok(core::mem::replace(&mut self.mapping, mapping))
    }

    /// Hands the frame to the stack that the completion in `entry` is about; returns its length, or
    /// 0 if it was dropped.
    #[inline]
    pub(crate) fn deliver(
        &mut self,
        ctx: &PollContext<'_>,
        entry: &CompletionSlot<'_>,
        completion: &Completion,
    ) -> core::result::Result<u64, ReceiveError> {
        let Received { location, frame } =
            parse_received(completion, &self.rq2.posted, &self.rq3.posted)?;
        let corrupt = |_| ReceiveError::Corrupt {
            wr_id: completion.wr_id(),
        };
        let ring = match location {
            Location::Inline => return Ok(self.deliver_inline(ctx, entry, frame)),
            Location::Rq2(index) => (&mut self.rq2, index),
            Location::Rq3(index) => (&mut self.rq3, index),
        };
        let (ring, index) = ring;
        let buffer = ring.buffers.get_mut(index).and_then(Option::take);
        let Some(buffer) = buffer else {
            return self.deliver_mapped(ctx, location, frame).map_err(corrupt);
        };
        ring.posted.used();

        let frame = match frame {
            Ok(frame) => frame,
            Err(bad) => {
                count_bad(&self.counters, bad);
                repost(ring, buffer, &self.mapping).map_err(corrupt)?;
                return Ok(0);
            }
        };
        let meta = meta(&frame, self.queue);
        let len = ring.posted.buffer_len();
        let delivered = match ctx.alloc(len) {
            Some(new) => {
                let new = FreeBuffer {
                    buffer: new,
                    token: buffer.token,
                };
                match self.mapping.map.adapter_address(new.reach(len)) {
                    Some(address) => {
                        ring.post(new, address, self.mapping.key).map_err(corrupt)?;
                        ctx.receive(buffer.buffer, &meta)
                    }
                    None => {
                        self.counters.rx_translation_misses.inc();
                        self.ctx
                            .report_miss(new.buffer.address(), Direction::Receive);
                        drop(new);
                        self.counters.rx_copied.inc();
                        let delivered = ctx.receive_copy_of(&buffer.buffer, &meta);
                        repost(ring, buffer, &self.mapping).map_err(corrupt)?;
                        delivered
                    }
                }
            }
            None => {
                // There may be memory for the frame, if not for a whole buffer.
                self.counters.rx_copied.inc();
                let delivered = ctx.receive_copy_of(&buffer.buffer, &meta);
                repost(ring, buffer, &self.mapping).map_err(corrupt)?;
                delivered
            }
        };
        Ok(self.count(delivered, &frame))
    }

    /// Hands a copy of a frame to the stack that is in a mapped buffer, and posts the buffer again or
    /// gives it back.
    #[cold]
    fn deliver_mapped(
        &mut self,
        ctx: &PollContext<'_>,
        location: Location,
        frame: core::result::Result<ReceivedFrame, BadFrame>,
    ) -> core::result::Result<u64, Lost> {
        let (ring, index) = match location {
            Location::Inline => return Err(Lost),
            Location::Rq2(index) => (&mut self.rq2, index),
            Location::Rq3(index) => (&mut self.rq3, index),
        };
        // Outside of CMO there is no buffer of that number.
        let mapped = ring.mapped.as_mut().ok_or(Lost)?;
        let id = mapped.take(index).ok_or(Lost)?;
        ring.posted.used();
        let delivered = match &frame {
            Ok(frame) => {
                let window = mapped.window(id).ok_or(Lost)?;
                Some(ctx.receive_copy(window, 0, &meta(frame, self.queue)))
            }
            Err(bad) => {
                count_bad(&self.counters, *bad);
                None
            }
        };
        if mapped.done(&ring.memory, &mut ring.posted, id, &self.mapping)? {
            ring.unannounced = ring.unannounced.saturating_add(1);
        } else {
            self.counters.cmo_rx_returned.inc();
        }
        Ok(match (delivered, &frame) {
            (Some(delivered), Ok(frame)) => self.count(delivered, frame),
            _ => 0,
        })
    }

    /// Hands a frame to the stack that is in the slot of RQ1 itself.
    #[inline]
    fn deliver_inline(
        &self,
        ctx: &PollContext<'_>,
        entry: &CompletionSlot<'_>,
        frame: core::result::Result<ReceivedFrame, BadFrame>,
    ) -> u64 {
        let frame = match frame {
            Ok(frame) => frame,
            Err(bad) => {
                count_bad(&self.counters, bad);
                return 0;
            }
        };
        let delivered = match entry.window() {
            Some(window) => ctx.receive_copy(window, Cqe::INLINE_DATA, &meta(&frame, self.queue)),
            None => Err(EINVAL),
        };
        self.count(delivered, &frame)
    }

    #[inline]
    fn count(&self, delivered: kernel::error::Result, frame: &ReceivedFrame) -> u64 {
        match delivered {
            Ok(()) => frame.len as u64,
            Err(_) => {
                self.counters.rx_dropped.inc();
                0
            }
        }
    }
}

#[cold]
fn count_bad(counters: &QueueCounters, bad: BadFrame) {
    match bad {
        BadFrame::Crc => counters.rx_crc_errors.inc(),
        BadFrame::Checksum => counters.rx_checksum_errors.inc(),
        BadFrame::Length => counters.rx_length_errors.inc(),
    }
}

#[inline]
fn meta(frame: &ReceivedFrame, queue: u16) -> RxMeta {
    RxMeta {
        // CAST: Fits a buffer.
        len: frame.len as u32,
        checksum: match frame.checksum {
            queue::RxChecksum::None => RxChecksum::None,
            queue::RxChecksum::Verified => RxChecksum::Unnecessary,
            // The stack wants the sum itself, not its complement. As both are sums of what stands
            // in memory, the byte order doesn't matter.
            queue::RxChecksum::Complete(checksum) => {
                RxChecksum::Complete(!u16::from_ne_bytes(checksum))
            }
        },
        vlan: frame.vlan,
        queue,
    }
}
