// SPDX-License-Identifier: GPL-2.0

//! The entitlement of an adapter, and how its ports share it.

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

/// How long the bus may take to share out its entitlement anew, in steps: without a result it may just
/// have nothing to give.
const BALANCE_STEPS: u32 = 20;
/// How long it may take for the first time, when it has to give the minimum.
const FIRST_BALANCE_STEPS: u32 = 5000;
const BALANCE_STEP: Delta = Delta::from_millis(1);

/// What is known of an open port.
struct OpenPort {
    number: u16,
    /// Queue pairs that it would like to have.
    queue_pairs: u16,
    config: Configuration,
    plan: Plan,
}

/// The entitlement of an adapter in a CMO partition.
#[pin_data]
pub(crate) struct Entitlement {
    mapper: Mapper,
    /// Ports that the adapter has, open or not.
    ports: usize,
    #[pin]
    open: Mutex<KVec<OpenPort>>,
}

/// The configuration of a port with that MTU.
fn configuration(mtu: u32) -> Configuration {
    Configuration {
        mtu,
        page_size: PAGE_SIZE,
    }
}

/// The bytes that an adapter with that many ports would like to have mapped before anything is known
/// about them: each with one queue pair.
pub(crate) fn default_desired(ports: usize, mtu: u32) -> u64 {
    cmo::device_bytes((0..ports).map(|_| (1, configuration(mtu))))
}

fn desired(open: &KVec<OpenPort>) -> u64 {
    cmo::device_bytes(open.iter().map(|port| (port.queue_pairs, port.config)))
}

impl Entitlement {
    /// For an adapter with that many ports, all closed.
    pub(super) fn new(mapper: Mapper, ports: usize) -> impl PinInit<Self, kernel::error::Error> {
        try_pin_init!(Self {
            mapper,
            ports,
            open <- new_mutex!(KVec::new()),
        })
    }

    fn entitled(&self) -> u64 {
        // CAST: `usize` has 64 bits.
        self.mapper.entitled() as u64
    }

    /// Tells the bus what the open ports want, and waits until it had time to see to it. Returns the
    /// wish.
    pub(super) fn announce(&self) -> u64 {
        self.announce_for(&self.open.lock())
    }

    fn announce_for(&self, open: &KVec<OpenPort>) -> u64 {
        let desired = desired(open);
        // CAST: `usize` has 64 bits.
        self.mapper.set_desired(desired as usize);
        let mut steps = 0;
        loop {
            let entitled = self.entitled();
            let limit = if entitled < cmo::MIN_ENTITLEMENT {
                FIRST_BALANCE_STEPS
            } else {
                BALANCE_STEPS
            };
            if entitled >= desired.max(cmo::MIN_ENTITLEMENT) || steps >= limit {
                break;
            }
            steps += 1;
            fsleep(BALANCE_STEP);
        }
        desired
    }

    /// Takes note that port `number` is being opened. Process context.
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
        let plan = cmo::plan(queue_pairs, self.ports, self.entitled(), desired);
        if let Some(port) = open.iter_mut().find(|port| port.number == number) {
            port.plan = plan;
        }
        Ok(plan)
    }

    /// The plan for a port being opened for which there was less than that.
    pub(crate) fn reduce(&self, number: u16) -> Plan {
        let plan = Plan::SMALLEST;
        let mut open = self.open.lock();
        if let Some(port) = open.iter_mut().find(|port| port.number == number) {
            port.plan = plan;
        }
        plan
    }

    /// Takes note that port `number` has nothing mapped any more.
    pub(crate) fn closed(&self, number: u16) {
        let mut open = self.open.lock();
        open.retain(|port| port.number != number);
        self.announce_for(&open);
    }

    /// Takes note of another MTU of port `number`, if it is open.
    pub(crate) fn set_mtu(&self, number: u16, mtu: u32) {
        let mut open = self.open.lock();
        if let Some(port) = open.iter_mut().find(|port| port.number == number) {
            port.config = configuration(mtu);
            self.announce_for(&open);
        }
    }

    /// Whether any port is open.
    pub(super) fn has_open_ports(&self) -> bool {
        !self.open.lock().is_empty()
    }

    /// What each queue pair of port `number` may have mapped now; nothing if it is closed.
    pub(crate) fn limits(&self, number: u16) -> Limits {
        let open = self.open.lock();
        let entitled = self.entitled();
        let Some(own) = open.iter().find(|port| port.number == number) else {
            return Limits::default();
        };
        // Closed ports count only where there isn't enough for the open ones.
        let closed = if entitled < desired(&open) {
            self.ports.saturating_sub(open.len())
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
