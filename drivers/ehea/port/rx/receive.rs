// SPDX-License-Identifier: GPL-2.0

//! Reception.
//!
//! The adapter reports each frame in the next slot of RQ1. A small frame is in that slot, others
//! are in a buffer of RQ2 or RQ3. A buffer that is used up is replaced at once by a new one. If
//! there is no memory for a new one, the frame is copied, and its buffer is posted again, so that
//! the rings never run dry. In a CMO partition, all frames are copied, and buffers stay with the
//! driver ([`charged`](super::charged)).

use super::{
    buffers::{
        BufferMemory,
        BufferRing,
        Buffers,
        NewChunks,
        Spares, //
    },
    charged::ChargedBuffers,
    ring::{
        Lost,
        Ring, //
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
    firmware::{
        Qp,
        QpRegisters, //
    },
    kernel_ext::net::{
        napi::PollContext,
        skbuff::{
            RxChecksum,
            RxMeta, //
        },
        Features, //
    },
    port::{
        context::Context,
        counters::QueueCounters,
        moving::ExchangeError,
        rings::{
            CompletionRing,
            CompletionSlot, //
        }, //
    },
    queue::{
        self,
        parse_received,
        BadFrame,
        CompletionReader,
        Location,
        PostedBuffers,
        ReceiveError,
        Received,
        ReceivedFrame, //
    },
    shared::{
        Map,
        Translation, //
    },
    trace::Direction, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Receiving side of a queue pair.
pub(crate) struct Receiver {
    reader: CompletionReader,
    rq1: CompletionRing,
    registers: Arc<QpRegisters>,
    frames: Frames,
}

/// Frames that RQ1 reports, with the buffers in which they are.
struct Frames {
    rq2: BufferRing,
    rq3: BufferRing,
    /// Map and key for work requests.
    translation: Translation,
    counters: Arc<QueueCounters>,
    reporting: Reporting,
    ctx: Arc<Context>,
}

/// Facts about received frames for the stack that are not in their completions.
#[derive(Clone, Copy)]
struct Reporting {
    /// Number of the receive queue.
    queue: u16,
    /// True if the stack wants to know what the adapter says of checksums.
    checksums: bool,
}

impl Receiver {
    /// Makes the receiving side of `qp`, without buffers. Its buffers will be of `memory`.
    pub(crate) fn new(
        ctx: &Arc<Context>,
        queue: u16,
        counters: &Arc<QueueCounters>,
        qp: &Qp,
        translation: Translation,
        memory: &BufferMemory,
    ) -> Result<Self> {
        let [rq1, rq2, rq3] = qp.receive_memory();
        let geometry = qp.geometry();
        let rq2 = Ring::new(
            rq2.clone(),
            PostedBuffers::rq2(&geometry.rq2, BufferKind::RQ2.len),
        );
        let rq3 = Ring::new(
            rq3.clone(),
            PostedBuffers::rq3(&geometry.rq3, BufferKind::RQ3.len),
        );
        Ok(Self {
            reader: CompletionReader::new(rq1.entries()),
            rq1: CompletionRing(rq1.clone()),
            registers: qp.registers().clone(),
            frames: Frames {
                rq2: BufferRing::rq2(rq2, memory)?,
                rq3: BufferRing::rq3(rq3, memory)?,
                translation,
                counters: counters.clone(),
                reporting: Reporting {
                    queue,
                    checksums: true,
                },
                ctx: ctx.clone(),
            },
        })
    }

    /// Allocates buffers for all slots and writes their work requests, outside of CMO. Process
    /// context.
    pub(crate) fn fill(&mut self) -> Result {
        let frames = &mut self.frames;
        frames.rq2.fill(frames.ctx.dev(), &frames.translation)?;
        frames.rq3.fill(frames.ctx.dev(), &frames.translation)
    }

    /// Writes work requests for mapped buffers.
    ///
    /// # Errors
    ///
    /// Some buffers are not in the memory map, or there is no room for them. They are dropped.
    pub(crate) fn add(&mut self, chunks: &mut NewChunks) -> Result {
        let frames = &mut self.frames;
        frames.rq2.add(&mut chunks.rq2, &frames.translation)?;
        frames.rq3.add(&mut chunks.rq3, &frames.translation)
    }

    /// Takes all buffers of RQ2 and RQ3 out. Nothing can be received any more.
    pub(crate) fn take_buffers(&mut self) -> [Buffers; 2] {
        let frames = &mut self.frames;
        [frames.rq2.buffers.take_all(), frames.rq3.buffers.take_all()]
    }

    /// Announces all slots and buffers of a new queue pair to the adapter.
    pub(crate) fn start(&mut self, qp: &Qp) {
        // CAST: A ring has at most 2^15 slots.
        self.registers
            .add_rq1(qp.geometry().rq1.inline_capacity() as u16);
        self.announce();
    }

    /// Announces buffers that were posted to the adapter.
    pub(crate) fn announce(&mut self) {
        let count = self.frames.rq2.ring.take_unannounced();
        if count > 0 {
            self.registers.add_rq2(count);
        }
        let count = self.frames.rq3.ring.take_unannounced();
        if count > 0 {
            self.registers.add_rq3(count);
        }
    }

    /// Finds out which buffers of RQ2 and RQ3 are not in `map`, for which `spares` are.
    pub(crate) fn look_up(&self, map: &Map, spares: &mut Spares) {
        self.frames.rq2.look_up(map, &mut spares.rq2);
        self.frames.rq3.look_up(map, &mut spares.rq3);
    }

    /// Makes the receiver use another memory map. Returns the one before. The queue pair must
    /// pause.
    ///
    /// # Errors
    ///
    /// There are not enough spares, because buffers were posted after they had been counted.
    /// Nothing has changed then.
    pub(crate) fn exchange(
        &mut self,
        translation: Translation,
        spares: &mut Spares,
    ) -> core::result::Result<Translation, ExchangeError<Error>> {
        self.look_up(&translation.map, spares);
        if !spares.suffice() {
            return Err(ExchangeError::Unchanged(Error::Kernel(EAGAIN)));
        }
        let frames = &mut self.frames;
        let rq2 = frames.rq2.rewrite(&translation, &mut spares.rq2);
        rq2.and_then(|()| frames.rq3.rewrite(&translation, &mut spares.rq3))
            .map_err(ExchangeError::Broken)?;
        Ok(core::mem::replace(
            &mut self.frames.translation,
            translation,
        ))
    }

    /// Receives up to `budget` frames. Returns their number.
    ///
    /// # Errors
    ///
    /// The queue pair cannot be used any more.
    pub(crate) fn poll(
        &mut self,
        ctx: &PollContext<'_>,
        budget: u32,
    ) -> core::result::Result<u32, ReceiveError> {
        let mut done = 0;
        let mut bytes = 0;
        let mut packets = 0;
        let mut result = Ok(());
        let features = self.frames.ctx.dev().features();
        self.frames.reporting.checksums = features.contains(Features::RXCSUM);
        while done < budget {
            let Some((entry, completion)) = self.reader.next(&self.rq1) else {
                break;
            };
            // None of these wraps: a budget is small.
            done = done.wrapping_add(1);
            result = self.frames.deliver(ctx, &entry, &completion).map(|len| {
                bytes = len.wrapping_add(bytes);
                packets = u64::from(len > 0).wrapping_add(packets);
            });
            if result.is_err() {
                break;
            }
        }
        if done > 0 {
            self.frames.counters.rx_packets.add_alone(packets);
            self.frames.counters.rx_bytes.add_alone(bytes);
            // CAST: A budget is far below.
            self.registers.add_rq1(done as u16);
            self.announce();
        }
        result.map(|()| done)
    }

    /// Returns where the next completion will be.
    #[inline]
    pub(crate) fn position(&self) -> CompletionReader {
        self.reader
    }
}

impl Frames {
    /// Hands the frame of the completion in `entry` to the stack. Returns the length of the frame,
    /// or 0 if it was dropped.
    #[inline]
    fn deliver(
        &mut self,
        ctx: &PollContext<'_>,
        entry: &CompletionSlot<'_>,
        completion: &Completion,
    ) -> core::result::Result<u64, ReceiveError> {
        let Received { location, frame } =
            parse_received(completion, &self.rq2.ring.posted, &self.rq3.ring.posted)?;
        let corrupt = |_| ReceiveError::Corrupt {
            wr_id: completion.wr_id(),
        };
        let (BufferRing { ring, buffers }, index) = match location {
            Location::Inline => return Ok(self.deliver_inline(ctx, entry, frame)),
            Location::Rq2(index) => (&mut self.rq2, index),
            Location::Rq3(index) => (&mut self.rq3, index),
        };
        let free = match buffers {
            Buffers::Free(free) => free,
            Buffers::Charged(charged) => {
                let copying = Copying {
                    translation: &self.translation,
                    counters: &self.counters,
                    reporting: self.reporting,
                };
                return copying
                    .deliver(ctx, ring, charged, index, frame)
                    .map_err(corrupt);
            }
        };
        let buffer = free.take(index).ok_or(Lost).map_err(corrupt)?;
        ring.posted.used();

        let frame = match frame {
            Ok(frame) => frame,
            Err(bad) => {
                count_bad(&self.counters, bad);
                free.repost(ring, buffer, &self.translation)
                    .map_err(corrupt)?;
                return Ok(0);
            }
        };
        let meta = meta(&frame, self.reporting, &self.counters);
        let delivered = match ctx.alloc(ring.posted.buffer_len()) {
            Some(new) => match free.address(&new, &self.translation.map) {
                Some(address) => {
                    free.post(ring, new, address, self.translation.key)
                        .map_err(corrupt)?;
                    ctx.receive(buffer, &meta)
                }
                None => {
                    self.counters.rx_translation_misses.inc();
                    self.ctx.report_miss(new.address(), Direction::Receive);
                    drop(new);
                    self.counters.rx_copied.inc();
                    let delivered = ctx.receive_copy_of(&buffer, &meta);
                    free.repost(ring, buffer, &self.translation)
                        .map_err(corrupt)?;
                    delivered
                }
            },
            None => {
                // There may be memory for the frame, if not for a whole buffer.
                self.counters.rx_copied.inc();
                let delivered = ctx.receive_copy_of(&buffer, &meta);
                free.repost(ring, buffer, &self.translation)
                    .map_err(corrupt)?;
                delivered
            }
        };
        Ok(count(&self.counters, delivered, &frame))
    }

    /// Hands a frame that is in the slot of RQ1 to the stack.
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
            Some(window) => ctx.receive_copy(
                window,
                Cqe::INLINE_DATA,
                &meta(&frame, self.reporting, &self.counters),
            ),
            None => Err(EINVAL),
        };
        count(&self.counters, delivered, &frame)
    }
}

/// Frame in a mapped buffer, with everything that is needed to copy it.
struct Copying<'a> {
    translation: &'a Translation,
    counters: &'a QueueCounters,
    reporting: Reporting,
}

impl Copying<'_> {
    /// Hands a copy of the frame to the stack, and posts the buffer again or gives it back.
    #[cold]
    fn deliver(
        &self,
        ctx: &PollContext<'_>,
        ring: &mut Ring,
        buffers: &mut ChargedBuffers,
        index: usize,
        frame: core::result::Result<ReceivedFrame, BadFrame>,
    ) -> core::result::Result<u64, Lost> {
        let id = buffers.take(index).ok_or(Lost)?;
        ring.posted.used();
        let bytes = match &frame {
            Ok(frame) => {
                let window = buffers.window(id).ok_or(Lost)?;
                let delivered =
                    ctx.receive_copy(window, 0, &meta(frame, self.reporting, self.counters));
                count(self.counters, delivered, frame)
            }
            Err(bad) => {
                count_bad(self.counters, *bad);
                0
            }
        };
        if !buffers.done(ring, id, self.translation)? {
            self.counters.cmo_rx_returned.inc();
        }
        Ok(bytes)
    }
}

#[inline]
fn count(counters: &QueueCounters, delivered: kernel::error::Result, frame: &ReceivedFrame) -> u64 {
    match delivered {
        Ok(()) => frame.len as u64,
        Err(_) => {
            counters.rx_dropped.inc();
            0
        }
    }
}

#[cold]
fn count_bad(counters: &QueueCounters, bad: BadFrame) {
    match bad {
        BadFrame::Crc => counters.rx_crc_errors.inc(),
        BadFrame::Length => counters.rx_length_errors.inc(),
    }
}

/// Counts a frame with a wrong checksum, which the stack has to check itself.
#[cold]
fn unverified(counters: &QueueCounters) -> RxChecksum {
    counters.rx_checksum_errors.inc();
    RxChecksum::None
}

#[inline]
fn meta(frame: &ReceivedFrame, reporting: Reporting, counters: &QueueCounters) -> RxMeta {
    RxMeta {
        // CAST: Fits a buffer.
        len: frame.len as u32,
        checksum: match frame.checksum() {
            queue::RxChecksum::Wrong => unverified(counters),
            _ if !reporting.checksums => RxChecksum::None,
            queue::RxChecksum::None => RxChecksum::None,
            queue::RxChecksum::Verified => RxChecksum::Unnecessary,
            // The stack wants the sum itself, not its complement, of what stands in memory.
            queue::RxChecksum::Complete(checksum) => RxChecksum::Complete(!checksum.to_be()),
        },
        vlan: frame.vlan(),
        queue: reporting.queue,
    }
}
