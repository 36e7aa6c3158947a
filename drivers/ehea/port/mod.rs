// SPDX-License-Identifier: GPL-2.0

//! A logical port: a network device.
//!
//! - [`operations`]: what the network stack calls.
//! - [`open`]: bringing the port up, down, and up again after an error.
//! - [`queue_pair`]: a queue pair with all that belongs to it, also while the memory map changes.
//! - [`tx`]: transmission; [`rx`]: reception; [`poll`]: the NAPI instance.
//! - [`entitlement`]: what is mapped in a CMO partition.
//! - [`filter`]: which frames are received; [`errors`]: errors of queue pairs.
//! - [`counters`]: counters of a port; [`ethtool`]: what ethtool shows and sets.

mod counters;
mod entitlement;
mod errors;
mod ethtool;
mod filter;
mod open;
mod operations;
mod poll;
mod queue_pair;
mod rings;
mod rx;
mod tx;

pub(crate) use counters::QueueCounters;
pub(crate) use operations::PortOperations;

use crate::{
    abi::cb::port::{
        MacAddress,
        PortBlock0,
        ReceiveControl,
        MAX_DEFAULT_QPS, //
    },
    firmware::{
        Error,
        PortCalls,
        Result, //
    },
    kernel_ext::net::{
        self,
        queue::TxLocked,
        stats::Counter,
        Features,
        NetDevice,
        Registered,
        UnregisteredNetDevice, //
    }, //
    shared::Adapter,
};
use counters::PortCounters;
use ethtool::EthtoolOperations;
use filter::Filter;
use kernel::{
    fmt,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    time::Delta, //
};
use open::Running;
use tx::send::Sender;

/// Reasons for deferred work.
pub(crate) struct Event;

impl Event {
    /// The port must be taken down and up again.
    pub(crate) const RESET: u32 = 1 << 0;
    /// A buffer was not in the memory map.
    pub(crate) const MEMORY_MISS: u32 = 1 << 1;
    /// It is time to fetch the adapter's counters.
    pub(crate) const STATISTICS: u32 = 1 << 2;
    /// The port may have more or less mapped than before.
    pub(crate) const ENTITLEMENT: u32 = 1 << 3;
}

/// The smallest MTU, that of IPv4.
const MIN_MTU: u32 = 68;
/// The largest MTU with jumbo frames: the adapter's 9022 bytes less header, VLAN tag and CRC.
const MAX_MTU: u32 = 9000;
/// The MTU of a port without jumbo frames, and the default.
pub(crate) const ETHERNET_MTU: u32 = 1500;
/// When a transmit queue that doesn't move is reported.
const WATCHDOG: Delta = Delta::from_secs(10);

/// What is always on.
const FEATURES: Features = Features::SG
    .with(Features::IP_CSUM)
    .with(Features::TSO)
    .with(Features::RXCSUM)
    .with(Features::HIGHDMA)
    .with(Features::VLAN_TX)
    .with(Features::VLAN_RX)
    .with(Features::VLAN_FILTER);

/// What the user may turn off: that which the driver asks for frame by frame.
const CHANGEABLE_FEATURES: Features = Features::SG
    .with(Features::IP_CSUM)
    .with(Features::TSO)
    .with(Features::VLAN_TX);

/// What frames of a VLAN have, too.
const VLAN_FEATURES: Features = Features::SG
    .with(Features::IP_CSUM)
    .with(Features::TSO)
    .with(Features::HIGHDMA);

/// The longest packet that the stack may have segmented, in bytes.
const MAX_TSO: u32 = 1 << 16;

/// One pair of a transmit and a receive queue of the network device, whether open or not.
struct Queue {
    /// The transmitting side, if the port is open.
    sender: TxLocked<Option<Sender>>,
    counters: Arc<QueueCounters>,
}

/// A logical port.
#[pin_data]
pub(crate) struct Port {
    adapter: Arc<Adapter>,
    calls: PortCalls,
    queues: KVec<Queue>,
    // What exists while the port is open.
    #[pin]
    running: Mutex<Option<Running>>,
    #[pin]
    filter: Mutex<Filter>,
    counters: PortCounters,
}

impl Port {
    fn new(
        adapter: &Arc<Adapter>,
        calls: PortCalls,
        queues: u16,
    ) -> Result<impl PinInit<Self, kernel::error::Error>> {
        let mut list = KVec::with_capacity(queues.into(), GFP_KERNEL)?;
        for index in 0..queues {
            list.push(
                Queue {
                    sender: TxLocked::new(index, None),
                    counters: Arc::new(QueueCounters::default(), GFP_KERNEL)?,
                },
                GFP_KERNEL,
            )?;
        }
        let adapter = adapter.clone();
        Ok(try_pin_init!(Self {
            filter <- new_mutex!(Filter::new(adapter.multicast_limit())),
            adapter,
            calls,
            queues: list,
            running <- new_mutex!(None),
            counters: PortCounters::new(),
        }? kernel::error::Error))
    }

    /// The logical port number.
    pub(crate) fn number(&self) -> u16 {
        self.calls.number()
    }

    /// The adapter.
    pub(crate) fn adapter(&self) -> &Arc<Adapter> {
        &self.adapter
    }

    /// Calls about the port.
    pub(crate) fn calls(&self) -> &PortCalls {
        &self.calls
    }

    /// The counters of all queue pairs.
    pub(crate) fn queue_counters(&self) -> impl Iterator<Item = &QueueCounters> {
        self.queues.iter().map(|queue| &*queue.counters)
    }

    /// How often the port was reset.
    pub(crate) fn resets(&self) -> &Counter {
        &self.counters.resets
    }

    /// Logs an error of the port. Any context.
    pub(crate) fn log_err(&self, dev: &net::Device, message: fmt::Arguments<'_>) {
        dev_err!(self.calls.firmware().dev(), "{}: {}\n", dev.name(), message);
    }

    /// Logs something that is good to know. Any context.
    pub(crate) fn log_info(&self, dev: &net::Device, message: fmt::Arguments<'_>) {
        dev_info!(self.calls.firmware().dev(), "{}: {}\n", dev.name(), message);
    }

    /// Has the port taken down and up again, soon. Any context.
    pub(crate) fn request_reset(&self, dev: &NetDevice<PortOperations>) {
        dev.defer(Event::RESET);
    }

    /// Takes note that the link came up or went down.
    ///
    /// Queues are left alone: without a carrier the stack doesn't use them.
    pub(crate) fn link_changed(&self, dev: &NetDevice<PortOperations>, up: bool) {
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

    /// How the port receives.
    fn receive_control() -> ReceiveControl {
        ReceiveControl::VALID
            .with(ReceiveControl::VLAN_XTRACT)
            .with(ReceiveControl::JUMBO_FRAME)
            .with(ReceiveControl::TCP_UDP_CHKSUM)
            .with(ReceiveControl::IP_CHKSUM)
            .with(ReceiveControl::VLAN_FILTER)
    }
}

/// Whether the port takes, or can be made to take, jumbo frames.
fn jumbo_frames(calls: &PortCalls) -> bool {
    let enabled = calls.jumbo_frames().and_then(|enabled| {
        if !enabled {
            calls.enable_jumbo_frames()?;
        }
        Ok(())
    });
    if let Err(error) = &enabled {
        dev_warn!(
            calls.firmware().dev(),
            "port {}: no jumbo frames: {}\n",
            calls.number(),
            error
        );
    }
    enabled.is_ok()
}

/// Makes a network device of port `number` and registers it.
pub(crate) fn register(adapter: &Arc<Adapter>, number: u16) -> Result<Registered<PortOperations>> {
    let calls = PortCalls::new(adapter.firmware(), number);
    let attributes: PortBlock0 = calls.attributes()?;
    let mac = MacAddress::unpack(attributes.port_mac_addr.get());
    if !mac.is_valid_station() {
        return Err(Error::Invalid("MAC address"));
    }
    let queues = match usize::try_from(attributes.num_default_qps.get()) {
        // CAST: At most 16.
        Ok(queues @ 1..=MAX_DEFAULT_QPS) => queues as u16,
        _ => return Err(Error::Invalid("number of queue pairs")),
    };
    let max_mtu = if jumbo_frames(&calls) {
        MAX_MTU
    } else {
        ETHERNET_MTU
    };

    let parent = adapter.firmware().dev();
    let mut dev = UnregisteredNetDevice::<PortOperations>::new(
        parent,
        queues,
        queues,
        Port::new(adapter, calls, queues)?,
    )?;
    dev.set_mac_address(&net::MacAddress(mac.0));
    dev.set_mtu(ETHERNET_MTU, MIN_MTU, max_mtu);
    dev.set_features(FEATURES);
    dev.set_hw_features(CHANGEABLE_FEATURES);
    dev.set_vlan_features(VLAN_FEATURES);
    dev.set_tso_max(MAX_TSO, u16::MAX);
    dev.set_watchdog(WATCHDOG);
    dev.set_port(number.saturating_sub(1));
    dev.set_ethtool::<EthtoolOperations>();
    dev.carrier_off();
    Ok(dev.register()?)
}
