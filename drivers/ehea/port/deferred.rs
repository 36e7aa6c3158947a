// SPDX-License-Identifier: GPL-2.0

//! Work of a port that is deferred: resets, the adapter's counters, and opening a port while the memory map is rebuilt.

use super::{
    context::{
        Deferred,
        PortDevice, //
    },
    device::Port,
    opening::{
        Occasion,
        Opened, //
    }, //
};
use crate::kernel_ext::net::lock::{
    ConfigGuard,
    ConfigLock, //
};
use core::sync::atomic::Ordering::Relaxed;
use kernel::{
    prelude::*,
    time::Delta, //
};

/// Time after which a reset that failed is tried again.
const RESET_RETRY: Delta = Delta::from_secs(1);

impl Port {
    /// Checks whether the stack has opened the port, and it is not about to be removed.
    fn is_to_be_open(&self, dev: &PortDevice) -> bool {
        dev.is_running() && !self.retired.load(Relaxed)
    }

    /// Takes the port down and up again. If it does not come up, the reset is tried again later.
    ///
    /// The reset is counted when it has ended, or when opening the port is put off.
    fn reset(&self, dev: &PortDevice) {
        let lock = ConfigGuard::new(dev);
        if !self.is_to_be_open(dev) {
            self.reset_failure.note(Ok(()));
            return;
        }
        self.close(dev, &lock);
        self.reopen(dev, dev.mtu(), &lock, Occasion::Reset);
        self.counters.resets.inc();
    }

    /// Opens the port, which was put off. Neither RTNL nor the instance lock is held while the memory map is waited
    /// for, or rebuilt, nor while the bus is waited for.
    fn open_later(&self, dev: &PortDevice) {
        if let Some(entitlement) = self.adapter.entitlement() {
            entitlement.wait_for_minimum();
        }
        match self.put_off.take_address() {
            // If this fails, opening the port fails as well, at least after some attempts.
            Some(address) => drop(self.adapter.map_requested(address)),
            None => self.adapter.wait_for_map(),
        }
        let lock = ConfigGuard::new(dev);
        if self.is_to_be_open(dev) && self.first_queue_pair().is_none() {
            self.reopen(dev, dev.mtu(), &lock, self.put_off.occasion());
        }
    }

    /// Brings a port up that is closed. It keeps its carrier, if it has one, unless the link went down meanwhile. If
    /// the port does not come up, the carrier goes, and a reset is tried later.
    pub(super) fn reopen(
        &self,
        dev: &PortDevice,
        mtu: u32,
        lock: &ConfigLock<'_>,
        occasion: Occasion,
    ) {
        let opened = self.open(dev, mtu, lock);
        match opened {
            // This comes here again.
            Ok(Opened::Later) => {
                self.put_off.remember(occasion);
                return;
            }
            Ok(Opened::Now) => {
                self.check_link(dev);
                if occasion == Occasion::Reset {
                    self.log_info(dev, fmt!("reset"));
                }
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
        if let Some(error) = self.reset_failure.note(opened.map(|_| ())) {
            self.log_err(dev, fmt!("{occasion} failed: {error}"));
        }
    }

    /// Does deferred work.
    pub(super) fn deferred(&self, dev: &PortDevice, events: u32) {
        if events & Deferred::RESET != 0 {
            self.reset(dev);
        }
        if events & Deferred::OPEN != 0 {
            self.open_later(dev);
        }
        if events & Deferred::STATISTICS != 0 && dev.is_running() {
            self.update_counters(dev);
            dev.defer_after(Deferred::STATISTICS, Deferred::STATISTICS_INTERVAL);
        }
    }
}
