// SPDX-License-Identifier: GPL-2.0

//! What the model counts.
//!
//! [`Stats`] is what a test reads: through [`crate::Adapter::stats`], or as JSON through the
//! `stats` property of the QEMU device. Objects are counted as they are now, everything else since
//! the adapter was made; a reset of the machine does not clear it.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

/// A snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Objects that exist now.
    pub live: Live,
    /// Hypercalls by name, refused ones included.
    pub hcalls: BTreeMap<String, u64>,
    /// Hypercalls by name that the firmware of a rough adapter didn't look at: it was busy, or had no room for
    /// a second memory region. They are not among `hcalls`.
    pub moody_answers: BTreeMap<String, u64>,
    /// What was refused, by the name of the [`crate::Refusal`] or [`crate::Violation`].
    pub refusals: BTreeMap<String, u64>,
    /// Bytes of guest memory that are registered now, in memory regions and queues.
    pub pinned_bytes: u64,
    /// Accesses of queue pairs that were not made because translation failed.
    pub refused_accesses: u64,
    /// In a CMO partition: accesses of the adapter that were not made because no TCE maps the memory,
    /// those to event queues included.
    pub cmo_refused: u64,
    /// In a CMO partition: TCEs that map something for the adapter now, 4 KiB each. A page that is
    /// mapped twice counts twice, as it is charged twice.
    pub tce_mapped_pages: u64,
    /// In a CMO partition: TCEs that mapped something for the adapter so far.
    pub tce_maps: u64,
    /// Register accesses that did nothing: wrong size, no such block or register, wrong state.
    pub ignored_mmio: u64,
    /// Calls into the adapter while another one ran, which had no effect: 0, or the machine around it
    /// is at fault.
    pub reentries: u64,
    /// Interrupts raised.
    pub interrupts: u64,
    /// Completion events raised once more because the driver left completions alone for 20 ms while its
    /// machine had nothing to do, or for a second: an interrupt was lost.
    pub reraised: u64,
    /// Frames of the largest turn of work, sent and received, work requests without frames among them.
    pub longest_work_frames: u64,
    /// Bytes that were copied in the largest turn of work: read for sending, cut into segments, and
    /// delivered.
    pub longest_work_bytes: u64,
    /// How often registered memory left the machine, once for each object and range: from then on
    /// until it was registered no more, an adapter that isn't as careful could have reached it.
    pub removed_while_registered: u64,
    /// Accesses and registrations that were refused because the memory had left the machine, or the
    /// guest had given it back.
    pub removed_accesses: u64,
    /// Accesses of queue pairs that were under way when the guest freed the queue pair, the queue or the
    /// memory region that they were for. None was made.
    pub late_accesses: u64,
    /// The last [`Stats::PAUSES`] times that a queue pair was disabled and enabled again, oldest first.
    pub pauses: Vec<PauseStats>,
    /// The memory regions.
    pub mrs: Vec<MrStats>,
    /// The queue pairs.
    pub qps: Vec<QpStats>,
    /// The ports, by number.
    pub ports: Vec<PortStats>,
    /// Guest memory traffic of all kinds.
    pub dma: DmaStats,
}

impl Stats {
    /// So many pauses are remembered.
    pub const PAUSES: usize = 64;
    /// So many pieces of a memory region are listed.
    pub const RUNS: usize = 4096;
}

/// A time in which a queue pair that was set up neither sent nor received, because it was disabled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseStats {
    /// Its number, counted from 1.
    pub number: u64,
    /// Number of the queue pair.
    pub qp: u32,
    /// Length in nanoseconds of the machine's clock.
    pub ns: u64,
}

/// Numbers of objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// Event queues, notification ones not counted.
    pub eq: u64,
    /// Notification event queues.
    pub neq: u64,
    /// Completion queues.
    pub cq: u64,
    /// Queue pairs.
    pub qp: u64,
    /// Memory regions.
    pub mr: u64,
    /// Shared memory regions.
    pub smr: u64,
    /// Broadcast and multicast registrations.
    pub bcmc: u64,
}

impl Live {
    /// Objects of all kinds.
    pub fn total(&self) -> u64 {
        [
            self.eq, self.neq, self.cq, self.qp, self.mr, self.smr, self.bcmc,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }
}

/// A memory region.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MrStats {
    /// Its handle.
    pub handle: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// Bytes of a page.
    pub page_bytes: u64,
    /// Pages registered.
    pub pages: u64,
    /// H_REGISTER_HEA_RPAGES calls that succeeded.
    pub register_calls: u64,
    /// Contiguous guest memory in the order of the region: real address and bytes. Memory that left
    /// the machine is missing. The first [`Stats::RUNS`] of them.
    pub runs: Vec<(u64, u64)>,
    /// All of them.
    pub run_count: u64,
    /// Shared memory regions of it.
    pub smrs: u64,
}

/// A port. Frame bytes are counted without CRC and padding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortStats {
    /// Logical port number.
    pub port: u16,
    /// The external link is up.
    pub link: bool,
    /// Frames given to the driver.
    pub rx_frames: u64,
    /// Bytes of these, VLAN tags included.
    pub rx_bytes: u64,
    /// Frames lost: no queue pair, FIFO full, too long. Filtered frames are not lost.
    pub rx_dropped: u64,
    /// Bytes that wait in the receive FIFO now.
    pub rx_fifo_bytes: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Bytes of these.
    pub tx_bytes: u64,
    /// Frames not sent because the link was down.
    pub tx_errors: u64,
    /// Work requests carried out for which the adapter computed TCP or UDP checksums.
    pub tx_checksums: u64,
    /// Work requests carried out that the adapter cut into segments.
    pub tx_segmented: u64,
    /// The backend takes no frames: queue pairs with announced work requests wait for it.
    pub tx_busy: bool,
    /// The FIFO is full: the sender at the other end waits for the driver.
    pub held_back: bool,
}

/// A queue pair: what the driver asked of it, and how far it is. If nothing goes on, this tells where: work
/// that is not announced (a doorbell was lost), announced but not executed (the backend is busy, or the queue
/// pair disabled), or executed but unconsumed (an interrupt was lost).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QpStats {
    /// Its number.
    pub qp: u32,
    /// Logical port number.
    pub port: u16,
    /// What the driver calls it.
    pub token: u32,
    /// Its state, without regard to whether it is enabled.
    pub state: String,
    /// It is enabled.
    pub enabled: bool,
    /// Send work requests that the driver has announced so far.
    pub sq_announced: u64,
    /// Those that were carried out.
    pub sq_executed: u64,
    /// Send completions that were written; only some work requests ask for one.
    pub sq_completed: u64,
    /// Slots that receive queues 1, 2 and 3 have left.
    pub rq_credits: [u32; 3],
    /// Writes to memory that are under way.
    pub in_flight: u64,
    /// Its send completion queue.
    pub send: CqStats,
    /// Its receive completion queue.
    pub receive: CqStats,
    /// Frames given to the driver.
    pub rx_frames: u64,
    /// Frames lost: it was disabled, or its buffer too short.
    pub rx_dropped: u64,
}

/// A completion queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CqStats {
    /// The next completion raises an event.
    pub armed: bool,
    /// An event was raised and not acknowledged.
    pub event_pending: bool,
    /// Completions that the driver did not give back yet.
    pub unconsumed: u32,
}

/// Guest memory traffic in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DmaStats {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
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

    /// A turn of work was done.
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

    /// Queue pair `qp` was enabled again after so many nanoseconds.
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
