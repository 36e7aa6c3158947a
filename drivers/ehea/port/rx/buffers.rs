// SPDX-License-Identifier: GPL-2.0

//! Receive queues 2 and 3 with their buffers.

use super::charged::{
    ChunkCount,
    Lost,
    MappedBuffers, //
};
use crate::{
    cmo::BufferKind,
    error::{
        Error,
        Result, //
    },
    kernel_ext::{
        dma::{
            Access,
            DmaBuffer,
            Reachable,
            Unrestricted, //
        },
        net::{
            skbuff::RxBuffer,
            Device, //
        },
        page::{
            ContiguousBuffer,
            QueueMemory, //
        }, //
    },
    queue::PostedBuffers,
    shared::{
        AdapterAddress,
        Map,
        Translation, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// A buffer that is not charged, with the right to post it.
pub(crate) struct FreeBuffer {
    pub(crate) buffer: RxBuffer,
    pub(crate) token: Unrestricted,
}

impl FreeBuffer {
    /// The `len` bytes that the adapter may write to.
    #[inline]
    pub(crate) fn reach(&self, len: u32) -> Reachable {
        self.token.reach(self.buffer.address(), len.into())
    }
}

/// RQ2 or RQ3 with its buffers.
pub(crate) struct BufferRing {
    pub(crate) memory: Arc<QueueMemory>,
    pub(crate) posted: PostedBuffers,
    /// The buffer of each slot that is posted. Outside of CMO.
    pub(crate) buffers: KVec<Option<FreeBuffer>>,
    /// The buffers, in a CMO partition.
    pub(crate) mapped: Option<MappedBuffers>,
    /// Buffers posted that the adapter doesn't know of yet.
    pub(crate) unannounced: u16,
}

impl BufferRing {
    pub(crate) fn new(
        memory: Arc<QueueMemory>,
        posted: PostedBuffers,
        mapped: Option<MappedBuffers>,
    ) -> Result<Self> {
        let mut buffers = KVec::with_capacity(memory.entries(), GFP_KERNEL)?;
        for _ in 0..memory.entries() {
            buffers.push(None, GFP_KERNEL)?;
        }
        Ok(Self {
            memory,
            posted,
            buffers,
            mapped,
            unannounced: 0,
        })
    }

    /// Posts as many buffers as there should be. Process context.
    pub(crate) fn fill(
        &mut self,
        dev: &Device,
        mapping: &Translation,
        token: Unrestricted,
    ) -> Result {
        let len = self.posted.buffer_len();
        while self.posted.missing() > 0 {
            let buffer = RxBuffer::new(dev, len)?;
            let buffer = FreeBuffer { buffer, token };
            let Some(address) = mapping.map.adapter_address(buffer.reach(len)) else {
                return Err(Error::NotMapped(buffer.buffer.address()));
            };
            self.post(buffer, address, mapping.key)
                .map_err(|Lost| EINVAL)?;
        }
        Ok(())
    }

    /// Posts a buffer whose adapter address is `address`.
    #[inline(always)]
    pub(crate) fn post(
        &mut self,
        buffer: FreeBuffer,
        address: u64,
        key: u32,
    ) -> core::result::Result<(), Lost> {
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
        // Not more than the ring has slots, 2^15.
        self.unannounced = self.unannounced.wrapping_add(1);
        Ok(())
    }

    /// How many buffers of the ring are not in `map`.
    pub(crate) fn unmapped(&self, map: &Map) -> usize {
        if let Some(mapped) = &self.mapped {
            return mapped.unmapped(map);
        }
        let len = self.posted.buffer_len();
        self.buffers
            .iter()
            .flatten()
            .filter(|buffer| map.adapter_address(buffer.reach(len)).is_none())
            .count()
    }

    /// Adds mapped buffers; those that are too many are given up.
    pub(crate) fn add(&mut self, chunks: &mut KVec<DmaBuffer>, mapping: &Translation) -> Result {
        let Some(mapped) = &mut self.mapped else {
            return Ok(());
        };
        let mut posted = 0;
        while let Some(chunk) = chunks.pop() {
            posted += mapped.add(&self.memory, &mut self.posted, chunk, mapping)?;
        }
        self.unannounced = self.unannounced.saturating_add(posted);
        Ok(())
    }

    /// Writes all work requests again, for another memory map. Buffers that are not in it are
    /// replaced by `spares`, with what is in them: the adapter may be done with one, without anybody
    /// having looked yet.
    pub(crate) fn rewrite(&mut self, mapping: &Translation, spares: &mut RingSpares) -> Result {
        if let Some(mapped) = &mut self.mapped {
            return mapped.rewrite(&self.memory, &self.posted, mapping, &mut spares.memory);
        }
        let spares = &mut spares.buffers;
        let len = self.posted.buffer_len();
        for (index, place) in self.buffers.iter_mut().enumerate() {
            let Some(buffer) = place else {
                continue;
            };
            let address = match mapping.map.adapter_address(buffer.reach(len)) {
                Some(address) => address,
                None => {
                    let old = Error::NotMapped(buffer.buffer.address());
                    let mut spare = spares.pop().ok_or(old)?;
                    spare.copy_from(&buffer.buffer);
                    buffer.buffer = spare;
                    mapping
                        .map
                        .adapter_address(buffer.reach(len))
                        .ok_or(Error::NotMapped(buffer.buffer.address()))?
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
    pub(crate) fn take_unannounced(&mut self) -> u16 {
        core::mem::take(&mut self.unannounced)
    }
}

/// What is in reserve for a rewrite of a ring.
#[derive(Default)]
pub(crate) struct RingSpares {
    buffers: KVec<RxBuffer>,
    /// Memory of chunks, in a CMO partition.
    memory: KVec<ContiguousBuffer>,
}

impl RingSpares {
    /// Allocates `count` buffers or chunks, in `map`. Process context.
    fn new(
        count: usize,
        kind: BufferKind,
        dev: &Device,
        map: &Map,
        access: &Access,
    ) -> Result<Self> {
        let Some(token) = access.unrestricted() else {
            return Ok(Self {
                buffers: KVec::new(),
                memory: MappedBuffers::spares(kind, count, map)?,
            });
        };
        let mut buffers = KVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            let buffer = RxBuffer::new(dev, kind.len)?;
            let memory = token.reach(buffer.address(), kind.len.into());
            if map.adapter_address(memory).is_none() {
                return Err(Error::NotMapped(buffer.address()));
            }
            buffers.push(buffer, GFP_KERNEL)?;
        }
        Ok(Self {
            buffers,
            memory: KVec::new(),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.buffers.len() + self.memory.len()
    }
}

/// What is in reserve for a rewrite of both rings.
#[derive(Default)]
pub(crate) struct Spares {
    pub(crate) rq2: RingSpares,
    pub(crate) rq3: RingSpares,
}

impl Spares {
    /// Allocates as many buffers as `counts` says, in `map`. Process context.
    pub(crate) fn new(
        counts: (usize, usize),
        dev: &Device,
        map: &Map,
        access: &Access,
    ) -> Result<Self> {
        Ok(Self {
            rq2: RingSpares::new(counts.0, BufferKind::RQ2, dev, map, access)?,
            rq3: RingSpares::new(counts.1, BufferKind::RQ3, dev, map, access)?,
        })
    }
}

/// How many chunks of mapped buffers the receiving side of a queue pair has.
#[derive(Clone)]
pub(crate) struct ChunkCounts {
    pub(crate) rq2: Arc<ChunkCount>,
    pub(crate) rq3: Arc<ChunkCount>,
}

impl ChunkCounts {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            rq2: Arc::new(ChunkCount::default(), GFP_KERNEL)?,
            rq3: Arc::new(ChunkCount::default(), GFP_KERNEL)?,
        })
    }
}

/// Mapped buffers that are to be added.
#[derive(Default)]
pub(crate) struct NewChunks {
    pub(crate) rq2: KVec<DmaBuffer>,
    pub(crate) rq3: KVec<DmaBuffer>,
}

impl NewChunks {
    pub(crate) fn is_empty(&self) -> bool {
        self.rq2.is_empty() && self.rq3.is_empty()
    }
}

/// Posts a buffer again that was posted before, so that it is in the map.
#[cold]
pub(crate) fn repost(
    ring: &mut BufferRing,
    buffer: FreeBuffer,
    mapping: &Translation,
) -> core::result::Result<(), Lost> {
    let len = ring.posted.buffer_len();
    let address = mapping.map.adapter_address(buffer.reach(len));
    ring.post(buffer, address.ok_or(Lost)?, mapping.key)
}
