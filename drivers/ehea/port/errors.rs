// SPDX-License-Identifier: GPL-2.0

//! Errors that the adapter reports about queue pairs of a port (eHEA ABI §6.6, §9.7).

use super::context::Context;
use crate::{
    abi::eqe::Eqe,
    error::Result,
    firmware::Eq,
    kernel_ext::{
        irq,
        workqueue::{
            self,
            Work,
            WorkRef, //
        }, //
    },
    queue::EventReader,
    shared::{
        EventEntries,
        WorkInterrupt, //
    }, //
};
use kernel::{
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        Arc,
        Mutex, //
    },
    xarray::{
        AllocKind,
        XArray, //
    }, //
};

/// Reads the affiliated event queue of a port.
#[pin_data]
struct AffiliatedWork {
    ctx: Arc<Context>,
    entries: EventEntries,
    #[pin]
    reader: Mutex<EventReader>,
    /// Handles of the queue pairs, by token.
    #[pin]
    queue_pairs: XArray<KBox<u64>>,
}

impl AffiliatedWork {
    /// Whether the port must be reset because of an event.
    fn is_fatal(&self, event: Eqe) -> bool {
        let ctx = &self.ctx;
        let handle = match usize::try_from(event.token) {
            Ok(token) if !event.is_cq => self.queue_pairs.lock().get(token).copied(),
            _ => None,
        };
        let Some(handle) = handle else {
            ctx.log_err(fmt!("error event of unknown origin: {event:?}"));
            return true;
        };
        match ctx.firmware().error_data(handle) {
            Ok(Some(data)) => {
                let fatal = data.needs_reset();
                ctx.log_err(fmt!(
                    "error of queue pair {}: AER {:#x}, AERR {:#x}{}",
                    event.token,
                    data.aer.get(),
                    data.aerr.get(),
                    if fatal { ", resetting" } else { "" }
                ));
                fatal
            }
            Ok(None) => {
                ctx.log_err(fmt!(
                    "error of queue pair {} without data, resetting",
                    event.token
                ));
                true
            }
            Err(error) => {
                ctx.log_err(fmt!("{error}"));
                true
            }
        }
    }
}

impl workqueue::Handler for AffiliatedWork {
    fn run(&self, _work: &WorkRef<'_>) {
        let mut reader = self.reader.lock();
        let mut fatal = false;
        while let Some(entry) = reader.next(&self.entries) {
            fatal |= self.is_fatal(Eqe::unpack(entry));
        }
        if fatal {
            self.ctx.request_reset();
        }
    }
}

/// Who listens to the affiliated event queue of an open port.
pub(super) struct AffiliatedEvents {
    // Dropped in this order: no interrupt is left when the work ends.
    _interrupt: Pin<KBox<irq::Registration<WorkInterrupt<AffiliatedWork>>>>,
    _work: Arc<Work<AffiliatedWork>>,
}

impl AffiliatedEvents {
    /// Listens to `eq`. `queue_pairs` are the handles of the port's queue pairs by token.
    pub(super) fn new(
        ctx: &Arc<Context>,
        eq: &Eq,
        queue_pairs: impl Iterator<Item = u64>,
    ) -> Result<Self> {
        let name = CString::try_from_fmt(fmt!("{}-aff", ctx.dev().name()))?;
        let entries = EventEntries(eq.memory().clone());
        let reader = EventReader::new(eq.memory().entries());
        let work = Arc::pin_init(
            Work::new(pin_init!(AffiliatedWork {
                ctx: ctx.clone(),
                entries,
                reader <- new_mutex!(reader),
                queue_pairs <- XArray::new(AllocKind::Alloc),
            })),
            GFP_KERNEL,
        )?;
        for (token, handle) in queue_pairs.enumerate() {
            let handle = KBox::new(handle, GFP_KERNEL)?;
            let mut table = work.queue_pairs.lock();
            table
                .store(token, handle, GFP_KERNEL)
                .map_err(|error| error.error)?;
        }
        let interrupt = KBox::pin_init(
            irq::Registration::new(eq.map_interrupt()?, name, WorkInterrupt(work.clone())),
            GFP_KERNEL,
        )?;
        Ok(Self {
            _interrupt: interrupt,
            _work: work,
        })
    }
}
