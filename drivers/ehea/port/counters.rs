// SPDX-License-Identifier: GPL-2.0

//! Counters. They outlive the queue pairs, so that they never run backwards.

use super::Port;
use crate::{
    abi::cb::port::PortBlock2,
    kernel_ext::net::stats::{
        Counter,
        RxQueueStats,
        Stats64,
        TxQueueStats, //
    },
};
use core::sync::atomic::{
    AtomicU64,
    Ordering::Relaxed, //
};

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
    multicast: AtomicU64,
    rx_missed: AtomicU64,
    rx_errors: AtomicU64,
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

impl Port {
    /// Fetches the adapter's counters. Process context.
    pub(super) fn fetch_counters(&self) -> crate::firmware::Result {
        let block: PortBlock2 = self.calls.statistics()?;
        self.counters.multicast.store(block.rxmcp.get(), Relaxed);
        self.counters.rx_missed.store(block.rxufd.get(), Relaxed);
        self.counters.rx_errors.store(block.rxuerr.get(), Relaxed);
        Ok(())
    }

    /// What the receive queue of that number has counted; nothing if there is none.
    pub(super) fn rx_queue_stats(&self, queue: u16) -> RxQueueStats {
        let counters = self.queue_counters().nth(queue.into());
        counters.map_or_else(RxQueueStats::default, |counters| RxQueueStats {
            packets: counters.rx_packets.get(),
            bytes: counters.rx_bytes.get(),
            // Frames are copied for this reason, or because the new buffer isn't in the map.
            alloc_fail: counters
                .rx_copied
                .get()
                .saturating_sub(counters.rx_translation_misses.get()),
        })
    }

    /// What the transmit queue of that number has counted; nothing if there is none.
    pub(super) fn tx_queue_stats(&self, queue: u16) -> TxQueueStats {
        let counters = self.queue_counters().nth(queue.into());
        counters.map_or_else(TxQueueStats::default, |counters| TxQueueStats {
            packets: counters.tx_packets.get(),
            bytes: counters.tx_bytes.get(),
            stop: counters.tx_stopped.get(),
        })
    }

    /// Fills in the standard counters.
    pub(super) fn fill_stats64(&self, stats: &mut Stats64<'_>) {
        let sum = |counter: fn(&QueueCounters) -> &Counter| -> u64 {
            self.queue_counters()
                .map(|queue| counter(queue).get())
                .fold(0, u64::wrapping_add)
        };
        let crc = sum(|queue| &queue.rx_crc_errors);
        let length = sum(|queue| &queue.rx_length_errors);
        // The adapter counts frames that it reports as bad, too, but is asked only now and then.
        let reported = crc.wrapping_add(sum(|queue| &queue.rx_checksum_errors));
        let bad = reported
            .max(self.counters.rx_errors.load(Relaxed))
            .wrapping_add(length);
        stats
            .set_rx_packets(sum(|queue| &queue.rx_packets))
            .set_rx_bytes(sum(|queue| &queue.rx_bytes))
            .set_rx_dropped(sum(|queue| &queue.rx_dropped))
            .set_rx_errors(bad)
            .set_rx_crc_errors(crc)
            .set_rx_length_errors(length)
            .set_rx_missed_errors(self.counters.rx_missed.load(Relaxed))
            .set_multicast(self.counters.multicast.load(Relaxed))
            .set_tx_packets(sum(|queue| &queue.tx_packets))
            .set_tx_bytes(sum(|queue| &queue.tx_bytes))
            .set_tx_errors(sum(|queue| &queue.tx_errors))
            .set_tx_dropped(sum(|queue| &queue.tx_dropped));
    }
}
