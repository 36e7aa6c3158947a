// SPDX-License-Identifier: GPL-2.0

//! The steps of the driver on the simulated bus: those of `port/entitlement.rs` and
//! `shared/entitlement.rs`, without the kernel.

use std::collections::VecDeque;

use super::super::{
    allot, device_bytes, plan, BufferKind, Configuration, Limits, Plan, Share, DEVICE_BYTES,
    MIN_ENTITLEMENT,
};
use super::bus::Bus;

/// Number of bytes charged for a frame.
const FRAME: u64 = 4096;

#[derive(Clone, Debug)]
pub(super) struct OpenPort {
    wanted: u16,
    config: Configuration,
    pub(super) plan: Plan,
    limits: Limits,
    /// Numbers of chunks in RQ2 and RQ3 of all queue pairs.
    chunks: [u32; 2],
    /// Charges of the frames in flight; 0 for a frame in a bounce slot.
    in_flight: VecDeque<u64>,
    /// Number of bounce slots in use.
    bounced: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Adapter {
    device: usize,
    pub(super) ports: Vec<Option<OpenPort>>,
}

fn chunk_bytes(ring: usize, config: &Configuration) -> u64 {
    [BufferKind::RQ2, BufferKind::RQ3][ring].chunk_bytes(config.page_size) as u64
}

impl Adapter {
    pub(super) fn desired(&self) -> u64 {
        device_bytes(self.open().map(|port| (port.wanted, port.config)))
    }

    pub(super) fn open(&self) -> impl Iterator<Item = &OpenPort> {
        self.ports.iter().flatten()
    }

    /// Binds the driver. Returns `None` if that is impossible.
    pub(super) fn probe(bus: &mut Bus, device: usize, ports: usize) -> Option<Self> {
        let adapter = Self {
            device,
            ports: vec![None; ports],
        };
        bus.set_desired(device, adapter.desired());
        // The driver waits for the balance.
        bus.balance();
        bus.alloc(device, DEVICE_BYTES).then_some(adapter)
    }

    /// Returns the limits of each queue pair of a port.
    fn limits(&self, bus: &Bus, index: usize) -> Limits {
        let entitled = bus.devices[self.device].entitled;
        let Some(own) = &self.ports[index] else {
            return Limits::default();
        };
        let open = self.open().count();
        let closed = if entitled < self.desired() {
            self.ports.len() - open
        } else {
            0
        };
        let others: Vec<Share> = self
            .ports
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index)
            .filter_map(|(_, port)| port.as_ref())
            .map(|port| Share::open(&port.plan, &port.config))
            .chain((0..closed).map(|_| Share::reserve(&own.config)))
            .collect();
        allot(entitled, &own.plan, &own.config, others.into_iter())
    }

    fn set_limits(&mut self, bus: &Bus) {
        for index in 0..self.ports.len() {
            let limits = self.limits(bus, index);
            if let Some(port) = &mut self.ports[index] {
                port.limits = limits;
            }
        }
    }

    /// Asserts that the limits do not add up to more than the entitlement, unless the minimums of
    /// the ports do.
    pub(super) fn check_limits(&self, bus: &Bus) {
        let entitled = bus.devices[self.device].entitled;
        let sum = |flexible: &dyn Fn(usize, &OpenPort) -> u64| {
            let ports = self.ports.iter().enumerate();
            DEVICE_BYTES
                + ports
                    .filter_map(|(index, port)| Some((index, port.as_ref()?)))
                    .map(|(index, port)| port.plan.fixed_bytes() + flexible(index, port))
                    .sum::<u64>()
        };
        let pairs = |port: &OpenPort| u64::from(port.plan.queue_pairs);
        let given = sum(&|index, port| pairs(port) * self.limits(bus, index).bytes(&port.config));
        let least = self.least_bytes();
        assert!(
            given <= entitled.max(least),
            "{given} > {entitled}, {least}"
        );
    }

    /// Returns the number of bytes without which the open ports lack buffers. They may be more than the adapter is
    /// entitled to, because queues keep the layout with which their port was opened.
    pub(super) fn least_bytes(&self) -> u64 {
        let ports = self.open().map(|port| {
            let floor = Limits::floor(&port.config).bytes(&port.config);
            port.plan.fixed_bytes() + u64::from(port.plan.queue_pairs) * floor
        });
        DEVICE_BYTES + ports.sum::<u64>()
    }

    /// Opens a port. Returns whether that worked.
    pub(super) fn open_port(
        &mut self,
        bus: &mut Bus,
        index: usize,
        wanted: u16,
        config: Configuration,
    ) -> bool {
        if self.ports[index].is_some() {
            return true;
        }
        self.ports[index] = Some(OpenPort {
            wanted,
            config,
            plan: Plan::full(wanted),
            limits: Limits::default(),
            chunks: [0; 2],
            in_flight: VecDeque::new(),
            bounced: 0,
        });
        bus.set_desired(self.device, self.desired());
        bus.balance();
        let entitled = bus.devices[self.device].entitled;
        let first = plan(wanted, self.ports.len(), entitled, self.desired());
        for plan in [first, Plan::SMALLEST] {
            if let Some(port) = &mut self.ports[index] {
                port.plan = plan;
            }
            self.set_limits(bus);
            // The other ports notice the new limits; what they are sending is soon sent.
            for port in 0..self.ports.len() {
                self.complete(bus, port, usize::MAX);
            }
            if bus.alloc(self.device, plan.fixed_bytes()) {
                self.grow(bus, index);
                let has_buffers = self.ports[index]
                    .as_ref()
                    .is_some_and(|port| port.chunks[0] > 0);
                if has_buffers {
                    return true;
                }
                self.release(bus, index);
            }
        }
        self.ports[index] = None;
        bus.set_desired(self.device, self.desired());
        false
    }

    fn release(&mut self, bus: &mut Bus, index: usize) {
        self.complete(bus, index, usize::MAX);
        if let Some(port) = &mut self.ports[index] {
            for ring in 0..2 {
                let bytes = u64::from(port.chunks[ring]) * chunk_bytes(ring, &port.config);
                if bytes > 0 {
                    bus.dealloc(self.device, bytes);
                }
                port.chunks[ring] = 0;
            }
            bus.dealloc(self.device, port.plan.fixed_bytes());
        }
    }

    pub(super) fn close_port(&mut self, bus: &mut Bus, index: usize) {
        if self.ports[index].is_some() {
            self.release(bus, index);
            self.ports[index] = None;
            bus.set_desired(self.device, self.desired());
        }
    }

    pub(super) fn remove(mut self, bus: &mut Bus) {
        for index in 0..self.ports.len() {
            self.close_port(bus, index);
        }
        bus.dealloc(self.device, DEVICE_BYTES);
        bus.remove(self.device);
    }

    /// Maps the buffers that are missing.
    fn grow(&mut self, bus: &mut Bus, index: usize) {
        if let Some(port) = &mut self.ports[index] {
            let pairs = u32::from(port.plan.queue_pairs);
            for (ring, limit) in [port.limits.rq2_chunks, port.limits.rq3_chunks]
                .into_iter()
                .enumerate()
            {
                while port.chunks[ring] < limit * pairs {
                    if !bus.alloc(self.device, chunk_bytes(ring, &port.config)) {
                        return;
                    }
                    port.chunks[ring] += 1;
                }
            }
        }
    }

    /// Adapts the driver to its entitlement.
    pub(super) fn tick(&mut self, bus: &mut Bus) {
        self.set_limits(bus);
        for index in 0..self.ports.len() {
            self.grow(bus, index);
        }
    }

    /// Receives frames on a port, which returns buffers above the limit.
    pub(super) fn receive(&mut self, bus: &mut Bus, index: usize, frames: u32) {
        if let Some(port) = &mut self.ports[index] {
            assert!(port.chunks[0] > 0, "a ring without buffers");
            let pairs = u32::from(port.plan.queue_pairs);
            for (ring, limit) in [port.limits.rq2_chunks, port.limits.rq3_chunks]
                .into_iter()
                .enumerate()
            {
                let over = port.chunks[ring].saturating_sub(limit * pairs).min(frames);
                if over > 0 {
                    bus.dealloc(
                        self.device,
                        u64::from(over) * chunk_bytes(ring, &port.config),
                    );
                }
                port.chunks[ring] -= over;
            }
        }
    }

    /// Sends a frame on a port: mapped, through a bounce slot, or when one of these is free again.
    pub(super) fn send(&mut self, bus: &mut Bus, index: usize) {
        loop {
            let Some(port) = &mut self.ports[index] else {
                return;
            };
            let charged: u64 = port.in_flight.iter().sum();
            let limit = port.limits.send_bytes * u64::from(port.plan.queue_pairs);
            if charged + FRAME <= limit && bus.alloc(self.device, FRAME) {
                port.in_flight.push_back(FRAME);
                return;
            }
            if port.bounced < port.plan.bounce_slots {
                port.bounced += 1;
                port.in_flight.push_back(0);
                return;
            }
            // The queue stops. It is woken when the adapter has sent something.
            assert!(!port.in_flight.is_empty(), "nobody wakes the queue");
            self.complete(bus, index, 1);
        }
    }

    /// Completes frames that the adapter has sent.
    pub(super) fn complete(&mut self, bus: &mut Bus, index: usize, frames: usize) {
        if let Some(port) = &mut self.ports[index] {
            for _ in 0..frames.min(port.in_flight.len()) {
                match port.in_flight.pop_front() {
                    Some(0) => port.bounced -= 1,
                    Some(charge) => bus.dealloc(self.device, charge),
                    None => {}
                }
            }
        }
    }

    /// Checks whether exactly what may be mapped is mapped.
    pub(super) fn is_settled(&self) -> bool {
        self.open().all(|port| {
            let pairs = u32::from(port.plan.queue_pairs);
            port.chunks
                == [
                    port.limits.rq2_chunks * pairs,
                    port.limits.rq3_chunks * pairs,
                ]
        })
    }

    /// Returns the number of bytes that are mapped when all queues are full.
    pub(super) fn settled_bytes(&self) -> u64 {
        DEVICE_BYTES
            + self
                .open()
                .map(|port| {
                    port.plan.fixed_bytes()
                        + u64::from(port.plan.queue_pairs) * port.limits.bytes(&port.config)
                })
                .sum::<u64>()
    }

    /// Checks whether all open ports have the limits that their plans can use at most.
    pub(super) fn is_full(&self) -> bool {
        self.open()
            .all(|port| port.limits == Limits::full(&port.plan.rings, &port.config))
    }

    /// Returns the open ports, with what they were opened for.
    pub(super) fn configurations(&self) -> Vec<(usize, u16, Configuration)> {
        let ports = self.ports.iter().enumerate();
        ports
            .filter_map(|(index, port)| {
                let port = port.as_ref()?;
                Some((index, port.wanted, port.config))
            })
            .collect()
    }

    /// Checks whether the device's guaranteed bytes suffice for another port.
    pub(super) fn has_room_for_port(&self, config: &Configuration) -> bool {
        let least = |plan: &Plan, config: &Configuration| {
            plan.fixed_bytes() + u64::from(plan.queue_pairs) * Limits::floor(config).bytes(config)
        };
        let used: u64 = self
            .open()
            .map(|port| {
                let chunks =
                    |ring: usize| u64::from(port.chunks[ring]) * chunk_bytes(ring, &port.config);
                port.plan.fixed_bytes() + chunks(0) + chunks(1)
            })
            .sum();
        DEVICE_BYTES + used + least(&Plan::SMALLEST, config) <= MIN_ENTITLEMENT
    }
}
