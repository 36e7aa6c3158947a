// SPDX-License-Identifier: GPL-2.0

//! Work of a port that is deferred: resets, and the adapter's counters.

use super::{
    context::{
        Deferred,
        PortDevice, //
    },
    device::Port, //
};
use crate::kernel_ext::net::lock::{
    ConfigGuard,
    ConfigLock, //
};
use kernel::{
    prelude::*,
    time::Delta, //
};

/// Time after which a reset that failed is tried again.
const RESET_RETRY: Delta = Delta::from_secs(1);
/// Interval in which the adapter's counters are fetched.
pub(super) const STATISTICS_INTERVAL: Delta = Delta::from_secs(1);

impl Port {
    /// Takes the port down and up again. If it does not come up, the reset is tried again later.
    ///
    /// The reset is counted when it has ended.
    fn reset(&self, dev: &PortDevice) {
        let lock = ConfigGuard::new(dev);
        if !dev.is_running() {
            self.reset_failure.note(Ok(()));
            return;
        }
        self.close(dev, &lock);
        self.reopen(dev, dev.mtu(), &lock);
        self.counters.resets.inc();
    }

    /// Brings a port up again that was closed. It keeps its carrier, unless the link went down meanwhile. If
    /// the port does not come up, the carrier goes, and a reset is tried later.
    pub(super) fn reopen(&self, dev: &PortDevice, mtu: u32, lock: &ConfigLock<'_>) {
        let opened = self.open(dev, mtu, lock);
        match opened {
            Ok(()) => {
                self.check_link(dev);
                self.log_info(dev, fmt!("reset"));
                // When it is the stack that opens a port, it sets the filter once more of its own accord.
                if self.filter.lock().is_incomplete() {
                    lock.retry_rx_mode();
                }
            }
            Err(_) => {
                dev.carrier_off();
                dev.defer_after(Deferred::RESET, RESET_RETRY);
            }
        }
        if let Some(error) = self.reset_failure.note(opened) {
            self.log_err(dev, fmt!("reset failed: {error}"));
        }
    }

    /// Does deferred work.
    pub(super) fn deferred(&self, dev: &PortDevice, events: u32) {
        if events & Deferred::RESET != 0 {
            self.reset(dev);
        }
        if events & Deferred::STATISTICS != 0 && dev.is_running() {
            self.update_counters(dev);
            dev.defer_after(Deferred::STATISTICS, STATISTICS_INTERVAL);
        }
    }
}
