// SPDX-License-Identifier: GPL-2.0

//! Firmware: its calls as functions, and the objects that it allocates as owned values.
//!
//! Every object (event queue, completion queue, queue pair) is a type whose drop gives it back, so
//! that each handle is freed exactly once. All functions may sleep, because firmware may answer
//! that a call takes long.

mod cq;
mod crash;
mod eq;
mod error;
mod object;
mod port;
mod qp;

pub(crate) use cq::{
    Cq,
    CqRegisters, //
};
pub(crate) use eq::Eq;
pub(crate) use error::{
    Error,
    Result, //
};
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
        },
    },
    kernel_ext::{
        crash::Registration,
        dma::Access,
        hypercall,
        net::stats::Counter,
        page::ContiguousBuffer, //
    },
    mr,
};
use core::ops::Deref;
use crash::Ledger;
use kernel::{
    device,
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        Mutex, //
    },
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// More resources than firmware will ever refuse to free at the same time.
const MAX_LEFTOVERS: usize = 64;

/// What is known of an adapter's hypercalls.
#[pin_data]
struct Calls {
    /// Their number, repetitions included.
    count: Counter,
    /// Handles of resources that firmware did not take back, to be tried again. There is room for
    /// [`MAX_LEFTOVERS`]. Nothing else is locked meanwhile, but hypercalls are made.
    #[pin]
    leftovers: Mutex<KVec<u64>>,
    /// How many there was no room for.
    lost: Counter,
    /// What firmware keeps, to be given back in a crash; none if the kernel has no room for one more
    /// to be told.
    crash: Option<Pin<KBox<Registration<Ledger>>>>,
}

/// The platform that hypercalls go to: a real one.
#[derive(Clone)]
pub(crate) struct Platform {
    dev: ARef<device::Device>,
    calls: Arc<Calls>,
}

impl mr::Hypervisor for Platform {
    fn call(&self, opcode: Opcode, regs: Regs) -> (ReturnCode, Regs) {
        self.calls.count.inc();
        let (status, results) = hypercall::hea_call9(opcode.0, regs);
        let code = ReturnCode(status);
        if let Some(ledger) = &self.calls.crash {
            if code.is_success() {
                ledger.note(opcode, &regs, &results);
            }
        }
        (code, results)
    }

    fn sleep_ms(&self, ms: u32) {
        fsleep(Delta::from_millis(ms.into()));
    }

    fn not_freed(&self, resource: u64, error: &mr::HcallError) {
        let mut leftovers = self.calls.leftovers.lock();
        if leftovers.push_within_capacity(resource).is_err() {
            self.calls.lost.inc();
        }
        drop(leftovers);
        dev_err!(self.dev, "{}\n", Error::Refused(*error));
    }
}

/// Access to firmware on behalf of one adapter.
pub(crate) struct Firmware {
    calls: mr::Firmware<Platform>,
    access: Access,
}

impl Firmware {
    /// For the adapter with that handle (eHEA ABI §9.1), which has `access` to memory; messages are
    /// logged for `dev`.
    pub(crate) fn new(adapter: u64, dev: &device::Device, access: &Access) -> Result<Self> {
        let leftovers = KVec::with_capacity(MAX_LEFTOVERS, GFP_KERNEL)?;
        let crash = match KBox::pin_init(Registration::new(Ledger::new(adapter)), GFP_KERNEL) {
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
            calls: Arc::pin_init(
                pin_init!(Calls {
                    count: Counter::default(),
                    leftovers <- new_mutex!(leftovers),
                    lost: Counter::default(),
                    crash,
                }),
                GFP_KERNEL,
            )?,
        };
        Ok(Self {
            calls: mr::Firmware::new(platform, adapter),
            access: access.clone(),
        })
    }

    /// How the adapter gets at memory. Control blocks and page lists are not affected: those are
    /// read and written by firmware.
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// How many hypercalls were made for the adapter, repetitions included.
    pub(crate) fn calls(&self) -> u64 {
        self.hypervisor().calls.count.get()
    }

    /// How many memory regions, shared ones included, firmware did not take back.
    pub(crate) fn not_freed(&self) -> u64 {
        let calls = &self.hypervisor().calls;
        let leftovers = calls.leftovers.lock().len();
        calls.lost.get().wrapping_add(leftovers as u64)
    }

    /// Asks firmware once more to take back what it did not. Process context.
    pub(crate) fn free_again(&self) {
        let mut leftovers = self.hypervisor().calls.leftovers.lock();
        leftovers.retain(|&mut handle| self.free(handle, true, "memory region").is_err());
    }

    /// The device, for messages.
    pub(crate) fn dev(&self) -> &device::Device {
        &self.hypervisor().dev
    }

    /// Queries the adapter (eHEA ABI §3.8).
    pub(crate) fn query_adapter(&self) -> Result<AdapterBlock> {
        let block = control_block()?;
        let args = QueryHea {
            adapter: self.adapter(),
            block: block.real_address(),
        };
        self.call(Opcode::QUERY_HEA, args.pack(), "adapter")?;
        Ok(block.window().read(0)?)
    }

    /// Takes back the pending events of notification queue `neq`, after it was drained (eHEA ABI
    /// §3.13).
    pub(crate) fn reset_events(&self, neq: u64) -> Result {
        let args = ResetEvents {
            adapter: self.adapter(),
            neq,
            events: ResetEvents::ALL,
        };
        self.call(
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
            adapter: self.adapter(),
            resource,
            block: block.real_address(),
        };
        match self.call(Opcode::ERROR_DATA, args.pack(), "error data") {
            Ok(_) => Ok(Some(block.window().read(0)?)),
            Err(error) if error.code == ReturnCode::R_STATE => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Firmware {
    fn drop(&mut self) {
        self.free_again();
    }
}

impl Deref for Firmware {
    type Target = mr::Firmware<Platform>;

    fn deref(&self) -> &Self::Target {
        &self.calls
    }
}

/// A zeroed page for a control block.
pub(crate) fn control_block() -> Result<ContiguousBuffer> {
    Ok(ContiguousBuffer::new(ALIGNMENT)?)
}
