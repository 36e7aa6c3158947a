// SPDX-License-Identifier: GPL-2.0

//! Probe and remove.

mod ports;

use self::ports::Ports;
use crate::{
    error::{
        Error,
        Result, //
    },
    firmware::Firmware,
    kernel_ext::{
        binding,
        command::Command,
        debugfs,
        dma::Access,
        ibmebus,
        of::Node,
        vio, //
    },
    port::{
        self,
        MapFile, //
    },
    shared::{
        default_desired,
        Adapter,
        Following,
        MapUser,
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
    ports: Pin<KBox<Ports>>,
    _worker: Worker,
    _following: Following,
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
        let user = MapUser::new()?;
        let adapter = Adapter::new(firmware, ports::count(&node), user.map())?;
        // Follows before memory is registered, so that no removal goes unseen.
        let following = Following::new(user, &adapter)?;
        let worker = Worker(adapter.clone());
        let neq = Notifications::allocate(adapter.firmware())?;
        let ports = Ports::new(&adapter, node)?;
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
            ports,
            _worker: worker,
            _following: following,
            _adapter: adapter,
        })
    }
}

static PROBE_PORT: Command<AdapterData> =
    Command::new(c"probe_port", |data, text| Ok(data.ports.probe(text)?));
static REMOVE_PORT: Command<AdapterData> =
    Command::new(c"remove_port", |data, text| Ok(data.ports.remove(text)?));

// There is no `shutdown`: without one, the bus removes the device before kexec, which leaves nothing
// behind in firmware; and a reset of the machine resets the adapter. For a crash see `firmware::ledger`.
#[vtable]
impl binding::Driver for EheaDriver {
    type Data = AdapterData;

    const NAME: &'static CStr = c"ehea";

    /// `drmgr` writes the number of a port to them.
    const COMMANDS: &'static [&'static Command<AdapterData>] = &[&PROBE_PORT, &REMOVE_PORT];

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
        let ports = dev.of_node().map_or(0, |node| ports::count(&node));
        // CAST: `usize` has 64 bits.
        default_desired(ports, port::ETHERNET_MTU) as usize
    }
}

impl ibmebus::Driver for EheaDriver {
    const ID_TABLE: kernel::of::IdTable<()> = &IBMEBUS_IDS;

    /// Ports can be added and removed, memory can be added, and memory can be removed.
    const CAPABILITIES: u32 = 1 | 2 | 4;
}
