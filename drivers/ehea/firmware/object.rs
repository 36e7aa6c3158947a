// SPDX-License-Identifier: GPL-2.0

//! Common part of queues and queue pairs: a handle, and memory that the adapter reaches.

use super::Firmware;
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
    memory: KVec<Arc<QueueMemory>>,
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
            memory: KVec::new(),
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
        self.memory.push(memory.clone(), GFP_KERNEL)?;

        self.firmware
            .caller()
            .register_queue(self.handle, queue, memory.all_pages(), self.name)?;
        Ok(memory)
    }

    /// Makes the adapter stop to use a queue pair (eHEA ABI §3.11).
    fn disable(&self) {
        let args = DisableAndGetHea {
            adapter: self.firmware.caller().adapter(),
            report: DisableAndGetHea::WQE_POINTERS,
            qp: self.handle,
        };
        let opcode = Opcode::DISABLE_AND_GET_HEA;
        if let Err(error) = self.firmware.caller().call(opcode, args.pack(), self.name) {
            dev_err!(self.firmware.dev(), "{}\n", Error::from(error));
        }
    }

    fn free(&self, force: bool) -> core::result::Result<(), HcallError> {
        if self.is_queue_pair {
            self.disable();
        }
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
    /// Frees the object, by force if firmware thinks that it is still in use (eHEA ABI §3.7).
    fn drop(&mut self) {
        let mut result = self.free(false);
        if matches!(&result, Err(error) if error.code == ReturnCode::R_STATE) {
            self.log_error_data();
            result = self.free(true);
        }
        if let Err(error) = result {
            dev_err!(self.firmware.dev(), "{}\n", Error::from(error));
            // The adapter may still write to the memory.
            let memory = core::mem::take(&mut self.memory);
            self.firmware.ledger().queue_refused(self.handle, memory);
        }
    }
}
