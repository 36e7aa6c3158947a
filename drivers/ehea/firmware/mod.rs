// SPDX-License-Identifier: GPL-2.0

//! Firmware: its calls as functions, and the objects that it allocates as owned values.
//!
//! Every object (event queue, completion queue, queue pair) is a type whose drop gives it back, so
//! that each handle is freed exactly once. All functions may sleep, because firmware may answer
//! that a call takes long.

mod cq;
mod eq;
mod ledger;
mod object;
mod port;
mod qp;

pub(crate) use cq::{
    Cq,
    CqRegisters, //
};
pub(crate) use eq::Eq;
pub(crate) use port::PortCalls;
pub(crate) use qp::{
    Qp,
    QpConfig,
    QpRegisters, //
};

use crate::{
    abi::{
        cb::{
            adapter::AdapterBlock,
            error::ErrorBlock,
            ALIGNMENT, //
        },
        hcall::{
            ErrorData,
            Opcode,
            QueryHea,
            Regs,
            ResetEvents,
            ReturnCode, //
        }, //
    },
    error::{
        Error,
        Result, //
    },
    hcall::{
        Caller,
        HcallError,
        Hypervisor,
        Memory,
        QueuePage, //
    },
    kernel_ext::{
        crash::Registration,
        dma::{
            Access,
            Reachable, //
        },
        hypercall::{
            self,
            Answer, //
        },
        net::stats::Counter,
        page::ContiguousBuffer, //
    }, //
};
use kernel::{
    device,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
    time::{
        delay::fsleep,
        Delta, //
    }, //
};
use ledger::{
    Crash,
    Ledger, //
};

/// What is known of an adapter's hypercalls.
struct Calls {
    /// Their number, repetitions included.
    count: Counter,
    /// What firmware holds because of them.
    ledger: Arc<Ledger>,
    /// Gives that back in a crash; none if the kernel has no room for one more to be told.
    _crash: Option<Pin<KBox<Registration<Crash>>>>,
}

/// The platform that hypercalls go to: a real one.
#[derive(Clone)]
pub(crate) struct Platform {
    dev: ARef<device::Device>,
    calls: Arc<Calls>,
}

impl QueuePage for Reachable {
    fn real_address(&self) -> u64 {
        self.address()
    }
}

impl Hypervisor for Platform {
    type Block = ContiguousBuffer;
    type QueuePage = Reachable;
    type Results = Answer;

    fn call(&self, opcode: Opcode, regs: Regs, memory: Memory<'_, Self>) -> (ReturnCode, Answer) {
        self.calls.count.inc();
        let memory = match memory {
            Memory::None => hypercall::Memory::None,
            Memory::Block(block) => hypercall::Memory::Block(block),
            Memory::Queue(page) => hypercall::Memory::Queue(page),
        };
        let answer = hypercall::hea_call9(opcode.0, regs, memory);
        let code = ReturnCode(answer.status());
        if code.is_success() {
            self.calls.ledger.note(opcode, &regs, answer.registers());
        }
        (code, answer)
    }

    fn sleep_ms(&self, ms: u32) {
        fsleep(Delta::from_millis(ms.into()));
    }

    fn not_freed(&self, resource: u64, error: &HcallError) {
        self.calls.ledger.region_refused(resource);
        dev_err!(self.dev, "{}\n", Error::Refused(*error));
    }
}

/// Access to firmware on behalf of one adapter.
pub(crate) struct Firmware {
    caller: Caller<Platform>,
    access: Access,
}

impl Firmware {
    /// For the adapter with that handle (eHEA ABI §9.1), which has `access` to memory; messages are
    /// logged for `dev`.
    pub(crate) fn new(adapter: u64, dev: &device::Device, access: &Access) -> Result<Self> {
        let ledger = Arc::pin_init(Ledger::new(adapter), GFP_KERNEL)?;
        let crash = Crash(ledger.clone());
        let crash = match KBox::pin_init(Registration::new(crash), GFP_KERNEL) {
            Ok(crash) => Some(crash),
            Err(error) if error == ENOSPC => {
                dev_warn!(
                    dev,
                    "no room for a crash handler: a crash will leave resources\n"
                );
                None
            }
            Err(error) => return Err(error.into()),
        };
        let platform = Platform {
            dev: dev.into(),
            calls: Arc::new(
                Calls {
                    count: Counter::default(),
                    ledger,
                    _crash: crash,
                },
                GFP_KERNEL,
            )?,
        };
        Ok(Self {
            caller: Caller::new(platform, adapter),
            access: access.clone(),
        })
    }

    /// What makes calls for the adapter.
    pub(crate) fn caller(&self) -> &Caller<Platform> {
        &self.caller
    }

    /// How the adapter gets at memory. Control blocks and page lists are not affected: those are
    /// read and written by firmware.
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// How many hypercalls were made for the adapter, repetitions included.
    pub(crate) fn calls(&self) -> u64 {
        self.caller.hypervisor().calls.count.get()
    }

    /// Returns the book of what firmware holds.
    fn ledger(&self) -> &Ledger {
        &self.caller.hypervisor().calls.ledger
    }

    /// Returns how many memory regions, shared ones included, firmware did not take back.
    pub(crate) fn not_freed(&self) -> u64 {
        self.ledger().regions_refused()
    }

    /// Asks firmware once more to take back what it did not. Process context.
    pub(crate) fn free_again(&self) {
        self.ledger().free_again(|resource| {
            // What it refuses stays in the book.
            let _ = self.caller.free(resource, true, "resource without owner");
        });
    }

    /// The device, for messages.
    pub(crate) fn dev(&self) -> &device::Device {
        &self.caller.hypervisor().dev
    }

    /// Queries the adapter (eHEA ABI §3.8).
    pub(crate) fn query_adapter(&self) -> Result<AdapterBlock> {
        let block = control_block()?;
        let args = QueryHea {
            adapter: self.caller.adapter(),
            block: block.real_address(),
        };
        self.caller
            .call_block(Opcode::QUERY_HEA, args.pack(), &block, "adapter")?;
        Ok(block.window().read(0)?)
    }

    /// Takes back the pending events of notification queue `neq`, after it was drained (eHEA ABI
    /// §3.13).
    pub(crate) fn reset_events(&self, neq: u64) -> Result {
        let args = ResetEvents {
            adapter: self.caller.adapter(),
            neq,
            events: ResetEvents::ALL,
        };
        self.caller.call(
            Opcode::RESET_EVENTS,
            args.pack(),
            "notification event queue",
        )?;
        Ok(())
    }

    /// Fetches the error data of a queue or queue pair; none if firmware has none (eHEA ABI §3.14).
    pub(crate) fn error_data(&self, resource: u64) -> Result<Option<ErrorBlock>> {
        let block = control_block()?;
        let args = ErrorData {
            adapter: self.caller.adapter(),
            resource,
            block: block.real_address(),
        };
        match self
            .caller
            .call_block(Opcode::ERROR_DATA, args.pack(), &block, "error data")
        {
            Ok(_) => Ok(Some(block.window().read(0)?)),
            Err(error) if error.code == ReturnCode::R_STATE => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Firmware {
    fn drop(&mut self) {
        self.free_again();
        self.ledger().close();
    }
}

/// A zeroed page for a control block.
pub(crate) fn control_block() -> Result<ContiguousBuffer> {
    Ok(ContiguousBuffer::new(ALIGNMENT)?)
}
