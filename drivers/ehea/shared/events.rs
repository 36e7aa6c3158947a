// SPDX-License-Identifier: GPL-2.0

//! Notification event queue: link changes and malfunctions (eHEA ABI §6.6, §9.5).

use super::{
    members::Member,
    worker::Adapter, //
};
use crate::{
    abi::{
        eqe::{
            NeqEntry,
            NeqEvent, //
        },
        hcall::EqKind, //
    },
    error::Result,
    firmware::{
        Eq,
        Firmware, //
    },
    kernel_ext::{
        dma::QueueMemory,
        irq::{
            self,
            IrqReturn, //
        },
        workqueue::{
            self,
            Work,
            WorkRef, //
        }, //
    },
    queue::{
        EventMemory,
        EventReader, //
    }, //
};
use kernel::{
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        Arc,
        Mutex, //
    }, //
};

/// Entries of an event queue.
pub(crate) struct EventEntries(pub(crate) Arc<QueueMemory>);

impl EventMemory for EventEntries {
    fn event(&self, index: usize) -> u64 {
        // No entry is new where there is no memory: readers stay within the ring.
        self.0
            .entry(index)
            .and_then(|entry| entry.read_u64_be(0).ok())
            .unwrap_or(0)
    }
}

/// Interrupt that schedules work, because its cause is handled with hypercalls.
pub(crate) struct WorkInterrupt<H: workqueue::Handler>(pub(crate) Arc<Work<H>>);

impl<H: workqueue::Handler> irq::Handler for WorkInterrupt<H> {
    fn handle(&self) -> IrqReturn {
        self.0.schedule();
        IrqReturn::Handled
    }
}

/// Reader of the notification event queue.
#[pin_data]
struct NeqWork {
    adapter: Arc<Adapter>,
    handle: u64,
    entries: EventEntries,
    #[pin]
    reader: Mutex<EventReader>,
}

impl workqueue::Handler for NeqWork {
    fn run(&self, _work: &WorkRef<'_>) {
        let mut reader = self.reader.lock();
        loop {
            let mut count = 0;
            while let Some(entry) = reader.next(&self.entries) {
                self.adapter.notice(NeqEntry::unpack(entry));
                count += 1;
            }
            if let Err(error) = self.adapter.firmware().reset_events(self.handle) {
                dev_warn!(self.adapter.firmware().dev(), "{}\n", error);
            }
            // An event that came before the reset may not have interrupted.
            if count == 0 {
                return;
            }
        }
    }
}

/// Notification event queue and its interrupt.
pub(crate) struct Notifications {
    // Dropped in this order: no interrupt is left when the work ends, and no reader when the queue
    // is freed.
    _interrupt: Pin<KBox<irq::Registration<WorkInterrupt<NeqWork>>>>,
    _work: Arc<Work<NeqWork>>,
    _eq: Eq,
}

impl Notifications {
    /// Allocates the queue.
    pub(crate) fn allocate(firmware: &Arc<Firmware>) -> Result<Eq> {
        Eq::new(firmware, "notification event queue", EqKind::Notification)
    }

    /// Starts to handle the events in `eq`, including those that are in it already.
    pub(crate) fn new(adapter: &Arc<Adapter>, eq: Eq, name: CString) -> Result<Self> {
        let entries = EventEntries(eq.memory().clone());
        let reader = EventReader::new(eq.slots());
        let handle = eq.handle();
        let work = Arc::pin_init(
            Work::new(pin_init!(NeqWork {
                adapter: adapter.clone(),
                handle,
                entries,
                reader <- new_mutex!(reader),
            })),
            GFP_KERNEL,
        )?;
        let interrupt = KBox::pin_init(
            irq::Registration::new(eq.map_interrupt()?, name, WorkInterrupt(work.clone())),
            GFP_KERNEL,
        )?;
        work.schedule();
        Ok(Self {
            _interrupt: interrupt,
            _work: work,
            _eq: eq,
        })
    }
}

impl Adapter {
    /// Handles an event.
    fn notice(&self, entry: NeqEntry) {
        let dev = self.firmware().dev();
        match entry.event {
            NeqEvent::PORT_STATE_CHANGE => self.with_port(entry.port, |port| {
                port.link_changed(entry.port_up);
            }),
            NeqEvent::PORT_MALFUNCTION => self.with_port(entry.port, |port| port.malfunction()),
            NeqEvent::ADAPTER_MALFUNCTION => dev_err!(dev, "adapter malfunction\n"),
            NeqEvent(code) => dev_warn!(dev, "unknown event {:#x}\n", code),
        }
    }

    /// Calls `f` with the port `number`.
    fn with_port(&self, number: u16, f: impl FnOnce(&dyn Member)) {
        match self.members().get(number) {
            Some(member) => f(&**member),
            None => dev_warn!(self.firmware().dev(), "event of unknown port {}\n", number),
        }
    }
}
