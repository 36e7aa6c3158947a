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

/// Registers of a completion queue (eHEA ABI §5.3).
pub(crate) struct CqRegisters(BeMmio<{ regs::BLOCK_SIZE }>);

impl CqRegisters {
    /// Gives back `count` entries that have been read.
    ///
    /// The store takes effect after the loads of the entries.
    #[inline]
    pub(crate) fn consumed(&self, count: u32) {
        self.0
            .write64::<{ cq::FECA }>(regs::FECA_COUNT.set(count.into()));
    }

    /// Requests an interrupt at the next completion.
    ///
    /// The adapter has the request when this returns. A completion that is not visible in the queue
    /// by then will interrupt.
    #[inline]
    pub(crate) fn arm(&self) {
        self.0.write64::<{ cq::EP }>(0);
        self.0.write64::<{ cq::N1 }>(regs::N1_ARM.mask());
        // Reading back orders the stores before looking at the queue.
        self.0.read64::<{ cq::N1 }>();
    }
}

/// Completion queue. Dropping it frees it. The queue pair that writes to it must be freed before
/// it, and the event queue through which it interrupts after it.
pub(crate) struct Cq {
    object: Object,
    slots: usize,
    memory: Arc<QueueMemory>,
    registers: Arc<CqRegisters>,
}

impl Cq {
    /// Allocates a queue of at least `entries` entries, registers its memory, and arms it. Its
    /// completions interrupt through `eq`. Error events carry `token`.
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
            slots: geometry.slots(),
            memory,
            registers,
        })
    }

    /// Returns the handle of the queue.
    pub(crate) fn handle(&self) -> u64 {
        self.object.handle()
    }

    /// Returns the number of entries.
    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    /// Returns the entries.
    pub(crate) fn memory(&self) -> &Arc<QueueMemory> {
        &self.memory
    }

    /// Returns the registers.
    pub(crate) fn registers(&self) -> &Arc<CqRegisters> {
        &self.registers
    }
}
