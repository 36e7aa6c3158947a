// SPDX-License-Identifier: GPL-2.0

//! Errors that the adapter reports about queue pairs of a port (eHEA ABI §6.6, §9.7).

use super::{
    context::Context,
    reset::{
        ErrorReport,
        ResetReason, //
    }, //
};
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

/// Reader of the affiliated event queue of a port.
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
    /// Returns the reason for which the port must be reset because of an event. If it need not be
    /// reset, the event is logged.
    fn reason(&self, event: Eqe) -> Option<ResetReason> {
        let ctx = &self.ctx;
        let handle = match usize::try_from(event.token) {
            Ok(token) if !event.is_cq => self.queue_pairs.lock().get(token).copied(),
            _ => None,
        };
        let Some(handle) = handle else {
            return Some(ResetReason::UnknownEvent(event));
        };
        let (report, fatal) = match ctx.firmware().error_data(handle) {
            Ok(Some(data)) => (
                ErrorReport::Registers {
                    aer: data.aer.get(),
                    aerr: data.aerr.get(),
                },
                data.needs_reset(),
            ),
            Ok(None) => (ErrorReport::Missing, true),
            Err(error) => (ErrorReport::Unknown(error), true),
        };
        let token = event.token;
        if !fatal {
            ctx.log_err(fmt!("error of queue pair {token}: {report}"));
            return None;
        }
        Some(ResetReason::QueuePair { token, report })
    }
}

impl workqueue::Handler for AffiliatedWork {
    fn run(&self, _work: &WorkRef<'_>) {
        let mut reader = self.reader.lock();
        while let Some(entry) = reader.next(&self.entries) {
            if let Some(reason) = self.reason(Eqe::unpack(entry)) {
                self.ctx.request_reset(reason);
            }
        }
    }
}

/// Handler of the affiliated event queue of an open port.
pub(super) struct AffiliatedEvents {
    // Dropped in this order: no interrupt is left when the work ends.
    _interrupt: Pin<KBox<irq::Registration<WorkInterrupt<AffiliatedWork>>>>,
    _work: Arc<Work<AffiliatedWork>>,
}

impl AffiliatedEvents {
    /// Starts to handle the events in `eq`. `queue_pairs` are the handles of the port's queue pairs
    /// by token.
    pub(super) fn new(
        ctx: &Arc<Context>,
        eq: &Eq,
        queue_pairs: impl Iterator<Item = u64>,
    ) -> Result<Self> {
        let name = CString::try_from_fmt(fmt!("{}-aff", ctx.dev().name()))?;
        let entries = EventEntries(eq.memory().clone());
        let reader = EventReader::new(eq.slots());
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
