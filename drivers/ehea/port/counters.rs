// SPDX-License-Identifier: GPL-2.0

//! Counters. They outlive the queue pairs, so that they never run backwards.

use crate::kernel_ext::net::stats::Counter;
use core::sync::atomic::AtomicU64;

/// What one queue pair has done.
#[derive(Default)]
pub(crate) struct QueueCounters {
    /// Frames given to the adapter, as they are on the wire.
    pub(crate) tx_packets: Counter,
    /// Bytes given to the adapter, without CRC.
    pub(crate) tx_bytes: Counter,
    /// Frames that the adapter did not send.
    pub(crate) tx_errors: Counter,
    /// Frames that the driver could not send.
    pub(crate) tx_dropped: Counter,
    /// Frames with memory that was not in the memory map.
    pub(crate) tx_translation_misses: Counter,
    /// Frames sent from bounce slots, because their memory was not in the map.
    pub(crate) tx_bounced: Counter,
    /// Frames with more fragments than a work request has room for.
    pub(crate) tx_linearized: Counter,
    /// How often the transmit queue was stopped for lack of room.
    pub(crate) tx_stopped: Counter,
    /// Mappings of pieces of frames, in a CMO partition.
    pub(crate) cmo_tx_mapped: Counter,
    /// Frames sent from bounce slots, because they could not be mapped.
    pub(crate) cmo_tx_bounced: Counter,
    /// How often the transmit queue was stopped, because a frame could neither be mapped nor be copied
    /// to bounce slots.
    pub(crate) cmo_tx_stalled: Counter,
    /// Frames received.
    pub(crate) rx_packets: Counter,
    /// Bytes received, without CRC.
    pub(crate) rx_bytes: Counter,
    /// Good frames for which there was no memory.
    pub(crate) rx_dropped: Counter,
    /// Frames with a wrong CRC.
    pub(crate) rx_crc_errors: Counter,
    /// Frames with a wrong IP, TCP or UDP checksum.
    pub(crate) rx_checksum_errors: Counter,
    /// Frames of impossible length.
    pub(crate) rx_length_errors: Counter,
    /// Receive buffers whose memory was not in the memory map.
    pub(crate) rx_translation_misses: Counter,
    /// Frames copied out of their buffer, because there was no other buffer to post.
    pub(crate) rx_copied: Counter,
    /// Chunks of receive buffers that were mapped, in a CMO partition.
    pub(crate) cmo_rx_mapped: Counter,
    /// How often chunks of receive buffers could not be mapped.
    pub(crate) cmo_rx_map_failed: Counter,
    /// Receive buffers that were not posted again, because there were more than there may be.
    pub(crate) cmo_rx_returned: Counter,
}

/// What the adapter counts for a port, as fetched last, and what happened to the port itself.
pub(super) struct PortCounters {
    pub(super) resets: Counter,
    pub(super) multicast: AtomicU64,
    pub(super) rx_missed: AtomicU64,
    pub(super) rx_errors: AtomicU64,
}

impl PortCounters {
    pub(super) const fn new() -> Self {
        Self {
            resets: Counter::new(),
            multicast: AtomicU64::new(0),
            rx_missed: AtomicU64::new(0),
            rx_errors: AtomicU64::new(0),
        }
    }
}
