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
        let requested = port.settings.requested_speed();
        let speed = if dev.carrier_ok() {
            PortSpeed(attributes.port_speed.get()).decode()
        } else {
            requested.decode()
        };
        let autoneg = requested == PortSpeed::AUTONEG;
        settings
            .set_speed(speed.map(|(mbps, _)| mbps))
            .set_full_duplex(speed.map(|(_, full)| full))
            .set_autoneg(autoneg);
        let (port, medium) = connector(speed);
        settings.set_port(port);
        for mode in Iterator::chain(modes(), [LinkMode::Autoneg, medium]) {
            settings.add_supported(mode);
        }
        if autoneg {
            for mode in Iterator::chain(modes(), [LinkMode::Autoneg, medium]) {
                settings.add_advertised(mode);
            }
        }
        Ok(())
    }

    fn set_link_settings(
        dev: &NetDevice<PortOperations>,
        settings: &LinkSettings,
        _lock: &InstanceLock<'_>,
    ) -> Result {
        let mut now = LinkSettings::default();
        Self::link_settings(dev, &mut now)?;
        // Firmware is asked for one speed or for negotiation, and for nothing else.
        if !advertises_all_or_nothing(settings) || !settings.has_same_medium(&now) {
            return Err(EOPNOTSUPP);
        }
        let speed = if settings.autoneg() {
            PortSpeed::AUTONEG
        } else {
            let mbps = settings.speed().ok_or(EINVAL)?;
            let full = settings.full_duplex().ok_or(EINVAL)?;
            PortSpeed::encode(mbps, full).ok_or(EINVAL)?
        };
        request_speed(dev, speed)
    }

    fn restart_autoneg(dev: &NetDevice<PortOperations>) -> Result {
        match dev.data().settings.requested_speed() {
            PortSpeed::AUTONEG => request_speed(dev, PortSpeed::AUTONEG),
            _ => Err(EINVAL),
        }
    }
}

/// Returns the modes of a port.
fn modes() -> impl Iterator<Item = LinkMode> {
    MODES.into_iter().map(|(_, _, mode)| mode)
}

/// Returns the connector of a port with the speed and duplex mode `speed`, and its medium.
fn connector(speed: Option<(u32, bool)>) -> (ethtool::Port, LinkMode) {
    match speed {
        Some((mbps, _)) if mbps >= FIBRE_SPEED => (ethtool::Port::Fibre, LinkMode::Fibre),
        _ => (ethtool::Port::TwistedPair, LinkMode::TwistedPair),
    }
}

/// Checks whether all modes of a port are to be advertised, as they are when it negotiates, or none.
fn advertises_all_or_nothing(settings: &LinkSettings) -> bool {
    let count = |modes: &mut dyn Iterator<Item = LinkMode>| {
        modes.filter(|&mode| settings.is_advertised(mode)).count()
    };
    let advertised = count(&mut modes());
    let media = [LinkMode::Autoneg, LinkMode::TwistedPair, LinkMode::Fibre];
    let others = count(&mut media.into_iter());
    (advertised == 0 || advertised == MODES.len())
        && advertised + others == settings.advertised_count()
}

fn request_speed(dev: &NetDevice<PortOperations>, speed: PortSpeed) -> Result {
    let port = dev.data();
    port.settings.request_speed(speed).map_err(|error| {
        port.log_err(dev, fmt!("{error}"));
        error.to_errno()
    })
}
