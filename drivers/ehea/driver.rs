// SPDX-License-Identifier: GPL-2.0

//! Probe and remove.

use crate::{
    abi::cb::port::MAX_PORTS,
    error::{
        Error,
        Result, //
    },
    firmware::Firmware,
    kernel_ext::{
        binding,
        debugfs,
        dma::Access,
        ibmebus,
        memory_hotplug::MemoryNotifier,
        net::Registered,
        of::Node,
        part::Part,
        vio, //
    },
    port::{
        self,
        MapFile,
        PortOperations, //
    },
    shared::{
        default_desired,
        Adapter,
        Hotplug,
        Membership,
        Notifications, //
    },
    vio_device_table, //
};
use kernel::{
    device::{
        Core,
        Device, //
    },
    of::DeviceId,
    of_device_table,
    prelude::*,
    str::CString,
    sync::Arc, //
};

vio_device_table!(VIO_IDS, [(c"network", c"IBM,lhea")]);
of_device_table!(IBMEBUS_IDS, (), [(DeviceId::new(c"IBM,lhea"), ())]);

/// Driver of adapters, on the VIO bus and on the ibmebus.
pub(crate) struct EheaDriver;

/// Checks whether a node below that of an adapter is that of a port.
fn is_port(node: &Node) -> bool {
    node.is_compatible(c"IBM,lhea-ethernet")
}

/// Counts the ports of an adapter.
fn count_ports(node: &Node) -> usize {
    node.children().filter(is_port).count().min(MAX_PORTS)
}

/// Port that is registered. The membership is dropped first, so that the shared part of the adapter
/// does not use the port any more when its network device is unregistered. The device for the port's node,
/// below which the network device is, goes last.
struct RegisteredPort {
    _membership: Membership,
    _dev: Registered<PortOperations>,
    _part: Part,
}

/// Ports of an adapter.
struct Ports(KVec<RegisteredPort>);

impl Ports {
    /// Sets up all ports that the device tree has below `node`. A port that fails is left out.
    ///
    /// Memory is registered if there is any.
    fn new(adapter: &Arc<Adapter>, node: &Node) -> Result<Self> {
        let mut ports = Self(KVec::new());
        let dev = adapter.firmware().dev();
        for child in node.children() {
            if !is_port(&child) {
                continue;
            }
            adapter.make_map()?;
            if ports.0.len() == MAX_PORTS {
                dev_warn!(dev, "more than {} ports: the rest is ignored\n", MAX_PORTS);
                break;
            }
            let number = match child.read_u32(c"ibm,hea-port-no") {
                Ok(number) => number,
                Err(_) => {
                    dev_err!(dev, "a port has no valid ibm,hea-port-no\n");
                    continue;
                }
            };
            if let Err(error) = ports.add(adapter, number, &child) {
                dev_err!(dev, "port {}: {}\n", number, error);
            }
        }
        if ports.0.is_empty() {
            dev_info!(dev, "no ports\n");
        }
        Ok(ports)
    }

    fn add(&mut self, adapter: &Arc<Adapter>, number: u32, node: &Node) -> Result {
        let number = u16::try_from(number).map_err(|_| Error::Invalid("port number"))?;
        if adapter.members().contains(number) {
            return Err(Error::Invalid("port number, used twice"));
        }
        self.0.reserve(1, GFP_KERNEL)?;
        let parent = adapter.firmware().dev();
        let name = CString::try_from_fmt(fmt!("{}-port{number}", parent.name()))?;
        let part = Part::new(&name, parent, node)?;
        let dev = port::register(adapter, number, part.as_ref())?;
        let port = RegisteredPort {
            _membership: adapter.join(port::member(&dev)?)?,
            _dev: dev,
            _part: part,
        };
        // There is room for it.
        Ok(self.0.push(port, GFP_KERNEL)?)
    }
}

/// Work of an adapter. It ends on drop, when no port is left that could request more.
struct Worker(Arc<Adapter>);

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.end_work();
    }
}

/// Data of an adapter. The bus's remove drops it, in the order of the fields.
pub(crate) struct AdapterData {
    _map_file: Pin<KBox<debugfs::File<MapFile>>>,
    _notifications: Notifications,
    _ports: Ports,
    _worker: Worker,
    _hotplug: Pin<KBox<MemoryNotifier<Hotplug>>>,
    // The memory region goes with the last reference.
    _adapter: Arc<Adapter>,
}

impl AdapterData {
    fn new(dev: &Device<Core<'_>>, access: &Access) -> Result<Self> {
        let node = Node::of(dev).ok_or(ENODEV)?;
        let handle = node.read_u64(c"ibm,hea-handle").unwrap_or(0);
        if handle == 0 {
            return Err(Error::Invalid("ibm,hea-handle"));
        }
        let firmware = Firmware::new(handle, dev, access)?;
        let adapter = Adapter::new(firmware, count_ports(&node))?;
        // Listens before memory is registered, so that no removal goes unseen.
        let hotplug = KBox::pin_init(
            MemoryNotifier::new(Hotplug {
                adapter: adapter.clone(),
            }),
            GFP_KERNEL,
        )?;
        let worker = Worker(adapter.clone());
        let neq = Notifications::allocate(adapter.firmware())?;
        let ports = Ports::new(&adapter, &node)?;
        // Events that the ports have caused by now wait in the queue.
        let name = CString::try_from_fmt(fmt!("ehea-{}-neq", dev.name()))?;
        let notifications = Notifications::new(&adapter, neq, name)?;
        let file = MapFile {
            adapter: adapter.clone(),
        };
        let map_file = KBox::pin_init(
            debugfs::File::new(adapter.firmware().dev().name(), MapFile::NAME, file),
            GFP_KERNEL,
        )?;
        Ok(Self {
            _map_file: map_file,
            _notifications: notifications,
            _ports: ports,
            _worker: worker,
            _hotplug: hotplug,
            _adapter: adapter,
        })
    }
}

// There is no `shutdown`: without one, the bus removes the device before kexec, which leaves nothing
// behind in firmware; and a reset of the machine resets the adapter. For a crash see `firmware::ledger`.
#[vtable]
impl binding::Driver for EheaDriver {
    type Data = AdapterData;

    const NAME: &'static CStr = c"ehea";

    fn probe(
        dev: &Device<Core<'_>>,
        access: &Access,
    ) -> impl PinInit<AdapterData, kernel::error::Error> {
        AdapterData::new(dev, access).map_err(|error| {
            dev_err!(dev, "probe failed: {}\n", error);
            error.to_errno()
        })
    }

    /// Refuses. A partition that was suspended would find its adapter with handles that mean nothing (eHEA ABI §1).
    fn prepare_sleep(dev: &Device<Core<'_>>) -> kernel::error::Result {
        dev_err!(
            dev,
            "the partition cannot be suspended with this adapter: remove the driver first\n"
        );
        Err(EBUSY)
    }
}

#[vtable]
impl vio::Driver for EheaDriver {
    const ID_TABLE: vio::IdTable = &VIO_IDS;

    fn desired_dma(dev: &vio::Device<Core<'_>>) -> usize {
        let ports = dev.of_node().map_or(0, |node| count_ports(&node));
        // CAST: `usize` has 64 bits.
        default_desired(ports, port::ETHERNET_MTU) as usize
    }
}

impl ibmebus::Driver for EheaDriver {
    const ID_TABLE: kernel::of::IdTable<()> = &IBMEBUS_IDS;

    /// Memory can be added and removed.
    const CAPABILITIES: u32 = 2 | 4;
}
