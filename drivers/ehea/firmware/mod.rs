// SPDX-License-Identifier: GPL-2.0

//! Hypercalls as functions, and firmware's objects as owned values.
//!
//! Each object (event queue, completion queue, queue pair) is a value whose drop frees it. Each
//! handle is therefore freed exactly once. All functions may sleep, because firmware may answer
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

/// Records of the hypercalls for an adapter.
struct Calls {
    /// Number of calls, including repetitions.
    count: Counter,
    /// Resources that firmware holds because of the calls.
    ledger: Arc<Ledger>,
    /// Registration of the handler that gives the resources back in a crash. `None` if the kernel
    /// had no memory for it.
    _crash: Option<Pin<KBox<Registration<Crash>>>>,
}

/// The kernel's platform, to which hypercalls go.
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

/// Access to firmware for one adapter.
pub(crate) struct Firmware {
    caller: Caller<Platform>,
    access: Access,
}

impl Firmware {
    /// Returns the access for the adapter with the handle `adapter` (eHEA ABI §9.1), which reaches
    /// memory by `access`. Messages are logged for `dev`.
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

    /// Returns the caller of hypercalls for the adapter.
    pub(crate) fn caller(&self) -> &Caller<Platform> {
        &self.caller
    }

    /// Returns the way by which the adapter reaches memory. It does not apply to control blocks and
    /// page lists, which firmware reads and writes itself.
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// Returns the number of hypercalls for the adapter, including repetitions.
    pub(crate) fn calls(&self) -> u64 {
        self.caller.hypervisor().calls.count.get()
    }

    /// Returns the ledger of resources that firmware holds.
    fn ledger(&self) -> &Ledger {
        &self.caller.hypervisor().calls.ledger
    }

    /// Returns the number of memory regions, including shared ones, that firmware has refused to
    /// take back.
    pub(crate) fn not_freed(&self) -> u64 {
        self.ledger().regions_refused()
    }

    /// Asks firmware again to take back what it has refused to take. Process context.
    pub(crate) fn free_again(&self) {
        self.ledger().give_back_again(|held, by_force| {
            let (opcode, args) = held.give_back(self.caller.adapter(), by_force);
            // What it refuses stays in the book.
            let _ = self.caller.call(opcode, args, "resource without owner");
        });
    }

    /// Returns the device for messages.
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

    /// Resets the pending events of the notification queue `neq` after the queue was read (eHEA ABI
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

    /// Fetches the error data of a queue or queue pair (eHEA ABI §3.14). Returns `None` if firmware
    /// has none.
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

/// Allocates a zeroed page for a control block.
pub(crate) fn control_block() -> Result<ContiguousBuffer> {
    Ok(ContiguousBuffer::new(ALIGNMENT)?)
}
