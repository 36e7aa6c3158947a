// SPDX-License-Identifier: GPL-2.0

//! Receive queues 2 and 3 with their buffers.

use super::{
    charged::{
        ChargedBuffers,
        ChunkCount,
        ChunkSpares, //
    },
    free::FreeBuffers,
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
        net::{
            skbuff::RxBuffer,
            Device, //
        }, //
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

    /// Returns the number of buffers or chunks of the ring that are not in `map`.
    pub(super) fn unmapped(&self, map: &Map) -> usize {
        match &self.buffers {
            Buffers::Free(free) => free.unmapped(map),
            Buffers::Charged(charged) => charged.unmapped(map),
        }
    }

    /// Writes all work requests again for another memory map. Buffers that are not in it are
    /// replaced by `spares`, and their contents are copied.
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
    Free(KVec<RxBuffer>),
    Charged(ChunkSpares),
}

impl RingSpares {
    /// Allocates `count` buffers or chunks of `memory`, in `map`.
    fn new(
        count: usize,
        kind: BufferKind,
        memory: &BufferMemory,
        dev: &Device,
        map: &Map,
    ) -> Result<Self> {
        Ok(match memory {
            BufferMemory::Free(token) => {
                Self::Free(FreeBuffers::spares(kind, *token, count, dev, map)?)
            }
            BufferMemory::Charged(..) => Self::Charged(ChargedBuffers::spares(kind, count, map)?),
        })
    }

    /// Returns the number of buffers or chunks.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Free(spares) => spares.len(),
            Self::Charged(spares) => spares.len(),
        }
    }
}

/// Reserve of buffers for a rewrite of both rings.
pub(crate) struct Spares {
    pub(super) rq2: RingSpares,
    pub(super) rq3: RingSpares,
}

impl Spares {
    /// Allocates buffers of `memory` for RQ2 and RQ3, in the numbers `counts`, in `map`. Process
    /// context.
    pub(crate) fn new(
        counts: [usize; 2],
        memory: &BufferMemory,
        dev: &Device,
        map: &Map,
    ) -> Result<Self> {
        let [rq2, rq3] = counts;
        Ok(Self {
            rq2: RingSpares::new(rq2, BufferKind::RQ2, memory, dev, map)?,
            rq3: RingSpares::new(rq3, BufferKind::RQ3, memory, dev, map)?,
        })
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
