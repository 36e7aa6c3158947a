// SPDX-License-Identifier: GPL-2.0

//! Logical port as a network device.
//!
//! - [`device`]: the port as a value; [`operations`]: operations for the network stack; [`ethtool`]: those
//!   for ethtool; [`member`]: the port as a member of its adapter; [`settings`]: settings that firmware keeps.
//! - [`open`]: opening and closing; [`opening`]: when and why; [`deferred`]: resets, and other work that is
//!   deferred; [`running`]: state of an open port; [`entitlement`]: its share in a CMO partition.
//! - [`queue_pair`]: a queue pair with everything that belongs to it.
//! - [`posted`]: the buffers of a queue pair that firmware does not let go.
//! - [`moving`]: the move of a queue pair from one memory map to another.
//! - [`tx`]: transmission; [`rx`]: reception; [`poll`]: the NAPI instance; [`rings`]: queue memory.
//! - [`charge`]: memory that a queue pair has mapped, in a CMO partition.
//! - [`filter`]: the filter of received frames; [`errors`]: errors of queue pairs; [`reset`]: reasons
//!   for which the port is reset.
//! - [`counters`]: the counters, and the table of those that users see; [`statistics`]: counters that the
//!   stack asks for; [`difference`]: differences of those that the adapter keeps; [`debugfs`]: the counters
//!   of all ports, with the memory map.
//! - [`context`]: the context of a port for its parts.

mod charge;
mod context;
mod counters;
mod debugfs;
mod deferred;
mod device;
#[allow(unreachable_pub, reason = "shared with host tests")]
mod difference;
mod entitlement;
mod errors;
mod ethtool;
mod filter;
mod member;
#[allow(unreachable_pub, reason = "shared with host tests")]
mod moving;
mod open;
mod opening;
mod operations;
mod poll;
mod posted;
mod queue_pair;
mod reset;
mod rings;
mod running;
mod rx;
mod settings;
mod statistics;
mod tx;

pub(crate) use context::PortOperations;
pub(crate) use debugfs::MapFile;
pub(crate) use member::member;

use crate::{
    abi::cb::port::{
        MacAddress,
        MAX_DEFAULT_QPS, //
    },
    error::{
        Error,
        Result, //
    },
    firmware::PortCalls,
    kernel_ext::net::{
        self,
        Features,
        Registered,
        UnregisteredNetDevice, //
    },
    queue::LONGEST_SEGMENTED,
    shared::Adapter, //
};
use device::Port;
use ethtool::EthtoolOperations;
use kernel::{
    device::Device,
    prelude::*,
    sync::Arc,
    time::Delta, //
};
use settings::Settings;

/// Smallest MTU, that of IPv4.
const MIN_MTU: u32 = 68;
/// Largest MTU with jumbo frames: the adapter's 9022 bytes less header, VLAN tag and CRC.
const MAX_MTU: u32 = 9000;
/// Largest MTU of a port without jumbo frames, and the default.
pub(crate) const ETHERNET_MTU: u32 = 1500;
/// Time after which a transmit queue that does not move is reported.
const WATCHDOG: Delta = Delta::from_secs(10);

/// Features that are on at first.
const FEATURES: Features = Features::SG
    .with(Features::IP_CSUM)
    .with(Features::TSO)
    .with(Features::RXCSUM)
    .with(Features::HIGHDMA)
    .with(Features::VLAN_TX)
    .with(Features::VLAN_RX)
    .with(Features::VLAN_FILTER);

/// Features that the user may turn off. For those of transmission, the driver asks in each frame, for the
/// others, it asks the adapter once.
const CHANGEABLE_FEATURES: Features = Features::SG
    .with(Features::IP_CSUM)
    .with(Features::TSO)
    .with(Features::RXCSUM)
    .with(Features::VLAN_TX)
    .with(Features::VLAN_RX)
    .with(Features::VLAN_FILTER);

/// Features that frames of a VLAN have, too.
const VLAN_FEATURES: Features = Features::SG
    .with(Features::IP_CSUM)
    .with(Features::TSO)
    .with(Features::HIGHDMA);

/// Enables jumbo frames, if they are not. Returns whether the port takes them.
fn jumbo_frames(calls: &PortCalls, settings: &mut Settings) -> bool {
    let enabled = settings.enable_jumbo_frames();
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

/// Makes a network device of port `number` and registers it below `parent`.
pub(crate) fn register(
    adapter: &Arc<Adapter>,
    number: u16,
    parent: &Device,
) -> Result<Registered<PortOperations>> {
    let calls = PortCalls::new(adapter.firmware(), number)?;
    let mut settings = Settings::new(&calls)?;
    let attributes = settings.found();
    let mac = MacAddress::unpack(attributes.port_mac_addr.get());
    if !mac.is_valid_station() {
        return Err(Error::Invalid("MAC address"));
    }
    let queues = match usize::try_from(attributes.num_default_qps.get()) {
        // CAST: At most 16.
        Ok(queues @ 1..=MAX_DEFAULT_QPS) => queues as u16,
        _ => return Err(Error::Invalid("number of queue pairs")),
    };
    let max_mtu = if jumbo_frames(&calls, &mut settings) {
        MAX_MTU
    } else {
        ETHERNET_MTU
    };

    // Without it, counting starts with what is fetched first.
    let base = calls.statistics();
    if let Err(error) = &base {
        dev_warn!(calls.firmware().dev(), "port {}: {}\n", number, error);
    }

    let mut dev = UnregisteredNetDevice::<PortOperations>::new(
        parent,
        queues,
        queues,
        Port::new(
            adapter,
            calls,
            settings,
            base.ok(),
            FEATURES,
            queues,
            max_mtu,
        )?,
    )?;
    dev.set_mac_address(&net::MacAddress(mac.0));
    dev.set_mtu(ETHERNET_MTU, MIN_MTU, max_mtu);
    dev.set_features(FEATURES);
    dev.set_hw_features(CHANGEABLE_FEATURES);
    dev.set_vlan_features(VLAN_FEATURES);
    dev.set_tso_max(LONGEST_SEGMENTED, u16::MAX);
    dev.set_watchdog(WATCHDOG);
    dev.set_port(number.saturating_sub(1));
    dev.filters_unicast();
    dev.changes_address_while_up();
    dev.keeps_interrupt_affinity();
    dev.set_ethtool::<EthtoolOperations>();
    dev.carrier_off();
    Ok(dev.register()?)
}

/// Closes a port for good. This comes before its membership in the adapter ends, and before it is removed.
pub(crate) fn retire(dev: &Registered<PortOperations>) {
    dev.data().retire(dev);
}
