// SPDX-License-Identifier: GPL-2.0

//! Memory that a queue pair has mapped for the adapter, in a CMO partition.

use super::{
    counters::QueueCounters,
    rx::{
        buffers::{
            BufferMemory,
            ChunkCounts,
            NewChunks, //
        },
        charged::ChargedBuffers, //
    }, //
};
use crate::{
    cmo::{
        self,
        retry_after,
        BufferKind,
        Limits, //
    },
    error::Result,
    kernel_ext::dma::{
        self,
        Access,
        DmaBuffer,
        MappingConsumer,
        MappingProducer,
        MappingRing,
        Unrestricted, //
    }, //
};
use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    sync::Arc, //
};

// The policy counts in pages as the bus does.
const _: () = assert!(cmo::IOMMU_PAGE_SIZE == dma::IOMMU_PAGE_SIZE as u64);

/// Number of pages that the longest frame takes.
// CAST: `usize` has 64 bits.
const PIECES: usize = (BufferKind::RQ3.len as usize).div_ceil(PAGE_SIZE);

/// Way in which the adapter reaches frames to be sent.
pub(super) enum SendAccess {
    /// It may reach any memory.
    Unrestricted(Unrestricted),
    /// Each frame is mapped.
    Mapped(MappingProducer),
}

impl SendAccess {
    /// Returns the token for unrestricted memory, if there is one.
    #[inline]
    pub(super) fn token(&self) -> Option<Unrestricted> {
        match self {
            Self::Unrestricted(token) => Some(*token),
            Self::Mapped(_) => None,
        }
    }
}

/// Memory that a queue pair has mapped for the adapter, in a CMO partition.
pub(super) enum Charge {
    /// Nothing is charged: the queue pair may use any memory.
    Free,
    /// Mapped memory is charged.
    Charged(Charged),
}

/// Decision whether memory is charged, for each part of a queue pair. It is made here only.
pub(super) struct Sides {
    pub(super) charge: Charge,
    pub(super) send: SendAccess,
    /// Consumer of the mappings of completed frames, if frames have mappings.
    pub(super) completed: Option<MappingConsumer>,
    pub(super) receive: BufferMemory,
}

impl Sides {
    /// Decides for a queue pair whose send queue has `slots` slots.
    pub(super) fn new(access: &Access, limits: &Limits, slots: usize) -> Result<Self> {
        if let Some(token) = access.unrestricted() {
            return Ok(Self {
                charge: Charge::Free,
                send: SendAccess::Unrestricted(token),
                completed: None,
                receive: BufferMemory::Free(token),
            });
        }
        let mapper = access.mapper().ok_or(EINVAL)?;
        // Frames have as many pieces as they take pages, as a rule. Where others come, the ring is full before the
        // queue is.
        let capacity = slots.checked_mul(PIECES).ok_or(EINVAL)?;
        let (producer, consumer) = MappingRing::pair(mapper, capacity, limits.send_bytes)?;
        let charged = Charged {
            counts: ChunkCounts::new()?,
            ring: producer.ring().clone(),
            failures: 0,
            wait: 0,
        };
        charged.set_limits(limits);
        Ok(Self {
            receive: BufferMemory::Charged(access.clone(), charged.counts.clone()),
            charge: Charge::Charged(charged),
            send: SendAccess::Mapped(producer),
            completed: Some(consumer),
        })
    }
}

/// Memory that a queue pair has mapped for the adapter, and its limits.
pub(super) struct Charged {
    counts: ChunkCounts,
    ring: Arc<MappingRing>,
    /// Number of times in a row that buffers could not be mapped.
    failures: u32,
    /// Number of times that nothing is tried before the next attempt.
    wait: u32,
}

impl Charged {
    /// Sets how much may be mapped. Buffers above the limit are given back when they are used up.
    pub(super) fn set_limits(&self, limits: &Limits) {
        self.counts.rq2.set_limit(limits.rq2_chunks);
        self.counts.rq3.set_limit(limits.rq3_chunks);
        self.ring.set_limit(limits.send_bytes);
    }

    /// Returns the mappings of frames to be sent.
    pub(super) fn mappings(&self) -> &Arc<MappingRing> {
        &self.ring
    }

    /// Maps the buffers that are missing. If the entitlement does not suffice for all, the rest is
    /// tried again later. Process context.
    pub(super) fn allocate(&mut self, access: &Access, counters: &QueueCounters) -> NewChunks {
        let mut new = NewChunks::default();
        if self.wait > 0 {
            self.wait -= 1;
            return new;
        }
        let result = self.allocate_all(access, &mut new);
        // CAST: Small numbers.
        counters
            .cmo_rx_mapped
            .add((new.rq2.len() + new.rq3.len()) as u64);
        match result {
            Ok(()) => self.failures = 0,
            Err(_) => {
                counters.cmo_rx_map_failed.inc();
                self.wait = retry_after(self.failures) - 1;
                self.failures = self.failures.saturating_add(1);
            }
        }
        new
    }

    fn allocate_all(&self, access: &Access, new: &mut NewChunks) -> Result {
        let ChunkCounts { rq2, rq3 } = &self.counts;
        // No ring may be without buffers, as a frame that finds none may hold up all others.
        if rq3.is_empty() {
            allocate(BufferKind::RQ3, rq3.missing().min(1), access, &mut new.rq3)?;
        }
        allocate(BufferKind::RQ2, rq2.missing(), access, &mut new.rq2)?;
        allocate(BufferKind::RQ3, rq3.missing(), access, &mut new.rq3)
    }

    /// Checks whether buffers are missing.
    pub(super) fn is_short(&self) -> bool {
        self.counts.rq2.missing() > 0 || self.counts.rq3.missing() > 0
    }
}

/// Maps chunks until there are `count`.
fn allocate(kind: BufferKind, count: u32, access: &Access, chunks: &mut KVec<DmaBuffer>) -> Result {
    while chunks.len() < count as usize {
        chunks.push(ChargedBuffers::allocate(kind, access)?, GFP_KERNEL)?;
    }
    Ok(())
}
