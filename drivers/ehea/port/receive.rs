// SPDX-License-Identifier: GPL-2.0

//! Reception.
//!
//! The adapter reports each frame in the next slot of RQ1. A small frame is in the slot itself;
//! others are in a buffer of RQ2 or RQ3. Each buffer that is used up is replaced at once, by a new
//! one if there is one, else by itself after its frame was copied: the rings never run dry, whatever
//! the state of memory.

use super::{
    rings::CompletionRing,
    PortOperations,
    QueueCounters, //
};
use crate::{
    abi::cqe::Cqe,
    adapter::Map,
    firmware::{
        CqRegisters,
        Error,
        Qp,
        QpRegisters,
        Result, //
    },
    kernel_ext::{
        net::{
            napi::PollContext,
            skbuff::{
                RxBuffer,
                RxChecksum,
                RxMeta, //
            },
            Device,
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

/// Bytes of a buffer in RQ2: frames up to this length don't go to RQ3.
const RQ2_BUFFER: u32 = 2048;
/// Bytes of a buffer in RQ3: the longest frame, with VLAN tag and CRC.
const RQ3_BUFFER: u32 = 9022;

/// The memory map that work requests refer to, and the key that names it.
pub(super) struct Mapping {
    pub(super) map: Arc<Map>,
    pub(super) key: u32,
}

/// What became of a frame's buffer.
struct Lost;

/// RQ2 or RQ3 with its buffers.
struct BufferRing {
    memory: Arc<QueueMemory>,
    posted: PostedBuffers,
    /// The buffer of each slot that is posted.
    buffers: KVec<Option<RxBuffer>>,
    /// Buffers posted that the adapter doesn't know of yet.
    unannounced: u16,
}

impl BufferRing {
    fn new(memory: Arc<QueueMemory>, posted: PostedBuffers) -> Result<Self> {
        let mut buffers = KVec::with_capacity(memory.entries(), GFP_KERNEL)?;
        for _ in 0..memory.entries() {
            buffers.push(None, GFP_KERNEL)?;
        }
        Ok(Self {
            memory,
            posted,
            buffers,
            unannounced: 0,
        })
    }

    /// Posts as many buffers as there should be. Process context.
    fn fill(&mut self, dev: &Device, mapping: &Mapping) -> Result {
        let len = self.posted.buffer_len();
        while self.posted.missing() > 0 {
            let buffer = RxBuffer::new(dev, len)?;
            let Some(address) = mapping.map.translate(buffer.address(), len.into()) else {
                return Err(Error::NotMapped(buffer.address()));
            };
            self.post(buffer, address, mapping.key)
                .map_err(|Lost| EINVAL)?;
        }
        Ok(())
    }

    /// Posts a buffer whose adapter address is `address`.
    #[inline]
    fn post(&mut self, buffer: RxBuffer, address: u64, key: u32) -> core::result::Result<(), Lost> {
        let index = self.posted.next_slot();
        let mut slot = self.memory.entry(index).ok_or(Lost)?;
        // The slot is in use if the adapter has used up buffers in another order than they were
        // posted.
        let place = self.buffers.get_mut(index).filter(|place| place.is_none());
        let place = place.ok_or(Lost)?;
        self.posted
            .post(&mut slot, address, key)
            .map_err(|_| Lost)?;
        *place = Some(buffer);
        self.unannounced = self.unannounced.saturating_add(1);
        Ok(())
    }

    /// How many buffers of the ring are not in `map`.
    fn unmapped(&self, map: &Map) -> usize {
        let len = self.posted.buffer_len().into();
        self.buffers
            .iter()
            .flatten()
            .filter(|buffer| map.translate(buffer.address(), len).is_none())
            .count()
    }

    /// Writes all work requests again, for another memory map. Buffers that are not in it are
    /// replaced by `spares`.
    fn rewrite(&mut self, mapping: &Mapping, spares: &mut KVec<RxBuffer>) -> Result {
        let len = self.posted.buffer_len().into();
        for (index, place) in self.buffers.iter_mut().enumerate() {
            let Some(buffer) = place else {
                continue;
            };
            let address = match mapping.map.translate(buffer.address(), len) {
                Some(address) => address,
                None => {
                    *buffer = spares.pop().ok_or(Error::NotMapped(buffer.address()))?;
                    mapping
                        .map
                        .translate(buffer.address(), len)
                        .ok_or(Error::NotMapped(buffer.address()))?
                }
            };
            let mut slot = self.memory.entry(index).ok_or(EINVAL)?;
            self.posted
                .rewrite(&mut slot, index, address, mapping.key)
                .map_err(|_| EINVAL)?;
        }
        Ok(())
    }

    /// Buffers that the adapter doesn't know of yet; from now on it does.
    fn take_unannounced(&mut self) -> u16 {
        core::mem::take(&mut self.unannounced)
    }
}

/// Buffers in reserve for a rewrite of both rings.
#[derive(Default)]
pub(super) struct Spares {
    rq2: KVec<RxBuffer>,
    rq3: KVec<RxBuffer>,
}

impl Spares {
    /// Allocates as many buffers as `counts` says, in `map`. Process context.
    pub(super) fn new(counts: (usize, usize), dev: &Device, map: &Map) -> Result<Self> {
        Ok(Self {
            rq2: Self::allocate(counts.0, RQ2_BUFFER, dev, map)?,
            rq3: Self::allocate(counts.1, RQ3_BUFFER, dev, map)?,
        })
    }

    fn allocate(count: usize, len: u32, dev: &Device, map: &Map) -> Result<KVec<RxBuffer>> {
        let mut buffers = KVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            let buffer = RxBuffer::new(dev, len)?;
            if map.translate(buffer.address(), len.into()).is_none() {
                return Err(Error::NotMapped(buffer.address()));
            }
            buffers.push(buffer, GFP_KERNEL)?;
        }
        Ok(buffers)
    }
}

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
    ) -> Result<Self> {
        let [rq1, rq2, rq3] = qp.receive_memory();
        let geometry = qp.geometry();
        Ok(Self {
            dev: dev.into(),
            queue,
            reader: CompletionReader::new(rq1.entries()),
            rq1: CompletionRing(rq1.clone()),
            rq2: BufferRing::new(rq2.clone(), PostedBuffers::rq2(&geometry.rq2, RQ2_BUFFER))?,
            rq3: BufferRing::new(rq3.clone(), PostedBuffers::rq3(&geometry.rq3, RQ3_BUFFER))?,
            registers: qp.registers().clone(),
            completion_registers,
            mapping,
            counters,
        })
    }

    /// Writes work requests for all buffers that there should be. Process context.
    pub(super) fn fill(&mut self) -> Result {
        self.rq2.fill(&self.dev, &self.mapping)?;
        self.rq3.fill(&self.dev, &self.mapping)
    }

    /// Tells the adapter of all slots and buffers of a new queue pair.
    pub(super) fn start(&mut self, qp: &Qp) {
        // CAST: A ring has at most 2^15 slots.
        self.registers
            .add_rq1(qp.geometry().rq1.inline_capacity() as u16);
        self.announce();
    }

    fn announce(&mut self) {
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
        let buffer = buffer.ok_or(Lost).map_err(corrupt)?;
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
            Some(new) => match self.mapping.map.translate(new.address(), len.into()) {
                Some(address) => {
                    ring.post(new, address, self.mapping.key).map_err(corrupt)?;
                    ctx.receive(buffer, &meta)
                }
                None => {
                    self.counters.rx_translation_misses.inc();
                    self.dev.data().adapter().report_miss(
                        &self.dev,
                        new.address(),
                        Direction::Receive,
                    );
                    drop(new);
                    self.counters.rx_copied.inc();
                    let delivered = ctx.receive_copy_of(&buffer, &meta);
                    repost(ring, buffer, &self.mapping).map_err(corrupt)?;
                    delivered
                }
            },
            None => {
                // There may be memory for the frame, if not for a whole buffer.
                self.counters.rx_copied.inc();
                let delivered = ctx.receive_copy_of(&buffer, &meta);
                repost(ring, buffer, &self.mapping).map_err(corrupt)?;
                delivered
            }
        };
        Ok(self.count(delivered, &frame))
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

/// Posts a buffer again that was posted before, so that it is in the map.
#[cold]
fn repost(
    ring: &mut BufferRing,
    buffer: RxBuffer,
    mapping: &Mapping,
) -> core::result::Result<(), Lost> {
    let len = ring.posted.buffer_len();
    let address = mapping.map.translate(buffer.address(), len.into());
    ring.post(buffer, address.ok_or(Lost)?, mapping.key)
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
