// SPDX-License-Identifier: GPL-2.0

//! Event queues.

use super::{
    object::Object,
    Firmware, //
};
use crate::{
    abi::{
        hcall::{
            AllocEq,
            EqAllocated,
            EqKind,
            QueueSelect, //
        },
        ring::EQE_SIZE, //
    },
    error::Result,
    kernel_ext::{
        dma::QueueMemory,
        irq::Mapping, //
    },
    queue::EqGeometry, //
};
use kernel::sync::Arc;

/// Number of entries that the driver requests. Firmware rounds it up to whole pages.
const ENTRIES: u32 = 20;

/// Event queue. Dropping it frees it. Queues that interrupt through it, and the handler of its
/// interrupt, must be dropped before it.
pub(crate) struct Eq {
    object: Object,
    interrupt: u32,
    slots: usize,
    memory: Arc<QueueMemory>,
}

impl Eq {
    /// Allocates an event queue and registers its memory.
    pub(crate) fn new(firmware: &Arc<Firmware>, name: &'static str, kind: EqKind) -> Result<Self> {
        let args = AllocEq {
            adapter: firmware.caller().adapter(),
            kind,
            interrupt_sources: 1,
            max_eqes: ENTRIES,
        };
        let (mut object, answer) = Object::allocate(firmware, name, false, &args.pack(), |r| {
            EqAllocated::unpack(r).handle
        })?;
        let allocated = EqAllocated::unpack(answer.registers());
        let geometry = EqGeometry::check(&args, &allocated)?;
        let memory = object.add_queue(QueueSelect::Sq, geometry.pages(), EQE_SIZE)?;
        Ok(Self {
            object,
            interrupt: allocated.interrupt,
            slots: geometry.slots(),
            memory,
        })
    }

    /// Returns the handle of the queue.
    pub(crate) fn handle(&self) -> u64 {
        self.object.handle()
    }

    /// Maps the interrupt of the queue.
    pub(crate) fn map_interrupt(&self) -> Result<Mapping> {
        Ok(Mapping::new(self.interrupt)?)
    }

    /// Returns the number of entries.
    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    /// Returns the entries.
    pub(crate) fn memory(&self) -> &Arc<QueueMemory> {
        &self.memory
    }
}
