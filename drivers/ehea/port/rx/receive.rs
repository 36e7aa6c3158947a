// SPDX-License-Identifier: GPL-2.0

//! Reception.
//!
//! The adapter reports each frame in the next slot of RQ1. Where the frame is, and how it gets to the
//! stack, is the business of [`deliver`](super::deliver).

use super::{
    buffers::{
        ChunkCounts,
        NewChunks,
        Spares, //
    },
    deliver::Deliverer, //
};
use crate::{
    cmo::BufferKind,
    error::Result,
    firmware::{
        CqRegisters,
        Qp,
        QpRegisters, //
    },
    kernel_ext::{
        dma::Access,
        net::napi::PollContext, //
    },
    port::{
        context::Context,
        counters::QueueCounters,
        rings::CompletionRing, //
    },
    queue::{
        CompletionReader,
        PostedBuffers,
        ReceiveError, //
    },
    shared::{
        Map,
        Translation, //
    }, //
};
use kernel::sync::Arc;

/// The receiving side of a queue pair.
pub(crate) struct Receiver {
    reader: CompletionReader,
    rq1: CompletionRing,
    registers: Arc<QpRegisters>,
    completion_registers: Arc<CqRegisters>,
    deliverer: Deliverer,
}

impl Receiver {
    /// The receiving side of `qp`, without buffers.
    pub(crate) fn new(
        ctx: &Arc<Context>,
        queue: u16,
        qp: &Qp,
        completion_registers: Arc<CqRegisters>,
        mapping: Translation,
        counters: Arc<QueueCounters>,
        access: (&Access, Option<&ChunkCounts>),
    ) -> Result<Self> {
        let [rq1, rq2, rq3] = qp.receive_memory();
        let geometry = qp.geometry();
        let rq2 = (rq2, PostedBuffers::rq2(&geometry.rq2, BufferKind::RQ2.len));
        let rq3 = (rq3, PostedBuffers::rq3(&geometry.rq3, BufferKind::RQ3.len));
        Ok(Self {
            reader: CompletionReader::new(rq1.entries()),
            rq1: CompletionRing(rq1.clone()),
            registers: qp.registers().clone(),
            completion_registers,
            deliverer: Deliverer::new(ctx, queue, rq2, rq3, mapping, counters, access)?,
        })
    }

    /// Writes work requests for all buffers that there should be, outside of CMO. Process context.
    pub(crate) fn fill(&mut self) -> Result {
        self.deliverer.fill()
    }

    /// Writes work requests for mapped buffers.
    ///
    /// # Errors
    ///
    /// Some are not in the memory map, or there is no room for them; they are given up.
    pub(crate) fn add(&mut self, chunks: &mut NewChunks) -> Result {
        self.deliverer.add(chunks)
    }

    /// Tells the adapter of all slots and buffers of a new queue pair.
    pub(crate) fn start(&mut self, qp: &Qp) {
        // CAST: A ring has at most 2^15 slots.
        self.registers
            .add_rq1(qp.geometry().rq1.inline_capacity() as u16);
        self.announce();
    }

    /// Tells the adapter of buffers that it doesn't know of yet.
    pub(crate) fn announce(&mut self) {
        let count = self.deliverer.rq2.take_unannounced();
        if count > 0 {
            self.registers.add_rq2(count);
        }
        let count = self.deliverer.rq3.take_unannounced();
        if count > 0 {
            self.registers.add_rq3(count);
        }
    }

    /// How many buffers of RQ2 and RQ3 are not in `map`.
    pub(crate) fn unmapped(&self, map: &Map) -> (usize, usize) {
        self.deliverer.unmapped(map)
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
        self.deliverer.exchange(mapping, spares)
    }

    /// Receives up to `budget` frames; returns how many there were.
    ///
    /// # Errors
    ///
    /// The queue pair can't be used any more.
    pub(crate) fn poll(
        &mut self,
        ctx: &PollContext<'_>,
        budget: u32,
    ) -> core::result::Result<u32, ReceiveError> {
        let mut done = 0;
        let mut bytes = 0;
        let mut packets = 0;
        let mut result = Ok(());
        while done < budget {
            let Some((entry, completion)) = self.reader.next(&self.rq1) else {
                break;
            };
            // None of these wraps: a budget is small.
            done = done.wrapping_add(1);
            result = self.deliverer.deliver(ctx, &entry, &completion).map(|len| {
                bytes = len.wrapping_add(bytes);
                packets = u64::from(len > 0).wrapping_add(packets);
            });
            if result.is_err() {
                break;
            }
        }
        if done > 0 {
            self.deliverer.counters.rx_packets.add_alone(packets);
            self.deliverer.counters.rx_bytes.add_alone(bytes);
            // CAST: A budget is far below.
            self.registers.add_rq1(done as u16);
            self.announce();
        }
        result.map(|()| done)
    }

    /// Arms the interrupt; returns whether there is a frame.
    pub(crate) fn rearm(&mut self) -> bool {
        self.completion_registers.arm();
        self.reader.has_next(&self.rq1)
    }
}
