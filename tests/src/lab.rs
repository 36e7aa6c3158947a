// SPDX-License-Identifier: GPL-2.0
//! A booted guest with the adapter, and the host's ends of its ports.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use ehea_harness::{parse_size, Builder, Guest, Output};
use ehea_model::stats::{Live, PortSettings, Stats};

use crate::peer::{Port, PEER_ADDRESS};
use crate::system::System;
use crate::totals::{unwanted, Counts, UNWANTED};

/// Environment variable with the path of `ehea-net`, built from `guest-tools/` for the guest.
pub const GUEST_TOOLS_VARIABLE: &str = "EHEA_GUEST_TOOLS";

/// Requirements for a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Driver, and the kernel that goes with it.
    pub system: System,
    /// Memory, in the syntax of `Builder::mem`.
    pub memory: &'static str,
    /// Number of ports of the adapter, each connected to this process; `None` for no adapter.
    pub adapter: Option<usize>,
    /// Properties of the adapter, such as `max-mrs=1`.
    pub properties: &'static [&'static str],
    /// True if memory is reserved for the kernel that runs after a crash, which is in the directory
    /// of commands.
    pub crash_kernel: bool,
    /// I/O entitlement, such as `64M`, which makes the guest a CMO partition.
    pub cmo: Option<&'static str>,
    /// Devices besides the adapter. Their ports follow those of the adapter.
    pub others: &'static [Other],
    /// Additional arguments of QEMU, for other devices.
    pub qemu_args: &'static [&'static str],
    /// Temper of the adapters towards the driver.
    pub temper: Temper,
    /// Bus of the adapters.
    pub bus: Bus,
}

/// Bus on which the driver finds its adapters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bus {
    /// The VIO bus.
    #[default]
    Vio,
    /// The ibmebus, where POWER6 and POWER7 machines have them.
    Ibmebus,
}

impl Bus {
    /// Returns the name of the bus.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vio => "vio",
            Self::Ibmebus => "ibmebus",
        }
    }

    /// Returns the adapter's properties for this bus.
    const fn properties(self) -> &'static [&'static str] {
        match self {
            Self::Vio => &[],
            Self::Ibmebus => &["ibmebus=on"],
        }
    }
}

/// Temper of an adapter towards its driver, within what the interface allows
/// (Documentation/abi.rst).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Temper {
    /// Everything happens as expected.
    #[default]
    Calm,
    /// Firmware is busy now and then, and the adapter is slow and works out of order.
    Rough,
}

/// Environment variable with another seed for the behaviour of a rough adapter.
pub const SEED_VARIABLE: &str = "EHEA_TEMPER_SEED";

impl Temper {
    /// Returns the name of the temper, for the names of tests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Calm => "",
            Self::Rough => "rough",
        }
    }

    /// Returns the adapter's properties for this temper.
    fn properties(self) -> Vec<String> {
        match self {
            Self::Calm => Vec::new(),
            Self::Rough => {
                let seed = std::env::var(SEED_VARIABLE).unwrap_or_else(|_| "1".to_owned());
                vec!["temper=rough".to_owned(), format!("temper-seed={seed}")]
            }
        }
    }
}

impl Shape {
    /// A guest with this driver, 1 GiB of memory and nothing else.
    pub const PLAIN: Self = Self {
        system: System::Ours,
        memory: "1G",
        adapter: None,
        properties: &[],
        crash_kernel: false,
        cmo: None,
        others: &[],
        qemu_args: &[],
        temper: Temper::Calm,
        bus: Bus::Vio,
    };

    /// A guest with this driver, two ports and room for memory.
    pub const STANDARD: Self = Self {
        memory: "1G,max=8G",
        adapter: Some(2),
        ..Self::PLAIN
    };
}

/// A network device beside the adapter, with one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// Another adapter.
    Adapter,
    /// An adapter that is not there when the guest is booted, and that [`Lab::plug`] plugs in. There are two at most.
    Later(u8),
    /// A virtual Ethernet of the VIO bus, for ibmveth.
    Veth,
}

impl Other {
    /// Returns the value of QEMU's option `-device`. `port` is the number of the port among all
    /// ports, and `netdev` its netdev.
    fn device(self, port: usize, netdev: &str, shape: &Shape) -> String {
        let (mac, id, unit) = (text(port_address(port)), self.id(), self.unit());
        match self {
            Self::Adapter | Self::Later(_) => {
                let mut device =
                    format!("spapr-ehea,id={id},reg=0x{unit},ports=1,netdev0={netdev},mac0={mac}");
                for property in shape.temper.properties() {
                    device = format!("{device},{property}");
                }
                for property in shape.bus.properties() {
                    device = format!("{device},{property}");
                }
                device
            }
            Self::Veth => format!("spapr-vlan,id={id},reg=0x{unit},netdev={netdev},mac={mac}"),
        }
    }

    /// Returns the unit address on the VIO bus.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Adapter => "71000002",
            Self::Later(0) => "71000003",
            Self::Later(_) => "71000004",
            Self::Veth => "71000010",
        }
    }

    /// Returns the name in QEMU.
    pub fn id(self) -> String {
        format!("vio{}", self.unit())
    }
}

/// A guest and the host's ends of its ports.
#[derive(Debug)]
pub struct Lab {
    system: System,
    bus: Bus,
    /// Descriptions of the adapters that are plugged in later.
    later: Vec<(Other, String)>,
    guest: Guest,
    ports: Vec<Arc<Port>>,
    /// Interfaces and network namespaces of the booted guest.
    networks: String,
    before: Stats,
    expected: Mutex<BTreeSet<&'static str>>,
    /// True if the driver must leave the ports' settings in firmware as it found them. After a crash, it
    /// cannot.
    restores_settings: bool,
}

/// Time after which something that needs no user is taken never to happen in the guest. It is no
/// measurement.
const PATIENCE: Duration = Duration::from_secs(120);

/// Names under which the model counts accesses of queue pairs to memory that is not registered or,
/// in a CMO partition, not mapped.
const REFUSED_ACCESSES: [&str; 4] = ["UnknownKey", "OutsideRegion", "NotMapped", "QueueNotMapped"];

/// Calls `done` until it returns true. Fails with the description `what` if it never does.
pub fn wait_until(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !done()? {
        ensure!(start.elapsed() < PATIENCE, "never happened: {what}");
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Returns the address of a port, numbered from 1.
pub fn port_address(port: usize) -> [u8; 6] {
    [0x52, 0x54, 0x00, 0xea, 0x00, port as u8]
}

/// Returns an address as text.
pub fn text(address: [u8; 6]) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}

/// Returns the path of the program for the guest.
pub fn guest_tools() -> Result<PathBuf> {
    match std::env::var_os(GUEST_TOOLS_VARIABLE) {
        Some(path) => Ok(path.into()),
        None => bail!(
            "{GUEST_TOOLS_VARIABLE} is not set: run this through `cargo xtask test --tier e2e`"
        ),
    }
}

/// Returns a shell command that makes IPv6 give an interface no address.
fn silence(name: &str) -> String {
    format!("echo 1 >/proc/sys/net/ipv6/conf/{name}/addr_gen_mode")
}

/// Returns the settings of all ports.
fn settings(stats: &Stats) -> Vec<PortSettings> {
    let ports = stats.ports.iter();
    ports.map(|port| port.settings.clone()).collect()
}

impl Lab {
    /// Boots a guest. `name` is for its logs.
    pub fn boot(name: &str, shape: &Shape) -> Result<Self> {
        Self::boot_with(name, shape, |builder| builder)
    }

    /// Boots a guest as [`Lab::boot`] does, after `special` has changed its description.
    pub fn boot_with(
        name: &str,
        shape: &Shape,
        special: impl FnOnce(Builder) -> Builder,
    ) -> Result<Self> {
        let mut builder = shape.system.guest()?.name(name).mem(shape.memory)?;
        if shape.crash_kernel {
            builder = builder.crash_kernel("512M");
        }
        if let Some(bytes) = shape.cmo {
            builder = builder.cmo(parse_size(bytes)?);
        }
        for argument in shape.qemu_args {
            builder = builder.qemu_arg(argument);
        }
        let mut ports = Vec::new();
        let mut later = Vec::new();
        match shape.adapter {
            None => builder = builder.no_adapter(),
            Some(count) => {
                builder = builder.ports(count);
                for number in 1..=count {
                    let (port, socket) = Port::new()?;
                    let property = format!("mac{}={}", number - 1, text(port_address(number)));
                    builder = builder.netdev(socket).adapter_property(&property);
                    ports.push(Arc::new(port));
                }
                for property in shape.system.adapter_properties() {
                    builder = builder.adapter_property(property);
                }
                for property in shape.temper.properties() {
                    builder = builder.adapter_property(&property);
                }
                for property in shape.bus.properties().iter().chain(shape.properties) {
                    builder = builder.adapter_property(property);
                }
            }
        }
        for other in shape.others {
            let (port, socket) = Port::new()?;
            ports.push(Arc::new(port));
            let netdev = format!("other{}", ports.len());
            builder = builder.other_netdev(&netdev, socket);
            let device = other.device(ports.len(), &netdev, shape);
            match other {
                Other::Later(_) => later.push((*other, device)),
                _ => builder = builder.qemu_arg("-device").qemu_arg(&device),
            }
        }
        let guest = special(builder).boot()?;
        // Added memory is for movable pages, so that it can be removed again.
        guest.sh("echo auto-movable >/sys/module/memory_hotplug/parameters/online_policy")?;
        let mut lab = Self {
            system: shape.system,
            bus: shape.bus,
            later,
            guest,
            ports,
            networks: String::new(),
            before: Stats::default(),
            expected: Mutex::default(),
            restores_settings: shape.system == System::Ours && !shape.crash_kernel,
        };
        if shape.adapter.is_some() {
            lab.before = lab.stats()?;
        }
        lab.networks = lab.networks()?;
        Ok(lab)
    }

    fn networks(&self) -> Result<String> {
        self.sh("ls /sys/class/net; ls /run/netns 2>/dev/null; true")
    }

    /// Checks whether the guest has the interfaces and network namespaces that it had when it was
    /// booted, and no others.
    pub fn is_tidy(&self) -> Result<bool> {
        Ok(self.networks()? == self.networks)
    }

    /// Returns the driver, and the kernel that goes with it.
    pub fn system(&self) -> System {
        self.system
    }

    /// Returns the guest.
    pub fn guest(&self) -> &Guest {
        &self.guest
    }

    /// Returns the host's end of a port, numbered from 1.
    pub fn port(&self, number: usize) -> Result<&Arc<Port>> {
        number
            .checked_sub(1)
            .and_then(|index| self.ports.get(index))
            .with_context(|| format!("no port {number}"))
    }

    /// Returns the adapter model's statistics.
    pub fn stats(&self) -> Result<Stats> {
        self.guest.stats()
    }

    /// Runs a shell command that must succeed and returns its output.
    pub fn sh(&self, command: &str) -> Result<String> {
        self.guest.sh(command)
    }

    /// Runs a shell command.
    pub fn run(&self, command: &str) -> Result<Output> {
        self.guest.run(command)
    }

    /// Loads the driver.
    pub fn load(&self) -> Result<()> {
        self.sh("modprobe ehea").map(drop)
    }

    /// Returns the bus of the adapters.
    pub fn bus(&self) -> Bus {
        self.bus
    }

    /// Returns the directory of the driver in sysfs, on the bus of the adapters.
    pub fn driver_directory(&self) -> String {
        format!("/sys/bus/{}/drivers/ehea", self.bus.name())
    }

    /// Plugs in an adapter that comes later. The guest does not take it by itself.
    pub fn plug(&self, adapter: Other) -> Result<()> {
        let mut descriptions = self.later.iter();
        let found = descriptions.find(|(other, _)| *other == adapter);
        let (_, device) = found.context("no such adapter is to come")?;
        let answer = self.guest.human_monitor(&format!("device_add {device}"))?;
        ensure!(answer.trim().is_empty(), "device_add {device}: {answer}");
        Ok(())
    }

    /// Asks for an adapter that has come later. It goes when the guest has given it back.
    pub fn request_unplug(&self, adapter: Other) -> Result<()> {
        self.guest.request_unplug(&adapter.id())
    }

    /// Waits until an adapter is gone that was asked for.
    pub fn wait_unplugged(&self, adapter: Other) -> Result<()> {
        self.guest.wait_deleted(&adapter.id())
    }

    /// Returns the names of the devices that are bound to the driver on the bus of the adapters.
    pub fn bound(&self) -> Result<Vec<String>> {
        let names = self.sh(&format!(
            "cd {} && for name in *; do [ ! -L $name ] || [ $name = module ] || echo $name; done",
            self.driver_directory()
        ))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Removes the driver. Nothing of it may be left in the adapter.
    pub fn unload(&self) -> Result<()> {
        self.sh("rmmod ehea")?;
        self.nothing_left()
    }

    /// Returns the settings of all ports that firmware keeps.
    pub fn settings(&self) -> Result<Vec<PortSettings>> {
        Ok(settings(&self.stats()?))
    }

    /// Fails if anything exists in the adapter.
    pub fn nothing_left(&self) -> Result<()> {
        let stats = self.stats()?;
        ensure!(
            stats.live == Live::default() && stats.pinned_bytes == 0,
            "left in the adapter: {:?}, {} bytes pinned",
            stats.live,
            stats.pinned_bytes
        );
        Ok(())
    }

    /// Returns the name of a port's interface.
    pub fn interface(&self, port: usize) -> Result<String> {
        let address = text(port_address(port));
        let path = self
            .sh(&format!("grep -lx {address} /sys/class/net/*/address"))
            .with_context(|| format!("port {port} has no interface"))?;
        let name = path.split('/').nth(4).context("no name of an interface")?;
        Ok(name.to_owned())
    }

    /// Sets a port up with the MTU `mtu`, waits for its carrier, and returns the name of its
    /// interface.
    pub fn up(&self, port: usize, mtu: usize) -> Result<String> {
        let name = self.interface(port)?;
        self.sh(&format!("ip link set {name} mtu {mtu} up"))?;
        self.carrier(&name, true)?;
        Ok(name)
    }

    /// Gives an interface the address `10.NET.0.1`, and a permanent entry that the peer on the wire
    /// has `10.NET.0.2`.
    pub fn address(&self, interface: &str, net: u8) -> Result<()> {
        self.sh(&format!(
            "ip addr add 10.{net}.0.1/24 dev {interface} && \
             arp -i {interface} -s 10.{net}.0.2 {}",
            text(PEER_ADDRESS)
        ))
        .map(drop)
    }

    /// Gives two interfaces, the second in a network namespace, permanent entries of each other's
    /// addresses, so that no ARP is under way while frames are counted. Its frames are shorter than
    /// the wire allows, and the sender does not count the padding, while the receiver does.
    pub fn introduce(&self, near: (&str, &str), far: (&str, &str), namespace: &str) -> Result<()> {
        let [first, second] = [1, 2].map(|port| text(port_address(port)));
        self.sh(&format!(
            "ip neigh replace {} lladdr {second} nud permanent dev {} && \
             ip -n {namespace} neigh replace {} lladdr {first} nud permanent dev {}",
            far.1, near.0, near.1, far.0
        ))
        .map(drop)
    }

    /// Makes IPv6 give an interface that is down no address of its own accord. The kernel then
    /// sends nothing on it unasked: no router solicitations, reports of groups, or probes for
    /// duplicate addresses. This is for scenarios that say how many frames there must be or that
    /// compare both ends of a wire: the adapter at the other end filters such frames.
    pub fn silent(&self, name: &str) -> Result<()> {
        self.sh(&silence(name)).map(drop)
    }

    /// Makes an interface in a network namespace silent, as [`Lab::silent`] does.
    pub fn silent_in(&self, namespace: &str, name: &str) -> Result<()> {
        let command = silence(name);
        self.sh(&format!("ip netns exec {namespace} sh -c '{command}'"))
            .map(drop)
    }

    /// Waits until an interface has a carrier, or has none. With the carrier come an address of
    /// IPv6 (except for part of a bond) and a group, which is waited for as well. From then on, the
    /// adapter's objects stay the same.
    pub fn carrier(&self, name: &str, on: bool) -> Result<()> {
        let wanted = u8::from(on);
        let groups = format!(
            "conf=/proc/sys/net/ipv6/conf/{name}; \
             groups() {{ [ -e /sys/class/net/{name}/master ] || [ \"$(cat $conf/addr_gen_mode 2>/dev/null)\" != 0 ] || \
             grep -q '^[0-9]* *{name} *ff02.*01ff' /proc/net/igmp6; }}"
        );
        let joined = if on { "groups" } else { "true" };
        let command = format!(
            "{groups}; n=0; until [ \"$(cat /sys/class/net/{name}/carrier)\" = {wanted} ] && {joined}; do \
             [ $((n += 1)) -lt 600 ] || exit 1; sleep 0.1; done"
        );
        let output = self.run(&command)?;
        ensure!(
            output.success(),
            "{name} never got carrier {wanted}\n{output}"
        );
        Ok(())
    }

    /// Prepares for a scenario: the driver is not loaded, and the model's refusals count from now.
    pub fn begin(&mut self, scenario: &str) -> Result<()> {
        self.sh(&format!("echo 'scenario: {scenario}' >/dev/kmsg"))?;
        self.expected().clear();
        if self.system != System::Ours {
            // The C driver rings doorbells of queue pairs that it has disabled. They do nothing.
            self.expect_ignored_mmio();
        }
        if self.ports.is_empty() {
            return Ok(());
        }
        for port in &self.ports {
            port.drain()?;
        }
        self.nothing_left()?;
        self.before = self.stats()?;
        Ok(())
    }

    /// Declares that refusals under the name `name` are what the running scenario is about.
    pub fn expect_refusal(&self, name: &'static str) {
        self.expected().insert(name);
    }

    /// Declares that the running scenario is about lost interrupts, so that completion events are
    /// raised again.
    pub fn expect_reraise(&self) {
        self.expected().insert("reraised");
    }

    /// Declares that queue pairs fail in the running scenario without fault of the driver. The
    /// driver may ring a doorbell before it knows, which does nothing.
    pub fn expect_ignored_mmio(&self) {
        self.expected().insert("ignored_mmio");
    }

    /// Declares that the running scenario leaves objects in the adapter. No other one may use the guest.
    pub fn expect_left(&self) {
        self.expected().insert("left");
    }

    /// Checks whether the running scenario expects counts under the name `name`.
    pub(crate) fn expects(&self, name: &str) -> bool {
        self.expected().contains(name)
    }

    /// Returns the unwanted events that the model counted since the scenario began.
    pub(crate) fn unwanted(&self) -> Result<Counts> {
        let mut counts = unwanted(&self.stats()?);
        for (name, before) in unwanted(&self.before) {
            if let Some(count) = counts.get_mut(&name) {
                *count = count.saturating_sub(before);
            }
        }
        Ok(counts)
    }

    /// Returns the number of calls that firmware of its own accord did not look at, since the
    /// scenario began.
    pub(crate) fn moody_answers(&self) -> Result<u64> {
        let sum = |stats: &Stats| stats.moody_answers.values().sum::<u64>();
        Ok(sum(&self.stats()?).saturating_sub(sum(&self.before)))
    }

    fn expected(&self) -> std::sync::MutexGuard<'_, BTreeSet<&'static str>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a scenario: removes the driver. Fails if anything is left, if the model had to refuse
    /// anything that the driver did, or if the kernel reported anything.
    pub fn end(&self) -> Result<()> {
        self.guest.check_console()?;
        if self.run("test -d /sys/module/ehea")?.success() {
            self.sh("rmmod ehea")?;
        }
        self.guest.check_debug()?;
        self.guest.check_console()?;
        if self.ports.is_empty() {
            return Ok(());
        }
        if !self.expects("left") {
            self.nothing_left()?;
        }
        let (before, after) = (&self.before, self.stats()?);
        // Asking for one region more than there is room for is no mistake.
        let mistakes = |stats: &Stats| {
            let mut refusals = stats.refusals.clone();
            refusals.remove("MrLimit");
            refusals.retain(|name, _| !self.expected().contains(name.as_str()));
            refusals
        };
        ensure!(
            mistakes(&after) == mistakes(before),
            "the model refused calls or work requests of the driver: {:?}, before: {:?}",
            after.refusals,
            before.refusals
        );
        let accesses = self
            .expected()
            .iter()
            .any(|name| REFUSED_ACCESSES.contains(name));
        ensure!(
            accesses || after.refused_accesses == before.refused_accesses,
            "queue pairs accessed memory that is not registered"
        );
        ensure!(
            accesses || after.cmo_refused == before.cmo_refused,
            "the adapter accessed memory that is not mapped"
        );
        ensure!(
            after.removed_while_registered == before.removed_while_registered,
            "memory left the machine while it was registered"
        );
        ensure!(
            !self.restores_settings || settings(&after) == settings(before),
            "settings of the ports are not as they were found: {:?}, before: {:?}",
            settings(&after),
            settings(before)
        );
        for (name, count) in self.unwanted()? {
            let (_, meaning) = UNWANTED
                .iter()
                .find(|of| of.0 == name)
                .copied()
                .unwrap_or_default();
            ensure!(
                count == 0 || self.expects(&name) || self.system.is_known_for(&name),
                "{name}: {count} times, {meaning}"
            );
        }
        Ok(())
    }

    /// Powers the guest off.
    pub fn shutdown(self) -> Result<()> {
        self.guest.shutdown()
    }
}
