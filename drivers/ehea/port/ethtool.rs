// SPDX-License-Identifier: GPL-2.0

//! Operations for ethtool.

use super::{
    context::PortOperations,
    counters, //
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
            NetDevice, //
        }, //
    }, //
};
use kernel::prelude::*;

/// Operations of a port for ethtool.
pub(crate) struct EthtoolOperations;

/// Speeds in Mbit/s and duplex modes of a port.
const MODES: [(u32, bool, LinkMode); 6] = [
    (10, false, LinkMode::Base10Half),
    (10, true, LinkMode::Base10Full),
    (100, false, LinkMode::Base100Half),
    (100, true, LinkMode::Base100Full),
    (1000, true, LinkMode::Base1000Full),
    (10000, true, LinkMode::Base10000Full),
];

/// Lowest speed in Mbit/s of a port for fibre.
const FIBRE_SPEED: u32 = 10000;

#[vtable]
impl ethtool::Operations for EthtoolOperations {
    type Net = PortOperations;

    const STATISTICS: &'static [&'static CStr] = counters::NAMES;

    fn statistics(dev: &NetDevice<PortOperations>, values: &mut [u64]) {
        let port = dev.data();
        values.fill(0);
        port.add_counts(values);
        counters::set_adapter(values, port.adapter(), &port.adapter().map_state());
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

/// Requests a speed. The link may go down and up because of it, which the adapter reports.
fn set_speed(dev: &NetDevice<PortOperations>, speed: PortSpeed) -> Result {
    let port = dev.data();
    port.calls().set_speed(speed).map_err(|error| {
        port.log_err(dev, fmt!("{error}"));
        error.to_errno()
    })
}
