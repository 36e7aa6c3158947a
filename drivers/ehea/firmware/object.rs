// SPDX-License-Identifier: GPL-2.0

//! Common part of queues and queue pairs: a handle, and memory that the adapter reaches.

use super::{
    ledger::Memory,
    Firmware, //
};
use crate::{
    abi::{
        hcall::{
            DisableAndGetHea,
            Opcode,
            QueueSelect,
            Regs,
            ReturnCode, //
        },
        ring, //
    },
    error::{
        Error,
        Result, //
    },
    hcall::HcallError,
    kernel_ext::{
        dma::{
            self,
            Abandon,
            QueueMemory, //
        },
        hypercall::{
            Answer,
            RegisterBlock, //
        }, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

// Queues consist of pages as firmware counts them.
const _: () = assert!(ring::QUEUE_PAGE_SIZE == dma::QUEUE_PAGE_SIZE);

/// Queue or queue pair that firmware has allocated. Dropping it frees it.
pub(super) struct Object {
    firmware: Arc<Firmware>,
    name: &'static str,
    handle: u64,
    is_queue_pair: bool,
    /// True if the adapter may use a queue pair until it is told to stop.
    must_disable: bool,
    memory: Memory,
}

impl Object {
    /// Allocates an object. Returns it with firmware's answer. `handle` finds the handle of the object
    /// in the registers of the answer.
    pub(super) fn allocate(
        firmware: &Arc<Firmware>,
        name: &'static str,
        is_queue_pair: bool,
        args: &Regs,
        handle: impl FnOnce(&Regs) -> u64,
    ) -> Result<(Self, Answer)> {
        // Whatever fails from the call on must free the handle.
        let firmware = firmware.clone();
        let answer = firmware
            .caller()
            .call(Opcode::ALLOC_HEA_RESOURCE, *args, name)?;
        let object = Self {
            firmware,
            name,
            handle: handle(answer.registers()),
            is_queue_pair,
            must_disable: is_queue_pair,
            memory: Memory::default(),
        };
        Ok((object, answer))
    }

    pub(super) fn handle(&self) -> u64 {
        self.handle
    }

    pub(super) fn firmware(&self) -> &Arc<Firmware> {
        &self.firmware
    }

    /// Allocates `pages` pages for queue `queue` of the object and registers all of them, in the
    /// order of the ring (eHEA ABI §3.5).
    ///
    /// Firmware must expect more pages after each page except for the last one. Otherwise it
    /// disagrees about the size of the queue.
    pub(super) fn add_queue(
        &mut self,
        queue: QueueSelect,
        pages: usize,
        entry_size: usize,
    ) -> Result<Arc<QueueMemory>> {
        let memory = QueueMemory::new(self.firmware.access(), pages, entry_size)?;
        let memory = Arc::new(memory, GFP_KERNEL)?;
        self.memory.queues.push(memory.clone(), GFP_KERNEL)?;

        self.firmware
            .caller()
            .register_queue(self.handle, queue, memory.all_pages(), self.name)?;
        Ok(memory)
    }

    /// Makes the adapter stop to use a queue pair for good (eHEA ABI §3.11), unless it has stopped. Returns whether
    /// it has.
    pub(super) fn disable(&mut self) -> bool {
        if !self.must_disable {
            return true;
        }
        let args = DisableAndGetHea {
            adapter: self.firmware.caller().adapter(),
            report: DisableAndGetHea::WQE_POINTERS,
            qp: self.handle,
        };
        let opcode = Opcode::DISABLE_AND_GET_HEA;
        match self.firmware.caller().call(opcode, args.pack(), self.name) {
            Ok(_) => self.must_disable = false,
            Err(error) => dev_err!(self.firmware.dev(), "{}\n", Error::from(error)),
        }
        !self.must_disable
    }

    /// Keeps buffers until the object is freed, because the adapter may reach them until then.
    pub(super) fn keep(&mut self, buffers: KBox<dyn Abandon>) {
        self.memory.buffers = Some(buffers);
    }

    fn free(&mut self, force: bool) -> core::result::Result<(), HcallError> {
        self.disable();
        self.firmware.caller().free(self.handle, force, self.name)
    }

    fn log_error_data(&self) {
        if let Ok(Some(data)) = self.firmware.error_data(self.handle) {
            dev_warn!(
                self.firmware.dev(),
                "{} {:#x} has errors when freed: AER {:#x}, AERR {:#x}\n",
                self.name,
                self.handle,
                data.aer.get(),
                data.aerr.get()
            );
        }
    }
}

/// Returns the registers of an object from firmware's answer, which has them at `address`.
pub(super) fn registers(answer: &Answer, address: u64) -> Result<RegisterBlock> {
    let block = answer.register_block(address);
    block.ok_or(Error::Invalid("registers at an unknown address"))
}

impl Drop for Object {
    /// Frees the object. A queue pair of which firmware thinks that it is still in use is freed by force (eHEA
    /// ABI §3.7). A queue is not: if it is in use, its queue pair could not be freed, and the adapter writes to it.
    fn drop(&mut self) {
        let mut result = self.free(false);
        let in_use = matches!(&result, Err(error) if error.code == ReturnCode::R_STATE);
        if in_use && self.is_queue_pair {
            self.log_error_data();
            result = self.free(true);
        }
        if let Err(error) = result {
            dev_err!(self.firmware.dev(), "{}\n", Error::from(error));
            let memory = core::mem::take(&mut self.memory);
            self.firmware
                .ledger()
                .queue_refused(self.handle, memory, self.is_queue_pair);
        }
    }
}
