// SPDX-License-Identifier: GPL-2.0

//! Settings of a port that firmware keeps when the driver is gone.

use crate::{
    abi::cb::port::{
        PortBlock0,
        PortSpeed, //
    },
    error::Result,
    firmware::PortCalls, //
};
use core::sync::atomic::{
    AtomicU32,
    Ordering::Relaxed, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Settings of a port in firmware.
///
/// Firmware keeps them when the driver goes. Drop therefore makes them what they were before the driver
/// came. A crash drops nothing, so the driver of the next kernel finds what the last one has set.
pub(super) struct Settings {
    calls: Arc<PortCalls>,
    /// Attributes that were found.
    found: PortBlock0,
    /// True if the driver has enabled jumbo frames.
    jumbo_enabled: bool,
    /// Speed that was requested last, as [`PortSpeed`]. It is changed under the instance lock. Firmware
    /// tells only the speed in use, so a port is taken to negotiate until another speed is requested.
    requested: AtomicU32,
}

impl Settings {
    /// Reads the settings of the port that `calls` are about.
    pub(super) fn new(calls: &Arc<PortCalls>) -> Result<Self> {
        Ok(Self {
            calls: calls.clone(),
            found: calls.attributes()?,
            jumbo_enabled: false,
            requested: AtomicU32::new(PortSpeed::AUTONEG.0),
        })
    }

    /// Returns the attributes that were found.
    pub(super) fn found(&self) -> &PortBlock0 {
        &self.found
    }

    /// Enables jumbo frames, if they are not.
    pub(super) fn enable_jumbo_frames(&mut self) -> Result {
        if !self.calls.jumbo_frames()? {
            self.calls.set_jumbo_frames(true)?;
            self.jumbo_enabled = true;
        }
        Ok(())
    }

    /// Returns the speed that was requested last.
    pub(super) fn requested_speed(&self) -> PortSpeed {
        PortSpeed(self.requested.load(Relaxed))
    }

    /// Requests a speed. The link may go down and up because of it, which the adapter reports.
    pub(super) fn request_speed(&self, speed: PortSpeed) -> Result {
        self.calls.set_speed(speed)?;
        self.requested.store(speed.0, Relaxed);
        Ok(())
    }

    /// Restores the address, and the way in which the port receives.
    fn restore_attributes(&self) -> Result {
        let found = &self.found;
        let now = self.calls.attributes();
        // What is not known may have changed.
        let differs = |differs: fn(&PortBlock0, &PortBlock0) -> bool| match &now {
            Ok(now) => differs(now, found),
            Err(_) => true,
        };
        let fields = [
            (
                PortBlock0::SELECT_MAC,
                differs(|now, found| now.port_mac_addr != found.port_mac_addr),
            ),
            (
                PortBlock0::SELECT_RECEIVE_CONTROL,
                differs(|now, found| now.port_rc != found.port_rc),
            ),
            (
                PortBlock0::SELECT_DEFAULT_QPNS,
                differs(|now, found| now.default_qpn_arr != found.default_qpn_arr),
            ),
        ];
        let changed = fields.iter().filter(|(_, changed)| *changed);
        match changed.fold(0, |select, (field, _)| select | field.mask()) {
            0 => Ok(()),
            select => self.calls.set_attributes(found, select),
        }
    }

    fn restore_speed(&self) -> Result {
        if self.requested_speed() == PortSpeed::AUTONEG {
            return Ok(());
        }
        self.request_speed(PortSpeed::AUTONEG)
    }

    fn restore_jumbo_frames(&self) -> Result {
        if !self.jumbo_enabled {
            return Ok(());
        }
        self.calls.set_jumbo_frames(false)
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        let restore: [fn(&Self) -> Result; 3] = [
            Self::restore_attributes,
            Self::restore_speed,
            Self::restore_jumbo_frames,
        ];
        for restore in restore {
            // Firmware is asked twice, because nobody does so later.
            if let Err(error) = restore(self).or_else(|_| restore(self)) {
                dev_err!(
                    self.calls.firmware().dev(),
                    "port {} is not left as it was found: {}\n",
                    self.calls.number(),
                    error
                );
            }
        }
    }
}
