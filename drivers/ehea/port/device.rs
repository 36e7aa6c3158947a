// SPDX-License-Identifier: GPL-2.0

//! Logical port as a value.

use super::{
    context::{
        log_err,
        log_info,
        Context,
        Deferred,
        PortDevice, //
    },
    counters::{
        self,
        PortCounters,
        QueueCounters, //
    },
    filter::Filter,
    opening::PutOff,
    reset::ResetReason,
    running::Running,
    settings::Settings,
    tx::send::Queue, //
};
use crate::{
    abi::cb::port::PortBlock2,
    error::{
        LastingFailure,
        Result, //
    },
    firmware::PortCalls,
    kernel_ext::net::{
        self,
        Features, //
    },
    shared::Adapter, //
};
use core::sync::atomic::AtomicBool;
use kernel::{
    fmt,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};

/// Logical port.
#[pin_data]
pub(crate) struct Port {
    pub(super) adapter: Arc<Adapter>,
    pub(super) calls: Arc<PortCalls>,
    pub(super) settings: Settings,
    pub(super) queues: KVec<Queue>,
    /// Length in bytes of the longest packet that the port sends.
    pub(super) max_mtu: u32,
    // Locked from before the port ceases to be open until nothing is left of it.
    #[pin]
    pub(super) closing: Mutex<()>,
    /// True while somebody waits for `running` to close the port.
    pub(super) leaving: AtomicBool,
    /// True if the port is not opened any more. It changes under the instance lock.
    pub(super) retired: AtomicBool,
    // What exists while the port is open.
    #[pin]
    pub(super) running: Mutex<Option<Running>>,
    #[pin]
    pub(super) filter: Mutex<Filter>,
    /// Held while the carrier is set to what is known of the link. Under it, the lock of the port's control
    /// block is taken.
    #[pin]
    link: Mutex<()>,
    pub(super) put_off: PutOff,
    pub(super) counters: PortCounters,
    /// Counters of the adapter as they were fetched last. The lock is held while they are fetched, so that
    /// no older ones follow. Under it, the lock of the port's control block is taken.
    #[pin]
    pub(super) fetched: Mutex<Option<PortBlock2>>,
    pub(super) reset_failure: LastingFailure,
    pub(super) fetch_failure: LastingFailure,
}

impl Port {
    /// Returns the port that `calls` and `settings` are about, with `queues` queues. It sends packets of
    /// up to `max_mtu` bytes. The adapter's counters count from `base` on. The network device has the
    /// features `features` at first.
    pub(super) fn new(
        adapter: &Arc<Adapter>,
        calls: Arc<PortCalls>,
        settings: Settings,
        base: Option<PortBlock2>,
        features: Features,
        queues: u16,
        max_mtu: u32,
    ) -> Result<impl PinInit<Self, kernel::error::Error>> {
        let mut list = KVec::with_capacity(queues.into(), GFP_KERNEL)?;
        for index in 0..queues {
            list.push(Queue::new(index, max_mtu)?, GFP_KERNEL)?;
        }
        let adapter = adapter.clone();
        Ok(try_pin_init!(Self {
            filter <- new_mutex!(Filter::new(adapter.multicast_limit(), features)),
            adapter,
            calls,
            settings,
            queues: list,
            max_mtu,
            closing <- new_mutex!(()),
            leaving: AtomicBool::new(false),
            retired: AtomicBool::new(false),
            running <- new_mutex!(None),
            link <- new_mutex!(()),
            put_off: PutOff::new(),
            counters: PortCounters::new(),
            fetched <- new_mutex!(base),
            reset_failure: LastingFailure::new(),
            fetch_failure: LastingFailure::new(),
        }? kernel::error::Error))
    }

    /// Returns the logical port number.
    pub(super) fn number(&self) -> u16 {
        self.calls.number()
    }

    /// Returns the adapter.
    pub(super) fn adapter(&self) -> &Arc<Adapter> {
        &self.adapter
    }

    /// Returns the hypercalls about the port.
    pub(super) fn calls(&self) -> &PortCalls {
        &self.calls
    }

    /// Returns the counters of all queue pairs.
    pub(super) fn queue_counters(&self) -> impl Iterator<Item = &QueueCounters> {
        self.queues.iter().map(|queue| &*queue.counters)
    }

    /// Adds the port's counts to `values`, which are in the order of the table of counters.
    pub(super) fn add_counts(&self, values: &mut [u64]) {
        counters::add_port(values, &self.counters, || self.queue_counters());
    }

    /// Returns the context for parts of the port.
    pub(super) fn context(&self, dev: &PortDevice) -> Context {
        Context::new(dev, &self.adapter, &self.calls)
    }

    /// Logs an error of the port. Any context.
    pub(super) fn log_err(&self, dev: &net::Device, message: fmt::Arguments<'_>) {
        log_err(&self.calls, dev, message);
    }

    /// Logs information about the port. Any context.
    pub(super) fn log_info(&self, dev: &net::Device, message: fmt::Arguments<'_>) {
        log_info(&self.calls, dev, message);
    }

    /// Requests that the port is taken down and up again, and logs and counts the reason. Any context.
    pub(super) fn request_reset(&self, dev: &PortDevice, reason: ResetReason) {
        self.log_err(dev, fmt!("{reason}, resetting"));
        reason.counter(&self.counters).inc();
        dev.defer(Deferred::RESET);
    }

    /// Follows a change of the link. Process context.
    ///
    /// The queues stay as they are: without a carrier, the stack does not use them.
    pub(super) fn link_changed(&self, dev: &PortDevice, up: bool) {
        let _link = self.link.lock();
        self.set_carrier(dev, up);
    }

    /// Takes the carrier away if firmware says that the link is down. A port keeps its carrier while it is
    /// reset, and the adapter need not report what happens to the link of a closed port. Process context.
    pub(super) fn check_link(&self, dev: &PortDevice) {
        // An event that is newer than the answer is handled after it.
        let _link = self.link.lock();
        if !dev.carrier_ok() {
            return;
        }
        match self.calls.attributes() {
            Ok(attributes) if attributes.port_op_state.get() == 0 => self.set_carrier(dev, false),
            Ok(_) => {}
            Err(error) => self.log_err(dev, fmt!("{error}")),
        }
    }

    fn set_carrier(&self, dev: &PortDevice, up: bool) {
        if dev.carrier_ok() == up {
            return;
        }
        if up {
            dev.carrier_on();
        } else {
            dev.carrier_off();
        }
        self.log_info(dev, fmt!("link is {}", if up { "up" } else { "down" }));
    }
}
