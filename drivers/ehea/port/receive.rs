// SPDX-License-Identifier: GPL-2.0

//! Reception.
//!
//! The adapter reports each frame in the next slot of RQ1. A small frame is in the slot itself;
//! others are in a buffer of RQ2 or RQ3. Each buffer that is used up is replaced at once, by a new
//! one if there is one, else by itself after its frame was copied: the rings never run dry, whatever
//! the state of memory. In a CMO partition all frames are copied, and buffers stay
//! ([`mapped`](super::mapped)).

use super::{
    buffers::{
        repost,
        BufferRing,
        ChunkCounts,
        FreeBuffer,
        Lost,
        Mapping,
        NewChunks,
        Spares, //
    },
    mapped::{
        ChunkCount,
        MappedBuffers, //
    },
    rings::CompletionRing,
    PortOperations,
    QueueCounters, //
};
use crate::{
    abi::cqe::Cqe,
    adapter::{
        AdapterAddress,
        Map, //
    },
    cmo::BufferKind,
    firmware::{
        CqRegisters,
        Error,
        Qp,
        QpRegisters,
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
            },
            NetDevice, //
        },
        page::QueueMemory, //
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
    trace::Direction, //
};
use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

/// The receiving side of a queue pair.
pub(super) struct Receiver {
    dev: ARef<NetDevice<PortOperations>>,
    /// The number of the receive queue.
    queue: u16,
    reader: CompletionReader,
    rq1: CompletionRing,
    rq2: BufferRing,
    rq3: BufferRing,
    registers: Arc<QpRegisters>,
    completion_registers: Arc<CqRegisters>,
    mapping: Mapping,
    counters: Arc<QueueCounters>,
    /// None in a CMO partition.
    token: Option<Unrestricted>,
}

impl Receiver {
    /// The receiving side of `qp`, without buffers.
    pub(super) fn new(
        dev: &NetDevice<PortOperations>,
        queue: u16,
        qp: &Qp,
        completion_registers: Arc<CqRegisters>,
        mapping: Mapping,
        counters: Arc<QueueCounters>,
        (access, counts): (&Access, Option<&ChunkCounts>),
    ) -> Result<Self> {
        let [rq1, rq2, rq3] = qp.receive_memory();
        let geometry = qp.geometry();
        let ring = |kind: BufferKind,
                    memory: &Arc<QueueMemory>,
                    posted: PostedBuffers,
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
            dev: dev.into(),
            queue,
            reader: CompletionReader::new(rq1.entries()),
            rq1: CompletionRing(rq1.clone()),
            rq2: ring(
                BufferKind::RQ2,
                rq2,
                PostedBuffers::rq2(&geometry.rq2, BufferKind::RQ2.len),
                counts.map(|counts| &counts.rq2),
            )?,
            rq3: ring(
                BufferKind::RQ3,
                rq3,
                PostedBuffers::rq3(&geometry.rq3, BufferKind::RQ3.len),
                counts.map(|counts| &counts.rq3),
            )?,
            registers: qp.registers().clone(),
            completion_registers,
            mapping,
            counters,
            token: access.unrestricted(),
        })
    }

    /// Writes work requests for all buffers that there should be, outside of CMO. Process context.
    pub(super) fn fill(&mut self) -> Result {
        let Some(token) = self.token else {
            return Ok(());
        };
        self.rq2.fill(&self.dev, &self.mapping, token)?;
        self.rq3.fill(&self.dev, &self.mapping, token)
    }

    /// Writes work requests for mapped buffers.
    ///
    /// # Errors
    ///
    /// Some are not in the memory map, or there is no room for them; they are given up.
    pub(super) fn add(&mut self, chunks: &mut NewChunks) -> Result {
        self.rq2.add(&mut chunks.rq2, &self.mapping)?;
        self.rq3.add(&mut chunks.rq3, &self.mapping)
    }

    /// Tells the adapter of all slots and buffers of a new queue pair.
    pub(super) fn start(&mut self, qp: &Qp) {
        // CAST: A ring has at most 2^15 slots.
        self.registers
            .add_rq1(qp.geometry().rq1.inline_capacity() as u16);
        self.announce();
    }

    /// Tells the adapter of buffers that it doesn't know of yet.
    pub(super) fn announce(&mut self) {
        let count = self.rq2.take_unannounced();
        if count > 0 {
            self.registers.add_rq2(count);
        }
        let count = self.rq3.take_unannounced();
        if count > 0 {
            self.registers.add_rq3(count);
        }
    }

    /// How many buffers of RQ2 and RQ3 are not in `map`.
    pub(super) fn unmapped(&self, map: &Map) -> (usize, usize) {
        (self.rq2.unmapped(map), self.rq3.unmapped(map))
    }

    /// Has the receiver use another memory map; returns the one before. The queue pair must pause.
    ///
    /// # Errors
    ///
    /// There are not enough spares, because buffers have been posted since they were counted. Nothing
    /// has changed then.
    pub(super) fn exchange(&mut self, mapping: Mapping, spares: &mut Spares) -> Result<Mapping> {
        let (rq2, rq3) = self.unmapped(&mapping.map);
        if rq2 > spares.rq2.len() || rq3 > spares.rq3.len() {
            return Err(Error::Kernel(EAGAIN));
        }
        self.rq2.rewrite(&mapping, &mut spares.rq2)?;
        self.rq3.rewrite(&mapping, &mut spares.rq3)?;
        Ok(core::mem::replace(&mut self.mapping, mapping))
    }

    /// Receives up to `budget` frames; returns how many there were.
    ///
    /// # Errors
    ///
    /// The queue pair can't be used any more.
    pub(super) fn poll(
        &mut self,
        ctx: &PollContext<'_>,
        budget: u32,
    ) -> core::result::Result<u32, ReceiveError> {
        let mut done = 0;
        let mut bytes = 0;
        let mut packets = 0;
        let mut result = Ok(());
        while done < budget {
            let Some((slot, cqe)) = self.reader.next(&self.rq1) else {
                break;
            };
            done += 1;
            result = self.receive(ctx, slot, &cqe).map(|len| {
                bytes += len;
                packets += u64::from(len > 0);
            });
            if result.is_err() {
                break;
            }
        }
        if done > 0 {
            self.counters.rx_packets.add(packets);
            self.counters.rx_bytes.add(bytes);
            // CAST: A budget is far below.
            self.registers.add_rq1(done as u16);
            self.announce();
        }
        result.map(|()| done)
    }

    /// Hands the frame to the stack that the completion in `slot` is about; returns its length, or
    /// 0 if it was dropped.
    #[inline]
    fn receive(
        &mut self,
        ctx: &PollContext<'_>,
        slot: usize,
        cqe: &Cqe,
    ) -> core::result::Result<u64, ReceiveError> {
        let Received { location, frame } = parse_received(cqe, &self.rq2.posted, &self.rq3.posted)?;
        let corrupt = |_| ReceiveError::Corrupt {
            wr_id: cqe.wr_id.get(),
        };
        let ring = match location {
            Location::Inline => return Ok(self.receive_inline(ctx, slot, frame)),
            Location::Rq2(index) => (&mut self.rq2, index),
            Location::Rq3(index) => (&mut self.rq3, index),
        };
        let (ring, index) = ring;
        let buffer = ring.buffers.get_mut(index).and_then(Option::take);
        let Some(buffer) = buffer else {
            return self.receive_mapped(ctx, location, frame).map_err(corrupt);
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
                        self.dev.data().adapter().report_miss(
                            &self.dev,
                            new.buffer.address(),
                            Direction::Receive,
                        );
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
    fn receive_mapped(
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
    fn receive_inline(
        &self,
        ctx: &PollContext<'_>,
        slot: usize,
        frame: core::result::Result<ReceivedFrame, BadFrame>,
    ) -> u64 {
        let frame = match frame {
            Ok(frame) => frame,
            Err(bad) => {
                count_bad(&self.counters, bad);
                return 0;
            }
        };
        let delivered = match self.rq1.0.entry(slot) {
            Some(entry) => ctx.receive_copy(entry, Cqe::INLINE_DATA, &meta(&frame, self.queue)),
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

    /// Arms the interrupt; returns whether there is a frame.
    pub(super) fn rearm(&mut self) -> bool {
        self.completion_registers.arm();
        self.reader.has_next(&self.rq1)
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
