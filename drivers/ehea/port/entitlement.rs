// SPDX-License-Identifier: GPL-2.0

//! How the queue pairs of an open port follow the entitlement.

use super::{
    queue_pair::QueuePair,
    rx::{
        buffers::{
            ChunkCounts,
            NewChunks, //
        },
        charged::MappedBuffers, //
    },
    Port,
    PortOperations,
    QueueCounters, //
};
use crate::{
    cmo::{
        retry_after,
        BufferKind,
        Limits,
        Plan, //
    },
    firmware::{
        Error,
        Result, //
    },
    kernel_ext::{
        crash,
        dma::{
            Access,
            DmaBuffer,
            MappingConsumer,
            MappingProducer,
            MappingRing,
            Unrestricted, //
        },
        net::{
            rtnl::Rtnl,
            NetDevice, //
        }, //
    },
    trace::Direction, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// How the adapter gets at frames to be sent.
pub(super) enum SendAccess {
    /// Freely.
    Unrestricted(Unrestricted),
    /// Each is mapped.
    Mapped(MappingProducer),
}

impl SendAccess {
    /// The token, if there is one.
    pub(super) fn token(&self) -> Option<Unrestricted> {
        match self {
            Self::Unrestricted(token) => Some(*token),
            Self::Mapped(_) => None,
        }
    }
}

/// What a queue pair has of the entitlement.
pub(super) struct Charged {
    pub(super) counts: ChunkCounts,
    ring: Arc<MappingRing>,
    /// How often in a row buffers could not be mapped.
    failures: u32,
    /// How often nothing is tried before the next attempt.
    wait: u32,
}

impl Charged {
    /// For a queue pair; with the two ends of the ring of mappings of its send queue.
    pub(super) fn new(
        access: &Access,
        limits: &Limits,
        slots: usize,
    ) -> Result<Option<(Self, MappingProducer, MappingConsumer)>> {
        let Some(mapper) = access.mapper() else {
            return Ok(None);
        };
        // Frames of one piece, as a rule. Where others come, the ring is full before the queue is.
        let (producer, consumer) = MappingRing::pair(mapper, slots, limits.send_bytes)?;
        let charged = Self {
            counts: ChunkCounts::new()?,
            ring: producer.ring().clone(),
            failures: 0,
            wait: 0,
        };
        charged.set_limits(limits);
        Ok(Some((charged, producer, consumer)))
    }

    /// Sets what may be mapped. What is more goes as it is used up.
    pub(super) fn set_limits(&self, limits: &Limits) {
        self.counts.rq2.set_limit(limits.rq2_chunks);
        self.counts.rq3.set_limit(limits.rq3_chunks);
        self.ring.set_limit(limits.send_bytes);
    }

    /// Maps the buffers that are missing; fewer if there is not enough, which is tried again later.
    /// Process context.
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

    /// Whether buffers are missing.
    pub(super) fn is_short(&self) -> bool {
        self.counts.rq2.missing() > 0 || self.counts.rq3.missing() > 0
    }
}

/// Maps chunks until there are `count`.
fn allocate(kind: BufferKind, count: u32, access: &Access, chunks: &mut KVec<DmaBuffer>) -> Result {
    while chunks.len() < count as usize {
        chunks.push(MappedBuffers::allocate(kind, access)?, GFP_KERNEL)?;
    }
    Ok(())
}

impl Port {
    /// Queue pairs that the port would like to have.
    fn wanted_queue_pairs(&self) -> u16 {
        // CAST: At most 16.
        self.queues.len() as u16
    }

    /// How the queues of the port are laid out that is being opened for an MTU of `mtu`.
    pub(super) fn plan(&self, mtu: u32) -> Result<Plan> {
        let queue_pairs = self.wanted_queue_pairs();
        let Some(entitlement) = self.adapter.entitlement() else {
            return Ok(if crash::is_dump_kernel() {
                Plan::SMALLEST
            } else {
                Plan::full(queue_pairs)
            });
        };
        let plan = entitlement.opening(self.number(), queue_pairs, mtu)?;
        // The others have less from now on.
        self.adapter.entitlement_changed();
        Ok(plan)
    }

    /// A smaller plan, after there was not enough for the first.
    pub(super) fn smaller_plan(&self, plan: &Plan) -> Option<Plan> {
        let entitlement = self.adapter.entitlement()?;
        let smaller = entitlement.reduce(self.number());
        (smaller != *plan).then_some(smaller)
    }

    /// Takes note that the port has nothing mapped any more.
    pub(super) fn release_entitlement(&self) {
        if let Some(entitlement) = self.adapter.entitlement() {
            entitlement.closed(self.number());
            self.adapter.entitlement_changed();
        }
    }

    /// What each queue pair may have mapped now.
    pub(super) fn limits(&self) -> Limits {
        match self.adapter.entitlement() {
            Some(entitlement) => entitlement.limits(self.number()),
            None => Limits::default(),
        }
    }

    /// Has all queue pairs follow the entitlement. Process context.
    pub(super) fn follow_entitlement(&self, dev: &NetDevice<PortOperations>) {
        if self.adapter.entitlement().is_none() || !dev.is_running() {
            return;
        }
        let limits = self.limits();
        // Not while queue pairs move to another memory map.
        let result = self
            .adapter
            .with_generation(|_| self.for_each_queue_pair(|pair| pair.follow(self, &limits)));
        // All else is tried again the next time.
        if let Err(Error::NotMapped(address)) = result {
            self.adapter.report_miss(dev, address, Direction::Receive);
        }
    }

    /// Has the port receive frames for an MTU of `mtu`. If buffers for large ones aren't needed any
    /// more it is taken down and up again, since the adapter doesn't give posted buffers back.
    pub(super) fn change_mtu(&self, dev: &NetDevice<PortOperations>, mtu: u32, rtnl: &Rtnl) {
        let Some(entitlement) = self.adapter.entitlement() else {
            return;
        };
        if dev.is_running() && Limits::large_frames(dev.mtu()) && !Limits::large_frames(mtu) {
            self.close(dev, rtnl);
            self.reopen(dev, mtu, rtnl);
            return;
        }
        entitlement.set_mtu(self.number(), mtu);
        self.adapter.entitlement_changed();
    }
}

impl QueuePair {
    /// Follows the entitlement, if it is charged.
    fn follow(&mut self, port: &Port, limits: &Limits) -> Result {
        let Some(charged) = &mut self.charged else {
            return Ok(());
        };
        charged.set_limits(limits);
        if !charged.is_short() {
            return Ok(());
        }
        let Some(queue) = port.queues.get(usize::from(self.index)) else {
            return Ok(());
        };
        let access = port.calls.firmware().access();
        let mut new = charged.allocate(access, &queue.counters);
        if new.is_empty() {
            return Ok(());
        }
        let mut poll = self.napi.disabled()?;
        let result = poll.receiver.add(&mut new);
        poll.receiver.announce();
        result
    }
}
