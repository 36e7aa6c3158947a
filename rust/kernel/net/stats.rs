// SPDX-License-Identifier: GPL-2.0

//! Statistics.

use crate::kernel_ext::bindings;
use core::sync::atomic::{
    AtomicU64,
    Ordering, //
};

/// A counter.
///
/// Accesses are relaxed: a counter orders nothing.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Returns a counter at 0.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds `n`, also when several contexts do so at once; wraps at 2^64.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Adds `n` to a counter that one context at a time adds to, as under a lock. It is cheaper than
    /// [`add`](Self::add). If several contexts add, some of it gets lost.
    #[inline]
    pub fn add_alone(&self, n: u64) {
        self.0.store(self.get().wrapping_add(n), Ordering::Relaxed);
    }

    /// Adds 1.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Returns the present value.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters of a receive queue.
#[derive(Clone, Copy, Debug, Default)]
pub struct RxQueueStats {
    /// Frames received.
    pub packets: u64,
    /// Bytes received, without CRC.
    pub bytes: u64,
    /// Number of times that there was no memory for a buffer, whatever became of the frame.
    pub alloc_fail: u64,
}

/// Counters of a transmit queue.
#[derive(Clone, Copy, Debug, Default)]
pub struct TxQueueStats {
    /// Frames sent.
    pub packets: u64,
    /// Bytes sent, without CRC.
    pub bytes: u64,
    /// Number of times that the driver has stopped the queue for want of room.
    pub stop: u64,
}

/// The standard counters of a network device; those not set are 0.
pub struct Stats64(pub(super) bindings::rtnl_link_stats64);

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident => $field:ident;)*) => {
        impl Stats64 {
            $(
                $(#[$doc])*
                pub fn $name(&mut self, value: u64) -> &mut Self {
                    self.0.$field = value;
                    self
                }
            )*
        }
    };
}

setters! {
    /// Frames received.
    set_rx_packets => rx_packets;
    /// Frames sent.
    set_tx_packets => tx_packets;
    /// Bytes received, without CRC.
    set_rx_bytes => rx_bytes;
    /// Bytes sent, without CRC.
    set_tx_bytes => tx_bytes;
    /// Bad frames received.
    set_rx_errors => rx_errors;
    /// Frames that could not be sent because of an error of the device.
    set_tx_errors => tx_errors;
    /// Good frames dropped for lack of memory.
    set_rx_dropped => rx_dropped;
    /// Frames dropped before they were sent.
    set_tx_dropped => tx_dropped;
    /// Multicast frames received.
    set_multicast => multicast;
    /// Frames of a wrong length.
    set_rx_length_errors => rx_length_errors;
    /// Frames with a wrong CRC.
    set_rx_crc_errors => rx_crc_errors;
    /// Frames lost because no receive buffer was posted.
    set_rx_missed_errors => rx_missed_errors;
}
