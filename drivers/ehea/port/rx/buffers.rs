// SPDX-License-Identifier: GPL-2.0

//! Receive queues 2 and 3 with their buffers.

use super::{
    charged::{
        ChargedBuffers,
        ChunkCount,
        ChunkSpares, //
    },
    free::{
        FreeBuffers,
        FreeSpares, //
    },
    ring::Ring, //
};
use crate::{
    cmo::BufferKind,
    error::{
        Error,
        Result, //
    },
    kernel_ext::{
        dma::{
            Abandon,
            Access,
            DmaBuffer,
            Unrestricted, //
        },
        net::Device, //
    },
    shared::{
        Map,
        Translation, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Memory of receive buffers.
pub(crate) enum BufferMemory {
    /// Any memory. Nothing is charged.
    Free(Unrestricted),
    /// Memory that is mapped, within limits.
    Charged(Access, ChunkCounts),
}

/// Buffers of a ring. The variant is decided when the queue pair is made.
pub(crate) enum Buffers {
    /// Buffers that go to the stack with their frames.
    Free(FreeBuffers),
    /// Buffers that stay with the driver.
    Charged(ChargedBuffers),
}

impl Buffers {
    /// Takes all buffers out.
    pub(super) fn take_all(&mut self) -> Self {
        match self {
            Self::Free(free) => Self::Free(free.take_all()),
            Self::Charged(charged) => Self::Charged(charged.take_all()),
        }
    }
}

impl Abandon for Buffers {
    fn abandon(&mut self) {
        match self {
            Self::Free(free) => free.abandon(),
            Self::Charged(charged) => charged.abandon(),
        }
    }
}

/// RQ2 or RQ3 with its buffers.
pub(crate) struct BufferRing {
    pub(crate) ring: Ring,
    pub(crate) buffers: Buffers,
}

impl BufferRing {
    /// Makes RQ2 of `ring`, without buffers.
    pub(super) fn rq2(ring: Ring, memory: &BufferMemory) -> Result<Self> {
        let count = |counts: &ChunkCounts| counts.rq2.clone();
        Self::new(BufferKind::RQ2, ring, memory, count)
    }

    /// Makes RQ3 of `ring`, without buffers.
    pub(super) fn rq3(ring: Ring, memory: &BufferMemory) -> Result<Self> {
        let count = |counts: &ChunkCounts| counts.rq3.clone();
        Self::new(BufferKind::RQ3, ring, memory, count)
    }

    fn new(
        kind: BufferKind,
        ring: Ring,
        memory: &BufferMemory,
        count: impl FnOnce(&ChunkCounts) -> Arc<ChunkCount>,
    ) -> Result<Self> {
        let slots = ring.slots();
        let buffers = match memory {
            BufferMemory::Free(token) => Buffers::Free(FreeBuffers::new(kind, slots, *token)?),
            BufferMemory::Charged(access, counts) => {
                Buffers::Charged(ChargedBuffers::new(kind, slots, access, count(counts))?)
            }
        };
        Ok(Self { ring, buffers })
    }

    /// Posts buffers for all slots, if nothing is charged. Process context.
    pub(super) fn fill(&mut self, dev: &Device, translation: &Translation) -> Result {
        match &mut self.buffers {
            Buffers::Free(free) => free.fill(&mut self.ring, dev, translation),
            Buffers::Charged(_) => Ok(()),
        }
    }

    /// Adds mapped buffers, if memory is charged. Those for which there is no room are dropped.
    pub(super) fn add(
        &mut self,
        chunks: &mut KVec<DmaBuffer>,
        translation: &Translation,
    ) -> Result {
        if let Buffers::Charged(charged) = &mut self.buffers {
            while let Some(chunk) = chunks.pop() {
                charged.add(&mut self.ring, chunk, translation)?;
            }
        }
        Ok(())
    }

    /// Finds out which buffers or chunks are not in `map`, for which `spares` are.
    pub(super) fn look_up(&self, map: &Map, spares: &mut RingSpares) {
        match (&self.buffers, spares) {
            (Buffers::Free(free), RingSpares::Free(spares)) => {
                free.look_up(&self.ring, map, spares);
            }
            (Buffers::Charged(charged), RingSpares::Charged(spares)) => {
                spares.missing = charged.unmapped(map);
            }
            // They were made for this ring.
            _ => {}
        }
    }

    /// Writes all work requests again for the memory map of the last [`BufferRing::look_up`]. Buffers that are not in
    /// it are replaced by `spares`, and their contents are copied.
    pub(super) fn rewrite(&mut self, translation: &Translation, spares: &mut RingSpares) -> Result {
        match (&mut self.buffers, spares) {
            (Buffers::Free(free), RingSpares::Free(spares)) => {
                free.rewrite(&self.ring, translation, spares)
            }
            (Buffers::Charged(charged), RingSpares::Charged(spares)) => {
                charged.rewrite(&self.ring, translation, spares)
            }
            // They were made for this ring.
            _ => Err(Error::Kernel(EINVAL)),
        }
    }
}

/// Reserve of buffers for a rewrite of a ring.
pub(super) enum RingSpares {
    Free(FreeSpares),
    Charged(ChunkSpares),
}

impl RingSpares {
    /// Makes a reserve without buffers, of `memory`, for a ring with `slots` slots.
    fn new(memory: &BufferMemory, slots: usize) -> Result<Self> {
        Ok(match memory {
            BufferMemory::Free(_) => Self::Free(FreeSpares::new(slots)?),
            BufferMemory::Charged(..) => Self::Charged(ChunkSpares::default()),
        })
    }

    /// Allocates a buffer or chunk in `map` for each that is not in it.
    fn allocate(
        &mut self,
        kind: BufferKind,
        memory: &BufferMemory,
        dev: &Device,
        map: &Map,
    ) -> Result {
        match (self, memory) {
            (Self::Free(spares), BufferMemory::Free(token)) => {
                spares.allocate(kind, *token, dev, map)
            }
            (Self::Charged(spares), _) => spares.allocate(kind, map),
            // It was made of this memory.
            (Self::Free(_), BufferMemory::Charged(..)) => Err(Error::Kernel(EINVAL)),
        }
    }

    /// Checks whether there is a buffer or chunk for each that is not in the map.
    fn suffice(&self) -> bool {
        match self {
            Self::Free(spares) => spares.suffice(),
            Self::Charged(spares) => spares.suffice(),
        }
    }
}

/// Reserve of buffers for a rewrite of both rings.
pub(crate) struct Spares {
    pub(super) rq2: RingSpares,
    pub(super) rq3: RingSpares,
}

impl Spares {
    /// Makes a reserve without buffers, of `memory`, for RQ2 and RQ3 with so many slots. Process context.
    pub(crate) fn new(memory: &BufferMemory, [rq2, rq3]: [usize; 2]) -> Result<Self> {
        Ok(Self {
            rq2: RingSpares::new(memory, rq2)?,
            rq3: RingSpares::new(memory, rq3)?,
        })
    }

    /// Allocates what is missing in `map` since [`Receiver::look_up`](super::receive::Receiver::look_up). Process
    /// context.
    pub(crate) fn allocate(&mut self, memory: &BufferMemory, dev: &Device, map: &Map) -> Result {
        self.rq2.allocate(BufferKind::RQ2, memory, dev, map)?;
        self.rq3.allocate(BufferKind::RQ3, memory, dev, map)
    }

    /// Checks whether there is a buffer or chunk for each that is not in the map.
    pub(super) fn suffice(&self) -> bool {
        self.rq2.suffice() && self.rq3.suffice()
    }
}

/// Numbers of chunks of mapped buffers of a queue pair.
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

/// Mapped buffers to be added.
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
