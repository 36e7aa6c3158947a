// SPDX-License-Identifier: GPL-2.0

//! Counters that the stack asks for.

use super::{
    counters::QueueCounters,
    device::Port, //
};
use crate::{
    abi::cb::port::PortBlock2,
    error::Result,
    kernel_ext::net::stats::{
        Counter,
        RxQueueStats,
        Stats64,
        TxQueueStats, //
    }, //
};
use core::sync::atomic::Ordering::Relaxed;

impl Port {
    /// Fetches the adapter's counters. Process context.
    pub(super) fn fetch_counters(&self) -> Result {
        let block: PortBlock2 = self.calls.statistics()?;
        self.counters.multicast.store(block.rxmcp.get(), Relaxed);
        self.counters.rx_missed.store(block.rxufd.get(), Relaxed);
        self.counters.rx_errors.store(block.rxuerr.get(), Relaxed);
        Ok(())
    }

    /// Returns the counts of the receive queue of the number `queue`. They are 0 if there is no
    /// such queue.
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

    /// Returns the counts of the transmit queue of the number `queue`. They are 0 if there is no
    /// such queue.
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
