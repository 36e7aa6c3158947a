// SPDX-License-Identifier: GPL-2.0

//! Property test: whatever two adapters, another device, the hypervisor and hotplug do, the driver
//! never has more than it may, never gets stuck, and ends up with what it wants if there is enough.

use proptest::prelude::*;

use super::super::{Configuration, MIN_ENTITLEMENT as MIN};
use super::bus::Bus;
use super::driver::Adapter;

const PORTS: usize = 2;

#[derive(Clone, Debug)]
enum Step {
    Open(usize, usize, u16, u32),
    Close(usize, usize),
    Reload(usize),
    Tick(usize),
    Receive(usize, usize, u32),
    Send(usize, usize, u32),
    Complete(usize, usize, usize),
    /// Mapping or unmapping of memory by the other device.
    Other(u64, bool),
    /// Change of the other device's desired entitlement.
    Wish(u64),
    Entitlement(u64),
    Plug,
    Balance,
}

fn step() -> impl Strategy<Value = Step> {
    let (adapter, port) = (0..2usize, 0..PORTS);
    let mtu = prop_oneof![Just(1500u32), Just(9000), 68..9000u32];
    prop_oneof![
        4 => (adapter.clone(), port.clone(), 1..5u16, mtu)
            .prop_map(|(a, p, q, m)| Step::Open(a, p, q, m)),
        2 => (adapter.clone(), port.clone()).prop_map(|(a, p)| Step::Close(a, p)),
        1 => adapter.clone().prop_map(Step::Reload),
        6 => adapter.clone().prop_map(Step::Tick),
        6 => (adapter.clone(), port.clone(), 1..200u32).prop_map(|(a, p, n)| Step::Receive(a, p, n)),
        6 => (adapter.clone(), port.clone(), 1..300u32).prop_map(|(a, p, n)| Step::Send(a, p, n)),
        4 => (adapter, port, 1..400usize).prop_map(|(a, p, n)| Step::Complete(a, p, n)),
        3 => (1..1_000_000u64, any::<bool>()).prop_map(|(n, up)| Step::Other(n, up)),
        1 => (0..40_000_000u64).prop_map(Step::Wish),
        4 => (0..100_000_000u64).prop_map(Step::Entitlement),
        1 => Just(Step::Plug),
        4 => Just(Step::Balance),
    ]
}

/// The bus with two adapters and another device.
struct World {
    bus: Bus,
    adapters: [Adapter; 2],
    page_size: usize,
    other: u64,
}

const OTHER: usize = 2;

impl World {
    fn new(entitled: u64, page_size: usize) -> Self {
        let mut bus = Bus::new(entitled, 3);
        bus.probe(OTHER, MIN);
        let adapters = [0, 1].map(|device| {
            bus.probe(device, 0);
            Adapter::probe(&mut bus, device, PORTS).expect("the minimum is guaranteed")
        });
        Self {
            bus,
            adapters,
            page_size,
            other: 0,
        }
    }

    fn take(&mut self, step: Step) {
        let bus = &mut self.bus;
        match step {
            Step::Open(adapter, port, queue_pairs, mtu) => {
                let config = Configuration {
                    mtu,
                    page_size: self.page_size,
                };
                let adapter = &mut self.adapters[adapter];
                let room = adapter.has_room_for_port(&config);
                let opened = adapter.open_port(bus, port, queue_pairs, config);
                assert!(
                    opened || !room,
                    "a port isn't opened for which there is room"
                );
            }
            Step::Close(adapter, port) => self.adapters[adapter].close_port(bus, port),
            Step::Reload(device) => {
                self.adapters[device].clone().remove(bus);
                bus.probe(device, 0);
                self.adapters[device] =
                    Adapter::probe(bus, device, PORTS).expect("the minimum is guaranteed");
            }
            Step::Tick(adapter) => self.adapters[adapter].tick(bus),
            Step::Receive(adapter, port, frames) => {
                self.adapters[adapter].receive(bus, port, frames);
            }
            Step::Send(adapter, port, frames) => {
                for _ in 0..frames {
                    self.adapters[adapter].send(bus, port);
                }
            }
            Step::Complete(adapter, port, frames) => {
                self.adapters[adapter].complete(bus, port, frames);
            }
            Step::Other(bytes, true) => {
                if bus.alloc(OTHER, bytes) {
                    self.other += bytes;
                }
            }
            Step::Other(bytes, false) => {
                let bytes = bytes.min(self.other);
                bus.dealloc(OTHER, bytes);
                self.other -= bytes;
            }
            Step::Wish(bytes) => bus.set_desired(OTHER, bytes),
            Step::Entitlement(bytes) => {
                bus.set_entitlement(bytes);
            }
            Step::Plug => {
                if bus.devices.len() < 6 {
                    bus.plug(MIN);
                }
            }
            Step::Balance => bus.balance(),
        }
    }

    fn check(&self) {
        self.bus.check();
        for (device, adapter) in self.adapters.iter().enumerate() {
            let account = &self.bus.devices[device];
            assert!(
                account.allocated <= adapter.desired().max(MIN),
                "{account:?}, desired {}",
                adapter.desired()
            );
            adapter.check_limits(&self.bus);
        }
    }

    /// Asserts that each adapter has settled within the entitlement that there is. If that is less than the
    /// minimum of the open ports, buffers are missing.
    fn check_settled(&self) {
        for (device, adapter) in self.adapters.iter().enumerate() {
            let account = self.bus.devices[device];
            let suffices = adapter.least_bytes() <= account.entitled;
            assert!(
                adapter.is_settled() || !suffices,
                "device {device}: {adapter:?}, {account:?}"
            );
            assert!(account.allocated <= adapter.settled_bytes());
        }
    }

    /// Lets time pass and traffic flow.
    fn settle(&mut self) {
        for _ in 0..4 {
            self.bus.balance();
            for adapter in &mut self.adapters {
                adapter.tick(&mut self.bus);
                for port in 0..PORTS {
                    adapter.receive(&mut self.bus, port, u32::MAX);
                    adapter.complete(&mut self.bus, port, usize::MAX);
                }
                adapter.tick(&mut self.bus);
            }
            self.check();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn lives_within_the_entitlement(
        entitled in 4 * MIN..60_000_000u64,
        large_pages in any::<bool>(),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new(entitled, if large_pages { 65536 } else { 4096 });
        for step in steps {
            world.take(step);
            world.check();
        }

        // With the existing entitlement, everything settles within it.
        world.settle();
        world.check_settled();

        // With plenty, the ports get all that their queues can use, and all that they wished for
        // after they are opened again.
        world.bus.set_entitlement(2_000_000_000);
        world.settle();
        for device in 0..2 {
            let adapter = &mut world.adapters[device];
            prop_assert!(adapter.is_settled() && adapter.is_full(), "device {device}: {adapter:?}");
            let again: Vec<_> = adapter.configurations();
            for &(port, wanted, config) in &again {
                adapter.close_port(&mut world.bus, port);
                prop_assert!(adapter.open_port(&mut world.bus, port, wanted, config));
            }
            adapter.tick(&mut world.bus);
            prop_assert_eq!(adapter.settled_bytes(), adapter.desired());
        }

        for adapter in world.adapters {
            adapter.remove(&mut world.bus);
        }
    }
}

/// The port with four queue pairs was opened when the adapter was entitled to more than its minimum.
#[test]
fn entitlement_below_the_minimum_of_open_ports() {
    let mut world = World::new(26_699_776, 4096);
    for step in [
        Step::Open(1, 1, 2, 9000),
        Step::Open(1, 0, 4, 1500),
        Step::Close(1, 1),
        Step::Wish(11_061_249),
        Step::Open(1, 1, 2, 9000),
        Step::Tick(0),
        Step::Open(0, 0, 2, 1500),
        Step::Tick(0),
        Step::Tick(0),
    ] {
        world.take(step);
        world.check();
    }
    world.settle();
    world.check_settled();
    assert!(!world.adapters[1].is_settled(), "nothing was tested");
    assert!(world.adapters[1].least_bytes() > world.bus.devices[1].entitled);
}
