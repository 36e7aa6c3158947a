// SPDX-License-Identifier: GPL-2.0

//! What ethtool shows and sets.

use super::{
    context::PortOperations,
    counters::QueueCounters,
    device::Port, //
};
use crate::{
    abi::cb::port::PortSpeed,
    kernel_ext::{
        ethtool::{
            self,
            DriverInfo,
            LinkMode,
            LinkSettings, //
        },
        net::{
            lock::InstanceLock,
            stats::Counter,
            NetDevice, //
        }, //
    },
    shared::MapState, //
};
use kernel::prelude::*;

/// The operations of a port for ethtool.
pub(crate) struct EthtoolOperations;

/// Where a statistic comes from.
enum Source {
    /// The sum over all queue pairs.
    Queues(fn(&QueueCounters) -> &Counter),
    /// The port.
    Port(fn(&Port) -> u64),
    /// The memory map of the adapter.
    Map(fn(&MapState) -> u64),
}

/// Declares the statistics: names, and where they come from, in the same order.
macro_rules! statistics {
    ($($name:literal => $source:expr;)*) => {
        const NAMES: &[&CStr] = &[$($name),*];
        const SOURCES: &[Source] = &[$($source),*];
    };
}

statistics! {
    c"port_resets" => Source::Port(|port| port.resets().get());
    c"tx_bounced" => Source::Queues(|queue| &queue.tx_bounced);
    c"tx_translation_misses" => Source::Queues(|queue| &queue.tx_translation_misses);
    c"tx_linearized" => Source::Queues(|queue| &queue.tx_linearized);
    c"tx_stopped" => Source::Queues(|queue| &queue.tx_stopped);
    c"rx_translation_misses" => Source::Queues(|queue| &queue.rx_translation_misses);
    c"rx_copied" => Source::Queues(|queue| &queue.rx_copied);
    c"rx_checksum_errors" => Source::Queues(|queue| &queue.rx_checksum_errors);
    c"cmo_tx_mapped" => Source::Queues(|queue| &queue.cmo_tx_mapped);
    c"cmo_tx_bounced" => Source::Queues(|queue| &queue.cmo_tx_bounced);
    c"cmo_tx_stalled" => Source::Queues(|queue| &queue.cmo_tx_stalled);
    c"cmo_rx_mapped" => Source::Queues(|queue| &queue.cmo_rx_mapped);
    c"cmo_rx_map_failed" => Source::Queues(|queue| &queue.cmo_rx_map_failed);
    c"cmo_rx_returned" => Source::Queues(|queue| &queue.cmo_rx_returned);
    c"mr_generation" => Source::Map(|map| map.generation);
    c"mr_sections" => Source::Map(|map| map.map.sections());
    c"mr_bytes" => Source::Map(|map| map.map.total_bytes());
    c"mr_register_hcalls" => Source::Map(|map| map.register_calls);
    c"mr_alive" => Source::Map(|map| map.regions.into());
    c"mr_not_freed" => Source::Port(|port| port.calls().firmware().not_freed());
    c"mr_rebuilds_lazy" => Source::Port(|port| port.adapter().rebuilds.lazy.get());
    c"mr_rebuilds_immediate" => Source::Port(|port| port.adapter().rebuilds.immediate.get());
    c"mr_rebuilds_refused" => Source::Port(|port| port.adapter().rebuilds.refused.get());
    c"mr_rebuilds_failed" => Source::Port(|port| port.adapter().rebuilds.failed.get());
    c"mr_rebuilds_break_first" => Source::Port(|port| port.adapter().rebuilds.break_first.get());
    c"mr_blackout_hcalls" => Source::Map(|map| map.blackout.hcalls);
    c"mr_blackout_ns" => Source::Map(|map| map.blackout.ns);
}

/// Speeds in Mbit/s and duplex modes of a port.
const MODES: [(u32, bool, LinkMode); 6] = [
    (10, false, LinkMode::Base10Half),
    (10, true, LinkMode::Base10Full),
    (100, false, LinkMode::Base100Half),
    (100, true, LinkMode::Base100Full),
    (1000, true, LinkMode::Base1000Full),
    (10000, true, LinkMode::Base10000Full),
];

/// From this speed on the port is one for fibre.
const FIBRE_SPEED: u32 = 10000;

#[vtable]
impl ethtool::Operations for EthtoolOperations {
    type Net = PortOperations;

    const STATISTICS: &'static [&'static CStr] = NAMES;

    fn statistics(dev: &NetDevice<PortOperations>, values: &mut [u64]) {
        let port = dev.data();
        let map = port.adapter().map_state();
        for (value, source) in values.iter_mut().zip(SOURCES) {
            *value = match source {
                Source::Queues(counter) => port
                    .queue_counters()
                    .fold(0, |sum: u64, queue| sum.wrapping_add(counter(queue).get())),
                Source::Port(value) => value(&port),
                Source::Map(value) => value(&map),
            };
        }
    }

    fn driver_info(dev: &NetDevice<PortOperations>, info: &mut DriverInfo) {
        info.set_driver(c"ehea")
            .set_bus_info(dev.data().calls().firmware().dev().name());
    }

    fn link_settings(dev: &NetDevice<PortOperations>, settings: &mut LinkSettings) -> Result {
        let port = dev.data();
        let attributes = port.calls().attributes()?;
        let speed = PortSpeed(attributes.port_speed.get()).decode();
        let speed = speed.filter(|_| dev.carrier_ok());
        settings
            .set_speed(speed.map(|(mbps, _)| mbps))
            .set_full_duplex(speed.map(|(_, full)| full))
            .set_autoneg(true);
        for (_, _, mode) in MODES {
            settings.add_supported(mode).add_advertised(mode);
        }
        settings
            .add_supported(LinkMode::Autoneg)
            .add_advertised(LinkMode::Autoneg);
        let (port, mode) = match speed {
            Some((mbps, _)) if mbps >= FIBRE_SPEED => (ethtool::Port::Fibre, LinkMode::Fibre),
            _ => (ethtool::Port::TwistedPair, LinkMode::TwistedPair),
        };
        settings
            .set_port(port)
            .add_supported(mode)
            .add_advertised(mode);
        Ok(())
    }

    fn set_link_settings(
        dev: &NetDevice<PortOperations>,
        settings: &LinkSettings,
        _lock: &InstanceLock<'_>,
    ) -> Result {
        let speed = if settings.autoneg() {
            PortSpeed::AUTONEG
        } else {
            let mbps = settings.speed().ok_or(EINVAL)?;
            let full = settings.full_duplex().ok_or(EINVAL)?;
            PortSpeed::encode(mbps, full).ok_or(EINVAL)?
        };
        set_speed(dev, speed)
    }

    fn restart_autoneg(dev: &NetDevice<PortOperations>) -> Result {
        set_speed(dev, PortSpeed::AUTONEG)
    }
}

/// Requests a speed. The link may go down and up for it, which the adapter reports.
fn set_speed(dev: &NetDevice<PortOperations>, speed: PortSpeed) -> Result {
    let port = dev.data();
    port.calls().set_speed(speed).map_err(|error| {
        port.log_err(dev, fmt!("{error}"));
        error.to_errno()
    })
}
