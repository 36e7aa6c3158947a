// SPDX-License-Identifier: GPL-2.0

//! Counters that the stack asks for.

use super::{
    context::PortDevice,
    counters::QueueCounters,
    device::Port,
    difference::growth, //
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
use kernel::prelude::*;
use zerocopy::byteorder::big_endian::U64;

impl Port {
    /// Fetches the adapter's counters, and logs the first failure. Process context.
    pub(super) fn update_counters(&self, dev: &PortDevice) {
        if let Some(error) = self.fetch_failure.note(self.fetch_counters()) {
            self.log_err(dev, fmt!("{error}"));
        }
    }

    /// Fetches the adapter's counters. Process context.
    ///
    /// The adapter counts since it was reset. Only what it has counted since it was asked before is added, so
    /// the port's counters start at 0 and never run backwards.
    fn fetch_counters(&self) -> Result {
        let mut fetched = self.fetched.lock();
        let now: PortBlock2 = self.calls.statistics()?;
        let Some(before) = fetched.replace(now) else {
            return Ok(());
        };
        let counters = &self.counters;
        let counted = |counter: fn(&PortBlock2) -> U64| {
            growth(counter(&before).get(), counter(&now).get()) //
        };
        counters.multicast.add(counted(|block| block.rxmcp));
        counters.rx_missed.add(counted(|block| block.rxufd));
        counters.rx_errors.add(counted(|block| block.rxuerr));
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
    pub(super) fn fill_stats64(&self, stats: &mut Stats64) {
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
            .max(self.counters.rx_errors.get())
            .wrapping_add(length);
        stats
            .set_rx_packets(sum(|queue| &queue.rx_packets))
            .set_rx_bytes(sum(|queue| &queue.rx_bytes))
            .set_rx_dropped(sum(|queue| &queue.rx_dropped))
            .set_rx_errors(bad)
            .set_rx_crc_errors(crc)
            .set_rx_length_errors(length)
            .set_rx_missed_errors(self.counters.rx_missed.get())
            .set_multicast(self.counters.multicast.get())
            .set_tx_packets(sum(|queue| &queue.tx_packets))
            .set_tx_bytes(sum(|queue| &queue.tx_bytes))
            .set_tx_errors(sum(|queue| &queue.tx_errors))
            .set_tx_dropped(sum(|queue| &queue.tx_dropped));
    }
}
