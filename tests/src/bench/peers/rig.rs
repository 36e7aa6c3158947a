// SPDX-License-Identifier: GPL-2.0
//! A guest with one processor, in which each peer has a partner on a wire of their own.

use anyhow::{ensure, Context, Result};
use ehea_harness::Guest;
use ehea_model::stats::Stats;

use crate::bench::counter::{Counter, Counts, Modules};
use crate::lab::text;
use crate::system::System;

/// Directory of pktgen's files.
const PKTGEN: &str = "/proc/net/pktgen";

/// A network device, and the driver for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    /// The adapter.
    Adapter,
    /// QEMU's `spapr-vlan`.
    Veth,
    /// QEMU's `virtio-net-pci`.
    Virtio,
    /// The kernel's dummy device, which discards everything and has no wire.
    Dummy,
}

impl Device {
    /// Devices that have a wire.
    const WIRED: [Self; 3] = [Self::Adapter, Self::Veth, Self::Virtio];

    /// Returns the name of the driver's module.
    pub(crate) const fn module(self) -> &'static str {
        match self {
            Self::Adapter => "ehea",
            Self::Veth => "ibmveth",
            Self::Virtio => "virtio_net",
            Self::Dummy => "dummy",
        }
    }

    /// Returns the number of the wire.
    const fn wire(self) -> u8 {
        match self {
            Self::Adapter => 0,
            Self::Veth => 1,
            Self::Virtio => 2,
            Self::Dummy => 3,
        }
    }

    pub(super) const fn address(self) -> [u8; 6] {
        [0x52, 0x54, 0x00, 0xea, 0x01, self.wire()]
    }

    /// Returns the address of the device at the other end of the wire, which is always a virtio
    /// device.
    const fn partner(self) -> [u8; 6] {
        [0x52, 0x54, 0x00, 0xea, 0x02, self.wire()]
    }
}

/// MAC address that no device has. A frame to it is done when it is on the wire.
const NOBODY: [u8; 6] = [0x52, 0x54, 0x00, 0xea, 0x03, 0x00];

/// Results of sending frames.
#[derive(Debug)]
pub(crate) struct Burst {
    /// Instructions that were executed.
    pub(crate) counts: Counts,
    /// Number of frames that the device's interface received meanwhile.
    pub(crate) received: u64,
}

/// Counts of frames in both directions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flood {
    /// Number of frames that were given to the drivers of device and partner.
    pub(crate) sent: u64,
    /// Number of frames of the device that were on the wire, and of frames of the partner that the
    /// device's interface received.
    pub(crate) arrived: u64,
}

/// The guest with the peers.
#[derive(Debug)]
pub(crate) struct Rig {
    guest: Guest,
    counter: Counter,
}

/// Device that sends what virtio has queued 150 µs of the guest's clock after the first frame. If
/// QEMU sent it, or was told of it, in another thread, the load of the host would decide how many
/// frames an interrupt is for.
const VIRTIO: &str = "virtio-net-pci,romfile=,ioeventfd=off,tx=timer";

/// Device that sends what a partner has queued as soon as it says that there is something.
const PARTNER: &str = "virtio-net-pci,romfile=,ioeventfd=off,tx=timer,x-txtimer=1";

/// Number of frames that a partner sends at once, and that therefore wait together when a device,
/// whichever it is, has an interrupt. This number decides the cost of each frame.
const BURST: u64 = 32;

/// Frames that pktgen makes.
#[derive(Clone, Copy, Debug)]
struct Train {
    /// Number of frames; endless if 0.
    count: u64,
    /// Length of each frame in bytes, without CRC.
    length: usize,
    /// Time in nanoseconds from one frame to the next.
    delay: u64,
    /// Number of frames that are sent at once. They have the same buffer, and the device is told
    /// only of the last one.
    burst: u64,
}

impl Train {
    /// Returns the frames that a device sends.
    const fn single(count: u64, length: usize) -> Self {
        Self {
            count,
            length,
            delay: 0,
            burst: 1,
        }
    }

    /// Returns the frames that a partner sends.
    const fn bursts(count: u64, length: usize) -> Self {
        Self {
            burst: BURST,
            ..Self::single(count, length)
        }
    }
}

impl Rig {
    /// Boots the guest with the memory `memory`. The counter counts addresses in pieces of `bucket`
    /// bytes.
    pub(crate) fn boot(system: System, memory: &str, bucket: u64) -> Result<Self> {
        Self::boot_in(system, memory, bucket, None)
    }

    /// Boots the guest, as a CMO partition if there is an entitlement in bytes.
    pub(crate) fn boot_in(
        system: System,
        memory: &str,
        bucket: u64,
        entitlement: Option<u64>,
    ) -> Result<Self> {
        let name = match system {
            System::Ours => "bench-peers",
            System::Witness => "bench-peers-c",
        };
        let counter = Counter::new(name, bucket)?;
        let mut builder = system
            .guest()?
            .name(name)
            .mem(memory)?
            .smp(1)
            // Frames that the kernel sends of its own accord would be counted.
            .kernel_append("ipv6.disable_ipv6=1")
            .netdev(format!("hubport,hubid={}", Device::Adapter.wire()).as_str())
            .adapter_property(&format!("mac0={}", text(Device::Adapter.address())));
        if let Some(bytes) = entitlement {
            builder = builder.cmo(bytes);
        }
        for property in system.adapter_properties() {
            builder = builder.adapter_property(property);
        }
        for device in Device::WIRED {
            let wire = device.wire();
            let own = match device {
                Device::Veth => Some("spapr-vlan"),
                Device::Virtio => Some(VIRTIO),
                Device::Adapter | Device::Dummy => None,
            };
            let partner = (PARTNER, "partner", device.partner());
            let own = own.map(|own| (own, "own", device.address()));
            for (device, role, address) in own.into_iter().chain([partner]) {
                let id = format!("{role}{wire}");
                builder = builder
                    .other_netdev(&id, format!("hubport,hubid={wire}").as_str())
                    .qemu_arg("-device")
                    .qemu_arg(&format!("{device},netdev={id},mac={}", text(address)));
            }
        }
        let guest = counter.attach(builder)?.boot()?;
        guest.sh("modprobe pktgen && modprobe virtio_net")?;
        Ok(Self { guest, counter })
    }

    /// Loads a device's driver and sets the interfaces at both ends of its wire up.
    pub(crate) fn start(&self, device: Device) -> Result<()> {
        if device == Device::Dummy {
            let address = text(device.address());
            self.guest.sh(&format!(
                "modprobe dummy && ip link set dummy0 address {address} && ip link set dummy0 up"
            ))?;
            return Ok(());
        }
        self.guest.sh(&format!("modprobe {}", device.module()))?;
        for address in [device.address(), device.partner()] {
            let interface = self.interface(address)?;
            self.guest.sh(&format!("ip link set {interface} up"))?;
        }
        // Carriers come up, and queueing disciplines with them.
        self.guest.sh("sleep 2").map(drop)
    }

    /// Sets both interfaces down again.
    pub(crate) fn stop(&self, device: Device) -> Result<()> {
        let mut addresses = vec![device.address()];
        if device != Device::Dummy {
            addresses.push(device.partner());
        }
        for address in addresses {
            let interface = self.interface(address)?;
            self.guest.sh(&format!("ip link set {interface} down"))?;
        }
        Ok(())
    }

    /// Returns the addresses of modules' code.
    pub(crate) fn modules(&self) -> Result<Modules> {
        Modules::read(&self.guest)
    }

    /// Returns the guest.
    pub(crate) fn guest(&self) -> &Guest {
        &self.guest
    }

    /// Sends frames with the device.
    pub(crate) fn transmit(&mut self, device: Device, count: u64, length: usize) -> Result<Burst> {
        let train = Train::single(count, length);
        self.burst(device, device.address(), NOBODY, train)
    }

    /// Sends frames with the device's partner to nobody, as it does to the device.
    pub(crate) fn send_from_partner(
        &mut self,
        device: Device,
        count: u64,
        length: usize,
    ) -> Result<Burst> {
        let train = Train::bursts(count, length);
        self.burst(device, device.partner(), NOBODY, train)
    }

    /// Sends frames with the device's partner to the device.
    pub(crate) fn receive(&mut self, device: Device, count: u64, length: usize) -> Result<Burst> {
        let train = Train::bursts(count, length);
        let burst = self.burst(device, device.partner(), device.address(), train)?;
        let received = burst.received;
        ensure!(
            received == count,
            "{}: {received} of {count} frames came",
            device.module()
        );
        Ok(burst)
    }

    fn burst(&mut self, device: Device, from: [u8; 6], to: [u8; 6], train: Train) -> Result<Burst> {
        let (sender, receiver) = (self.interface(from)?, self.interface(device.address())?);
        let to = text(to);
        self.generators(&[(&sender, &to)], train)?;
        let counter = format!("cat /sys/class/net/{receiver}/statistics/rx_packets");
        let before: u64 = self.guest.sh(&counter)?.parse()?;
        // Frames that are still on their way when pktgen is done belong to the run.
        let (_, counts) = self.counter.run(
            &self.guest,
            &format!("echo start >{PKTGEN}/pgctrl; sleep 0.1"),
        )?;
        let after: u64 = self.guest.sh(&counter)?.parse()?;
        let result = self.guest.sh(&format!("cat {PKTGEN}/{sender}"))?;
        // pktgen sends more than it should if a burst has ended early because the ring was full.
        ensure!(
            result.contains(&format!("pkts-sofar: {}  errors: 0", train.count)),
            "pktgen had trouble:\n{result}"
        );
        Ok(Burst {
            counts,
            received: after - before,
        })
    }

    /// Makes pktgen send with each of these interfaces to an address.
    fn generators(&self, interfaces: &[(&str, &str)], train: Train) -> Result<()> {
        let Train {
            count,
            length,
            delay,
            burst,
        } = train;
        self.guest
            .sh(&format!("echo rem_device_all >{PKTGEN}/kpktgend_0"))?;
        for (sender, to) in interfaces {
            self.guest.sh(&format!(
                "echo add_device {sender} >{PKTGEN}/kpktgend_0 || exit 1\n\
                 for option in 'count {count}' 'pkt_size {length}' 'delay {delay}' 'clone_skb 0' \
                 'burst {burst}' 'dst_mac {to}' 'src_min 10.99.0.1' 'src_max 10.99.0.1' 'dst 10.99.0.2'; do\n\
                 echo $option >{PKTGEN}/{sender} || exit 1; done"
            ))?;
        }
        Ok(())
    }

    /// Runs a shell command while device and partner each send 5000 frames of 1500 bytes a second.
    pub(crate) fn flood(&mut self, device: Device, command: &str) -> Result<Flood> {
        const DELAY_NS: u64 = 200_000;
        let own = self.interface(device.address())?;
        let partner = self.interface(device.partner())?;
        let (nobody, address) = (text(NOBODY), text(device.address()));
        let train = Train {
            delay: DELAY_NS,
            ..Train::single(0, 1500)
        };
        self.generators(&[(&own, &nobody), (&partner, &address)], train)?;
        // The counters are those of the device: what its driver was given and has received, and
        // what was on the wire.
        let counters = || -> Result<[u64; 3]> {
            let text = self.guest.sh(&format!(
                "cd /sys/class/net/{own}/statistics && cat tx_packets rx_packets"
            ))?;
            let (given, received) = text.split_once('\n').context("no counters")?;
            let stats: Stats = self.guest.stats()?;
            let port = stats.ports.first().context("the adapter has no port")?;
            Ok([given.parse()?, received.parse()?, port.tx_frames])
        };
        let before = counters()?;
        self.guest.sh(&format!(
            "(echo start >{PKTGEN}/pgctrl) & sleep 0.2\n({command})\nstatus=$?\n\
             echo stop >{PKTGEN}/pgctrl; wait; sleep 0.5; exit $status"
        ))?;
        let result = self.guest.sh(&format!("cat {PKTGEN}/{partner}"))?;
        let from_partner: u64 = result
            .split_once("pkts-sofar: ")
            .and_then(|(_, rest)| rest.split_whitespace().next())
            .with_context(|| format!("pktgen had trouble:\n{result}"))?
            .parse()?;
        let after = counters()?;
        let [given, received, carried] = [0, 1, 2].map(|n| after[n] - before[n]);
        Ok(Flood {
            sent: given + from_partner,
            arrived: carried + received,
        })
    }

    /// Returns the name of the interface with an address.
    pub(super) fn interface(&self, address: [u8; 6]) -> Result<String> {
        let address = text(address);
        let path = self
            .guest
            .sh(&format!("grep -lx {address} /sys/class/net/*/address"))?;
        let name = path.split('/').nth(4).context("no interface")?;
        Ok(name.to_owned())
    }

    /// Powers the guest off.
    pub(crate) fn shutdown(self) -> Result<()> {
        self.guest.shutdown()
    }
}
