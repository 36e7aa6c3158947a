// SPDX-License-Identifier: GPL-2.0

//! Completion queues.

use super::{
    object::{
        self,
        Object, //
    },
    Eq,
    Firmware, //
};
use crate::{
    abi::{
        hcall::{
            AllocCq,
            CqAllocated,
            QueueSelect, //
        },
        regs::{
            self,
            cq, //
        },
        ring::CQE_SIZE, //
    },
    error::Result,
    kernel_ext::{
        dma::QueueMemory,
        io_be::BeMmio, //
    },
    queue::CqGeometry, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// The registers of a completion queue (eHEA ABI §5.3).
pub(crate) struct CqRegisters(BeMmio<{ regs::BLOCK_SIZE }>);

impl CqRegisters {
    /// Gives `count` entries back that have been read.
    ///
    /// The store is ordered behind the loads of the entries.
    #[inline]
    pub(crate) fn consumed(&self, count: u32) {
        self.0
            .write64::<{ cq::FECA }>(regs::FECA_COUNT.set(count.into()));
    }

    /// Asks for an interrupt at the next completion.
    ///
    /// The adapter knows when this returns: a completion that isn't visible in the queue then will
    /// interrupt.
    #[inline]
    pub(crate) fn arm(&self) {
        self.0.write64::<{ cq::EP }>(0);
        self.0.write64::<{ cq::N1 }>(regs::N1_ARM.mask());
        // Reading back orders the stores before looking at the queue.
        self.0.read64::<{ cq::N1 }>();
    }
}

/// A completion queue, freed on drop. The event queue that it interrupts through must be freed
/// later, the queue pair that writes to it earlier.
pub(crate) struct Cq {
    object: Object,
    memory: Arc<QueueMemory>,
    registers: Arc<CqRegisters>,
}

impl Cq {
    /// Allocates a queue of at least `entries` entries whose completions interrupt through `eq`,
    /// registers its memory and arms it. `token` comes back in error events.
    pub(crate) fn new(
        firmware: &Arc<Firmware>,
        name: &'static str,
        eq: &Eq,
        token: u32,
        entries: u32,
    ) -> Result<Self> {
        let args = AllocCq {
            adapter: firmware.caller().adapter(),
            eq: eq.handle(),
            token,
            cqes: entries,
        };
        let (mut object, answer) = Object::allocate(firmware, name, false, &args.pack(), |r| {
            CqAllocated::unpack(r).handle
        })?;
        let allocated = CqAllocated::unpack(answer.registers());
        let geometry = CqGeometry::check(&args, &allocated)?;
        let registers = Arc::new(
            CqRegisters(BeMmio::new(object::registers(
                &answer,
                allocated.registers,
            )?)?),
            GFP_KERNEL,
        )?;
        let memory = object.add_queue(QueueSelect::Sq, geometry.pages(), CQE_SIZE)?;
        registers.arm();
        Ok(Self {
            object,
            memory,
            registers,
        })
    }

    /// The queue's handle.
    pub(crate) fn handle(&self) -> u64 {
        self.object.handle()
    }

    /// The entries.
    pub(crate) fn memory(&self) -> &Arc<QueueMemory> {
        &self.memory
    }

    /// The registers.
    pub(crate) fn registers(&self) -> &Arc<CqRegisters> {
        &self.registers
    }
}
