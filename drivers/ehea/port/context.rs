// SPDX-License-Identifier: GPL-2.0

//! Context of a port: the network device, the adapter and the log, for its parts.

use super::reset::ResetReason;
use crate::{
    firmware::{
        Firmware,
        PortCalls, //
    },
    kernel_ext::net::{
        self,
        NetDevice, //
    },
    shared::Adapter,
    trace::Direction, //
};
use kernel::{
    fmt,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    },
    time::Delta, //
};

/// Operations of a port's network device.
pub(crate) struct PortOperations;

/// Network device of a port.
pub(crate) type PortDevice = NetDevice<PortOperations>;

/// Reasons for deferred work.
pub(super) struct Deferred;

impl Deferred {
    /// The port must be taken down and up again.
    pub(super) const RESET: u32 = 1 << 0;
    /// It is time to fetch the adapter's counters.
    pub(super) const STATISTICS: u32 = 1 << 1;
    /// Interval in which they are fetched.
    pub(super) const STATISTICS_INTERVAL: Delta = Delta::from_secs(1);
    /// The port must be opened, which was put off.
    pub(super) const OPEN: u32 = 1 << 2;
}

/// Logs an error of the port that `calls` are about. Any context.
pub(super) fn log_err(calls: &PortCalls, dev: &net::Device, message: fmt::Arguments<'_>) {
    dev_err!(calls.firmware().dev(), "{}: {}\n", dev.name(), message);
}

/// Logs information about the port that `calls` are about. Any context.
pub(super) fn log_info(calls: &PortCalls, dev: &net::Device, message: fmt::Arguments<'_>) {
    dev_info!(calls.firmware().dev(), "{}: {}\n", dev.name(), message);
}

/// Context of a port, for its parts.
///
/// It owns a reference to the network device, so it must be dropped when the port is closed.
pub(super) struct Context {
    dev: ARef<PortDevice>,
    adapter: Arc<Adapter>,
    calls: Arc<PortCalls>,
}

impl Context {
    /// Returns the context of the port that `calls` are about.
    pub(super) fn new(dev: &PortDevice, adapter: &Arc<Adapter>, calls: &Arc<PortCalls>) -> Self {
        Self {
            dev: dev.into(),
            adapter: adapter.clone(),
            calls: calls.clone(),
        }
    }

    /// Returns the network device.
    pub(super) fn dev(&self) -> &PortDevice {
        &self.dev
    }

    /// Returns the adapter.
    pub(super) fn adapter(&self) -> &Arc<Adapter> {
        &self.adapter
    }

    /// Returns the hypercalls about the port.
    pub(super) fn calls(&self) -> &PortCalls {
        &self.calls
    }

    /// Returns the access to firmware.
    pub(super) fn firmware(&self) -> &Arc<Firmware> {
        self.adapter.firmware()
    }

    /// Logs an error of the port. Any context.
    pub(super) fn log_err(&self, message: fmt::Arguments<'_>) {
        log_err(&self.calls, &self.dev, message);
    }

    /// Logs information about the port. Any context.
    pub(super) fn log_info(&self, message: fmt::Arguments<'_>) {
        log_info(&self.calls, &self.dev, message);
    }

    /// Requests that the port is taken down and up again, and logs and counts the reason. Any context.
    pub(super) fn request_reset(&self, reason: ResetReason) {
        self.dev.data().request_reset(&self.dev, reason);
    }

    /// Reports that the buffer at real address `address` is not in the memory map. Any context.
    pub(super) fn report_miss(&self, address: u64, direction: Direction) {
        self.adapter.report_miss(&self.dev, address, direction);
    }
}
