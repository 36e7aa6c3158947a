// SPDX-License-Identifier: GPL-2.0

//! Counters, and the table of those that ethtool and debugfs show.
//!
//! Counters outlive the queue pairs, so that they never run backwards.

use crate::{
    kernel_ext::net::stats::Counter,
    shared::{
        Adapter,
        MapState, //
    }, //
};
use kernel::prelude::*;

/// Counts of one queue pair.
#[derive(Default)]
pub(crate) struct QueueCounters {
    /// Number of frames given to the adapter, as they are on the wire.
    pub(crate) tx_packets: Counter,
    /// Number of bytes given to the adapter, without CRC.
    pub(crate) tx_bytes: Counter,
    /// Number of frames that the adapter did not send.
    pub(crate) tx_errors: Counter,
    /// Number of frames that the driver could not send.
    pub(crate) tx_dropped: Counter,
    /// Number of frames with memory that was not in the memory map.
    pub(crate) tx_translation_misses: Counter,
    /// Number of frames sent from bounce slots, because their memory was not in the map.
    pub(crate) tx_bounced: Counter,
    /// Number of frames with more fragments than a work request has room for.
    pub(crate) tx_linearized: Counter,
    /// Number of frames whose checksum was open and was filled in by software, because the adapter could
    /// not.
    pub(crate) tx_csum_software: Counter,
    /// Number of times that the transmit queue was stopped for lack of room.
    pub(crate) tx_stopped: Counter,
    /// Number of times that the send queue had drained before a move, and interrupts had told of all that was
    /// sent.
    pub(crate) drained_by_interrupt: Counter,
    /// Number of times that it had drained, and no interrupt had told of some of what was sent.
    pub(crate) drained_by_poll: Counter,
    /// Number of mappings of pieces of frames, in a CMO partition.
    pub(crate) cmo_tx_mapped: Counter,
    /// Number of frames sent from bounce slots, because they could not be mapped.
    pub(crate) cmo_tx_bounced: Counter,
    /// Number of times that the transmit queue was stopped, because a frame could neither be mapped
    /// nor be copied to bounce slots.
    pub(crate) cmo_tx_stalled: Counter,
    /// Number of frames received.
    pub(crate) rx_packets: Counter,
    /// Number of bytes received, without CRC.
    pub(crate) rx_bytes: Counter,
    /// Number of good frames for which there was no memory.
    pub(crate) rx_dropped: Counter,
    /// Number of frames with a wrong CRC.
    pub(crate) rx_crc_errors: Counter,
    /// Number of frames with a wrong IP, TCP or UDP checksum. The stack gets them unverified.
    pub(crate) rx_checksum_errors: Counter,
    /// Number of frames of impossible length.
    pub(crate) rx_length_errors: Counter,
    /// Number of receive buffers whose memory was not in the memory map.
    pub(crate) rx_translation_misses: Counter,
    /// Number of frames copied out of their buffer, because there was no other buffer to post.
    pub(crate) rx_copied: Counter,
    /// Number of chunks of receive buffers that were mapped, in a CMO partition.
    pub(crate) cmo_rx_mapped: Counter,
    /// Number of times that chunks of receive buffers could not be mapped.
    pub(crate) cmo_rx_map_failed: Counter,
    /// Number of receive buffers that were not posted again, because there were more than the
    /// limit.
    pub(crate) cmo_rx_returned: Counter,
}

/// Counts of a port: resets, and those that the adapter keeps, as fetched last.
pub(super) struct PortCounters {
    /// Number of resets, including repetitions of those that failed.
    pub(super) resets: Counter,
    /// Number of malfunctions of the port. A reset was requested for each of these and of the
    /// following.
    pub(super) reset_malfunction: Counter,
    /// Number of errors of queue pairs.
    pub(super) reset_queue_pair: Counter,
    /// Number of completions after which nothing else could be relied on.
    pub(super) reset_completion: Counter,
    /// Number of transmit queues that did not move for too long.
    pub(super) reset_stuck: Counter,
    /// Number of failures to follow the memory map.
    pub(super) reset_memory: Counter,
    /// Number of multicast frames received.
    pub(super) multicast: Counter,
    /// Number of frames that found no receive buffer.
    pub(super) rx_missed: Counter,
    /// Number of bad frames.
    pub(super) rx_errors: Counter,
}

impl PortCounters {
    pub(super) const fn new() -> Self {
        Self {
            resets: Counter::new(),
            reset_malfunction: Counter::new(),
            reset_queue_pair: Counter::new(),
            reset_completion: Counter::new(),
            reset_stuck: Counter::new(),
            reset_memory: Counter::new(),
            multicast: Counter::new(),
            rx_missed: Counter::new(),
            rx_errors: Counter::new(),
        }
    }
}

/// Origin of a counter.
enum Source {
    /// Count of each queue pair of a port.
    Queues(fn(&QueueCounters) -> &Counter),
    /// Count of a port.
    Port(fn(&PortCounters) -> &Counter),
    /// Figure of the adapter, which is the same for all of its ports.
    Adapter(fn(&Adapter) -> u64),
    /// Figure of the adapter's memory map, which is the same for all of its ports.
    Map(fn(&MapState) -> u64),
}

/// Declares the table: name and origin of each counter.
macro_rules! table {
    ($($name:literal => $source:expr;)*) => {
        /// Names of the counters, as users see them. Names and their meanings are an interface: see
        /// Documentation/interfaces.rst.
        pub(super) const NAMES: &[&CStr] = &[$($name),*];
        const SOURCES: [Source; NAMES.len()] = [$($source),*];
    };
}

table! {
    c"port_resets" => Source::Port(|port| &port.resets);
    c"port_reset_malfunction" => Source::Port(|port| &port.reset_malfunction);
    c"port_reset_queue_pair" => Source::Port(|port| &port.reset_queue_pair);
    c"port_reset_completion" => Source::Port(|port| &port.reset_completion);
    c"port_reset_stuck" => Source::Port(|port| &port.reset_stuck);
    c"port_reset_memory" => Source::Port(|port| &port.reset_memory);
    c"tx_bounced" => Source::Queues(|queue| &queue.tx_bounced);
    c"tx_translation_misses" => Source::Queues(|queue| &queue.tx_translation_misses);
    c"tx_linearized" => Source::Queues(|queue| &queue.tx_linearized);
    c"tx_csum_software" => Source::Queues(|queue| &queue.tx_csum_software);
    c"tx_stopped" => Source::Queues(|queue| &queue.tx_stopped);
    c"drained_by_interrupt" => Source::Queues(|queue| &queue.drained_by_interrupt);
    c"drained_by_poll" => Source::Queues(|queue| &queue.drained_by_poll);
    c"rx_translation_misses" => Source::Queues(|queue| &queue.rx_translation_misses);
    c"rx_copied" => Source::Queues(|queue| &queue.rx_copied);
    c"rx_checksum_errors" => Source::Queues(|queue| &queue.rx_checksum_errors);
    c"cmo_tx_mapped" => Source::Queues(|queue| &queue.cmo_tx_mapped);
    c"cmo_tx_bounced" => Source::Queues(|queue| &queue.cmo_tx_bounced);
    c"cmo_tx_stalled" => Source::Queues(|queue| &queue.cmo_tx_stalled);
    c"cmo_rx_mapped" => Source::Queues(|queue| &queue.cmo_rx_mapped);
    c"cmo_rx_map_failed" => Source::Queues(|queue| &queue.cmo_rx_map_failed);
    c"cmo_rx_returned" => Source::Queues(|queue| &queue.cmo_rx_returned);
    c"mr_generation" => Source::Map(|map| map.generation);
    c"mr_sections" => Source::Map(|map| map.map.sections());
    c"mr_bytes" => Source::Map(|map| map.map.total_bytes());
    c"mr_page_size" => Source::Map(|map| map.page_size);
    c"mr_register_hcalls" => Source::Map(|map| map.register_calls);
    c"mr_alive" => Source::Map(|map| map.regions.into());
    c"mr_not_freed" => Source::Adapter(|adapter| adapter.firmware().not_freed());
    c"mr_walks" => Source::Map(|map| map.walks);
    c"mr_rebuilds_lazy" => Source::Adapter(|adapter| adapter.rebuilds.lazy.get());
    c"mr_rebuilds_immediate" => Source::Adapter(|adapter| adapter.rebuilds.immediate.get());
    c"mr_rebuilds_refused" => Source::Adapter(|adapter| adapter.rebuilds.refused.get());
    c"mr_rebuilds_failed" => Source::Adapter(|adapter| adapter.rebuilds.failed.get());
    c"mr_rebuilds_break_first" => Source::Adapter(|adapter| adapter.rebuilds.break_first.get());
    c"mr_blackout_hcalls" => Source::Map(|map| map.blackout.hcalls);
    c"mr_blackout_ns" => Source::Map(|map| map.blackout.ns);
    c"mr_blackout_hcalls_max" => Source::Map(|map| map.longest_blackout.hcalls);
    c"mr_blackout_ns_max" => Source::Map(|map| map.longest_blackout.ns);
    c"hcalls" => Source::Adapter(|adapter| adapter.firmware().calls());
}

/// Adds the counts of a port and its queue pairs to `values`, which are in the order of [`NAMES`].
pub(super) fn add_port<'a, I>(values: &mut [u64], port: &PortCounters, queues: impl Fn() -> I)
where
    I: Iterator<Item = &'a QueueCounters>,
{
    for (value, source) in values.iter_mut().zip(&SOURCES) {
        match source {
            Source::Queues(counter) => {
                for queue in queues() {
                    *value = value.wrapping_add(counter(queue).get());
                }
            }
            Source::Port(counter) => *value = value.wrapping_add(counter(port).get()),
            Source::Adapter(_) | Source::Map(_) => {}
        }
    }
}

/// Sets those of `values` that are figures of the adapter, where `map` is the state of its memory map.
pub(super) fn set_adapter(values: &mut [u64], adapter: &Adapter, map: &MapState) {
    for (value, source) in values.iter_mut().zip(&SOURCES) {
        match source {
            Source::Adapter(figure) => *value = figure(adapter),
            Source::Map(figure) => *value = figure(map),
            Source::Queues(_) | Source::Port(_) => {}
        }
    }
}
