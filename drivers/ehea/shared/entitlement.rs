// SPDX-License-Identifier: GPL-2.0

//! Entitlement of an adapter, and the shares of its ports.

use crate::{
    cmo::{
        self,
        Configuration,
        Limits,
        Plan,
        Share, //
    },
    error::Result,
    kernel_ext::dma::Mapper, //
};
use core::sync::atomic::{
    AtomicUsize,
    Ordering::Relaxed, //
};
use kernel::{
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::Mutex,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// Number of steps in which the bus may distribute its entitlement anew. If nothing has changed
/// after them, the bus probably has nothing to give.
const BALANCE_STEPS: u32 = 20;
/// Number of steps in which it may do so for the first time, when it has to give the minimum. The bus waits for a second
/// if another device had memory mapped just before.
const FIRST_BALANCE_STEPS: u32 = 5000;
const BALANCE_STEP: Delta = Delta::from_millis(1);

/// Open port.
struct OpenPort {
    number: u16,
    /// Number of queue pairs that the port wants.
    queue_pairs: u16,
    config: Configuration,
    plan: Plan,
}

/// Entitlement of an adapter in a CMO partition.
#[pin_data]
pub(crate) struct Entitlement {
    mapper: Mapper,
    /// Number of ports of the adapter, open or not.
    ports: AtomicUsize,
    #[pin]
    open: Mutex<KVec<OpenPort>>,
}

/// Returns the configuration of a port with the MTU `mtu`.
fn configuration(mtu: u32) -> Configuration {
    Configuration {
        mtu,
        page_size: PAGE_SIZE,
    }
}

/// Returns the number of bytes that an adapter with `ports` ports wants to have mapped before
/// anything is known about them. Each port counts with one queue pair.
pub(crate) fn default_desired(ports: usize, mtu: u32) -> u64 {
    cmo::device_bytes((0..ports).map(|_| (1, configuration(mtu))))
}

fn desired(open: &KVec<OpenPort>) -> u64 {
    cmo::device_bytes(open.iter().map(|port| (port.queue_pairs, port.config)))
}

impl Entitlement {
    /// Returns the entitlement of an adapter with `ports` ports, all closed.
    pub(super) fn new(mapper: Mapper, ports: usize) -> impl PinInit<Self, kernel::error::Error> {
        try_pin_init!(Self {
            mapper,
            ports: AtomicUsize::new(ports),
            open <- new_mutex!(KVec::new()),
        })
    }

    /// Sets the number of ports that the adapter has now, open or not.
    pub(crate) fn set_ports(&self, ports: usize) {
        self.ports.store(ports, Relaxed);
    }

    fn entitled(&self) -> u64 {
        // CAST: `usize` has 64 bits.
        self.mapper.entitled() as u64
    }

    /// Tells the bus how much the open ports want, and gives it time to distribute its entitlement.
    /// Returns the number of bytes that the ports want.
    pub(super) fn announce(&self) -> u64 {
        self.announce_for(&self.open.lock())
    }

    fn announce_for(&self, open: &KVec<OpenPort>) -> u64 {
        let desired = desired(open);
        // CAST: `usize` has 64 bits.
        self.mapper.set_desired(desired as usize);
        self.wait_for(desired.max(cmo::MIN_ENTITLEMENT), BALANCE_STEPS);
        desired
    }

    /// Waits until the adapter is entitled to `bytes` bytes, for `steps` steps at most.
    fn wait_for(&self, bytes: u64, steps: u32) {
        for _ in 0..steps {
            if self.entitled() >= bytes {
                break;
            }
            fsleep(BALANCE_STEP);
        }
    }

    /// Checks whether the bus has not given the adapter any entitlement yet.
    pub(crate) fn is_below_minimum(&self) -> bool {
        self.entitled() < cmo::MIN_ENTITLEMENT
    }

    /// Waits until the bus has given the adapter the least that it gives to each device, for 5 s at most. No locks may
    /// be held that others wait for.
    pub(crate) fn wait_for_minimum(&self) {
        self.wait_for(cmo::MIN_ENTITLEMENT, FIRST_BALANCE_STEPS);
    }

    /// Adds port `number`, which is being opened. Returns the layout of its queues. Process
    /// context.
    pub(crate) fn opening(&self, number: u16, queue_pairs: u16, mtu: u32) -> Result<Plan> {
        let mut open = self.open.lock();
        open.retain(|port| port.number != number);
        open.push(
            OpenPort {
                number,
                queue_pairs,
                config: configuration(mtu),
                plan: Plan::full(queue_pairs),
            },
            GFP_KERNEL,
        )?;
        let desired = self.announce_for(&open);
        let plan = cmo::plan(
            queue_pairs,
            self.ports.load(Relaxed),
            self.entitled(),
            desired,
        );
        if let Some(port) = open.iter_mut().find(|port| port.number == number) {
            port.plan = plan;
        }
        Ok(plan)
    }

    /// Reduces the plan of a port that is being opened to the smallest one, and returns it.
    pub(crate) fn reduce(&self, number: u16) -> Plan {
        let plan = Plan::SMALLEST;
        let mut open = self.open.lock();
        if let Some(port) = open.iter_mut().find(|port| port.number == number) {
            port.plan = plan;
        }
        plan
    }

    /// Removes port `number`, which has nothing mapped any more.
    pub(crate) fn closed(&self, number: u16) {
        let mut open = self.open.lock();
        open.retain(|port| port.number != number);
        self.announce_for(&open);
    }

    /// Changes the MTU of port `number`, if it is open.
    pub(crate) fn set_mtu(&self, number: u16, mtu: u32) {
        let mut open = self.open.lock();
        if let Some(port) = open.iter_mut().find(|port| port.number == number) {
            port.config = configuration(mtu);
            self.announce_for(&open);
        }
    }

    /// Checks whether any port is open.
    pub(super) fn has_open_ports(&self) -> bool {
        !self.open.lock().is_empty()
    }

    /// Returns how much each queue pair of port `number` may have mapped now. This is nothing if
    /// the port is closed.
    pub(crate) fn limits(&self, number: u16) -> Limits {
        let open = self.open.lock();
        let entitled = self.entitled();
        let Some(own) = open.iter().find(|port| port.number == number) else {
            return Limits::default();
        };
        // Closed ports count only where there isn't enough for the open ones.
        let closed = if entitled < desired(&open) {
            self.ports.load(Relaxed).saturating_sub(open.len())
        } else {
            0
        };
        let others = open
            .iter()
            .filter(|port| port.number != number)
            .map(|port| Share::open(&port.plan, &port.config));
        let reserves = (0..closed).map(|_| Share::reserve(&own.config));
        cmo::allot(
            entitled,
            &own.plan,
            &own.config,
            Iterator::chain(others, reserves),
        )
    }
}
