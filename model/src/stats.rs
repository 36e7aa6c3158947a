// SPDX-License-Identifier: GPL-2.0

//! Statistics of the model.
//!
//! A test reads [`Stats`] through [`crate::Adapter::stats`], or as JSON through the `stats`
//! property of the QEMU device. Objects are counted as they are now. Everything else is counted
//! since the adapter was made; a reset of the machine does not clear it.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

/// A snapshot of the statistics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Numbers of objects that exist now.
    pub live: Live,
    /// Numbers of hypercalls by name, including refused ones.
    pub hcalls: BTreeMap<String, u64>,
    /// Numbers of hypercalls by name that the firmware of a rough adapter did not look at, because
    /// it was busy or had no room for a second memory region. They are not included in `hcalls`.
    pub moody_answers: BTreeMap<String, u64>,
    /// Numbers of refusals, by the name of the [`crate::Refusal`] or [`crate::Violation`].
    pub refusals: BTreeMap<String, u64>,
    /// Number of bytes of guest memory that are registered now, in memory regions and queues.
    pub pinned_bytes: u64,
    /// Number of accesses of queue pairs that were not made because translation failed.
    pub refused_accesses: u64,
    /// Number of accesses of the adapter, including those to event queues, that were not made
    /// because no TCE maps the memory. Counted in CMO partitions.
    pub cmo_refused: u64,
    /// Number of TCEs, of 4 KiB each, that map something for the adapter now. A page that is mapped
    /// twice counts twice, as it is charged twice. Counted in CMO partitions.
    pub tce_mapped_pages: u64,
    /// Number of TCEs that mapped something for the adapter so far. Counted in CMO partitions.
    pub tce_maps: u64,
    /// Number of register accesses that did nothing because of a wrong size, block, register or
    /// state.
    pub ignored_mmio: u64,
    /// Number of calls into the adapter while another one ran. They had no effect. Anything but 0
    /// is an error of the surrounding machine.
    pub reentries: u64,
    /// Number of interrupts raised.
    pub interrupts: u64,
    /// Number of completion events that were raised once more, because the driver left completions
    /// alone for 20 ms (`reraise-ms`) while its machine had nothing to do, or for a second. An interrupt was lost
    /// in these cases.
    pub reraised: u64,
    /// Number of frames in the largest turn of work, sent and received. Work requests without
    /// frames count.
    pub longest_work_frames: u64,
    /// Number of bytes that were copied in the largest turn of work: read for sending, cut into
    /// segments, and delivered.
    pub longest_work_bytes: u64,
    /// Number of times that registered memory left the machine, counted once for each object and
    /// range. A less careful adapter could have reached this memory from then on, until it was no
    /// longer registered.
    pub removed_while_registered: u64,
    /// Number of accesses and registrations that were refused because the memory had left the
    /// machine or the guest had given it back.
    pub removed_accesses: u64,
    /// Number of accesses of queue pairs that were under way when the guest freed the queue pair,
    /// queue or memory region that they were for. None of them was made.
    pub late_accesses: u64,
    /// The last [`Stats::PAUSES`] periods from disabling a queue pair to enabling it again, oldest
    /// first.
    pub pauses: Vec<PauseStats>,
    /// Statistics of the memory regions.
    pub mrs: Vec<MrStats>,
    /// Statistics of the queue pairs.
    pub qps: Vec<QpStats>,
    /// Statistics of the ports, by number.
    pub ports: Vec<PortStats>,
    /// Traffic to and from guest memory of all kinds.
    pub dma: DmaStats,
}

impl Stats {
    /// Maximum number of pauses that are remembered.
    pub const PAUSES: usize = 64;
    /// Maximum number of pieces of a memory region that are listed.
    pub const RUNS: usize = 4096;
}

/// A period in which a queue pair that was set up neither sent nor received, because it was
/// disabled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseStats {
    /// Number of the pause, counted from 1.
    pub number: u64,
    /// Number of the queue pair.
    pub qp: u32,
    /// Length in nanoseconds of virtual time.
    pub ns: u64,
}

/// Numbers of objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// Number of event queues other than notification event queues.
    pub eq: u64,
    /// Number of notification event queues.
    pub neq: u64,
    /// Number of completion queues.
    pub cq: u64,
    /// Number of queue pairs.
    pub qp: u64,
    /// Number of memory regions.
    pub mr: u64,
    /// Number of shared memory regions.
    pub smr: u64,
    /// Number of broadcast and multicast registrations.
    pub bcmc: u64,
}

impl Live {
    /// Returns the number of objects of all kinds.
    pub fn total(&self) -> u64 {
        [
            self.eq, self.neq, self.cq, self.qp, self.mr, self.smr, self.bcmc,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }
}

/// Statistics of a memory region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MrStats {
    /// Handle of the region.
    pub handle: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// Page size in bytes.
    pub page_bytes: u64,
    /// Number of pages registered.
    pub pages: u64,
    /// Number of H_REGISTER_HEA_RPAGES calls that succeeded.
    pub register_calls: u64,
    /// Contiguous pieces of guest memory in the order of the region, each as real address and
    /// bytes. Memory that left the machine is missing. At most [`Stats::RUNS`] pieces are listed.
    pub runs: Vec<(u64, u64)>,
    /// Number of all pieces.
    pub run_count: u64,
    /// Number of shared memory regions of this region.
    pub smrs: u64,
}

/// Statistics of a port. Frame bytes are counted without CRC and padding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortStats {
    /// Logical port number.
    pub port: u16,
    /// True if the guest has the port, and has not given it back.
    pub owned: bool,
    /// True if the external link is up.
    pub link: bool,
    /// Number of frames given to the driver.
    pub rx_frames: u64,
    /// Number of bytes of these frames, including VLAN tags.
    pub rx_bytes: u64,
    /// Number of frames lost because there was no queue pair, the FIFO was full or the frame was
    /// too long. Filtered frames are not lost.
    pub rx_dropped: u64,
    /// Number of bytes that wait in the receive FIFO now.
    pub rx_fifo_bytes: u64,
    /// Number of frames sent.
    pub tx_frames: u64,
    /// Number of bytes of these frames.
    pub tx_bytes: u64,
    /// Number of frames not sent because the link was down.
    pub tx_errors: u64,
    /// Number of executed work requests for which the adapter computed TCP or UDP checksums.
    pub tx_checksums: u64,
    /// Number of executed work requests that the adapter cut into segments.
    pub tx_segmented: u64,
    /// True if the backend takes no frames, so that queue pairs with announced work requests wait
    /// for it.
    pub tx_busy: bool,
    /// True if the FIFO is full, so that the sender at the other end waits for the driver.
    pub held_back: bool,
    /// Settings of the port, which outlive its driver.
    #[serde(default)]
    pub settings: PortSettings,
}

/// Settings of a port, which outlive its driver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortSettings {
    /// Address of the port.
    pub mac: [u8; 6],
    /// Code of the speed.
    pub speed: u32,
    /// State of pause.
    pub pause: u32,
    /// State of jumbo frames.
    pub jumbo: u32,
    /// Receive control register.
    pub receive_control: u64,
    /// Numbers of the queue pairs over which frames are spread, without those that are 0.
    pub default_qpns: Vec<u64>,
    /// Queue pair for frames to other stations.
    pub default_unicast: u64,
    /// VLANs in the filter.
    pub vlans: Vec<u16>,
}

/// Statistics of a queue pair: the driver's requests and the progress of the adapter.
///
/// They show why a queue pair makes no progress. Work may be not announced (a doorbell was lost),
/// announced but not executed (the backend is busy, or the queue pair is disabled), or executed but
/// not consumed (an interrupt was lost).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QpStats {
    /// Number of the queue pair.
    pub qp: u32,
    /// Logical port number.
    pub port: u16,
    /// Token that the driver gave to the queue pair.
    pub token: u32,
    /// State of the queue pair, regardless of whether it is enabled.
    pub state: String,
    /// True if the queue pair is enabled.
    pub enabled: bool,
    /// Number of send work requests that the driver has announced so far.
    pub sq_announced: u64,
    /// Number of send work requests that were executed so far.
    pub sq_executed: u64,
    /// Number of send completions that were written. Only some work requests ask for one.
    pub sq_completed: u64,
    /// Numbers of slots that receive queues 1, 2 and 3 have left.
    pub rq_credits: [u32; 3],
    /// Number of writes to memory that are under way.
    pub in_flight: u64,
    /// Send completion queue.
    pub send: CqStats,
    /// Receive completion queue.
    pub receive: CqStats,
    /// Number of frames given to the driver.
    pub rx_frames: u64,
    /// Number of frames lost because the queue pair was disabled or its buffer was too short.
    pub rx_dropped: u64,
}

/// Statistics of a completion queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CqStats {
    /// True if the next completion raises an event.
    pub armed: bool,
    /// True if an event was raised and not acknowledged.
    pub event_pending: bool,
    /// Number of completions that the driver has not given back yet.
    pub unconsumed: u32,
}

/// Traffic to and from guest memory in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DmaStats {
    /// Number of bytes read.
    pub read_bytes: u64,
    /// Number of bytes written.
    pub write_bytes: u64,
}

/// Counters of a port.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PortCounters {
    pub(crate) rx_frames: u64,
    pub(crate) rx_bytes: u64,
    pub(crate) rx_dropped: u64,
    pub(crate) tx_frames: u64,
    pub(crate) tx_bytes: u64,
    pub(crate) tx_errors: u64,
    pub(crate) tx_checksums: u64,
    pub(crate) tx_segmented: u64,
}

impl PortCounters {
    pub(crate) fn received(&mut self, bytes: usize) {
        self.rx_frames = self.rx_frames.saturating_add(1);
        self.rx_bytes = self.rx_bytes.saturating_add(bytes as u64);
    }

    pub(crate) fn sent(&mut self, bytes: usize) {
        self.tx_frames = self.tx_frames.saturating_add(1);
        self.tx_bytes = self.tx_bytes.saturating_add(bytes as u64);
    }

    /// Counts what the adapter did for a work request.
    pub(crate) fn offloaded(&mut self, checksum: bool, segmented: bool) {
        self.tx_checksums = self.tx_checksums.saturating_add(checksum.into());
        self.tx_segmented = self.tx_segmented.saturating_add(segmented.into());
    }
}

/// Counters of the adapter.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) hcalls: BTreeMap<&'static str, u64>,
    pub(crate) moody_answers: BTreeMap<&'static str, u64>,
    pub(crate) refusals: BTreeMap<&'static str, u64>,
    pub(crate) late_accesses: u64,
    pub(crate) refused_accesses: u64,
    pub(crate) cmo_refused: u64,
    pub(crate) ignored_mmio: u64,
    pub(crate) interrupts: u64,
    pub(crate) reraised: u64,
    pub(crate) longest_work_frames: u64,
    pub(crate) longest_work_bytes: u64,
    pub(crate) removed_while_registered: u64,
    pub(crate) removed_accesses: u64,
    pub(crate) pauses: VecDeque<PauseStats>,
    pub(crate) dma: DmaStats,
}

fn increment(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}

impl Counters {
    pub(crate) fn hcall(&mut self, name: &'static str) {
        increment(self.hcalls.entry(name).or_default());
    }

    pub(crate) fn moody_answer(&mut self, name: &'static str) {
        increment(self.moody_answers.entry(name).or_default());
    }

    pub(crate) fn late_access(&mut self) {
        increment(&mut self.late_accesses);
    }

    pub(crate) fn refused(&mut self, name: &'static str) {
        increment(self.refusals.entry(name).or_default());
    }

    pub(crate) fn refused_access(&mut self) {
        increment(&mut self.refused_accesses);
    }

    pub(crate) fn cmo_refused(&mut self) {
        increment(&mut self.cmo_refused);
    }

    pub(crate) fn ignored_mmio(&mut self) {
        increment(&mut self.ignored_mmio);
    }

    pub(crate) fn interrupt(&mut self) {
        increment(&mut self.interrupts);
    }

    /// Records the amount of a finished turn of work.
    pub(crate) fn worked(&mut self, frames: usize, bytes: usize) {
        self.longest_work_frames = self.longest_work_frames.max(frames as u64);
        self.longest_work_bytes = self.longest_work_bytes.max(bytes as u64);
    }

    pub(crate) fn reraised(&mut self) {
        increment(&mut self.reraised);
    }

    pub(crate) fn removed_while_registered(&mut self) {
        increment(&mut self.removed_while_registered);
    }

    pub(crate) fn removed_access(&mut self) {
        increment(&mut self.removed_accesses);
    }

    /// Records that queue pair `qp` was enabled again after `ns` nanoseconds.
    pub(crate) fn paused(&mut self, qp: u32, ns: u64) {
        let number = self.pauses.back().map_or(0, |last| last.number);
        let number = number.saturating_add(1);
        if self.pauses.len() == Stats::PAUSES {
            self.pauses.pop_front();
        }
        self.pauses.push_back(PauseStats { number, qp, ns });
    }

    pub(crate) fn dma_read(&mut self, bytes: usize) {
        self.dma.read_bytes = self.dma.read_bytes.saturating_add(bytes as u64);
    }

    pub(crate) fn dma_written(&mut self, bytes: usize) {
        self.dma.write_bytes = self.dma.write_bytes.saturating_add(bytes as u64);
    }
}
