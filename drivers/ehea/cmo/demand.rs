// SPDX-License-Identifier: GPL-2.0

//! Calculation of the memory that is mapped for a port, in bytes. This is the only place that
//! computes it.

use crate::abi::ring::{QueueSize, SlotSize, CQES_PER_PAGE, QUEUE_PAGE_SIZE};

/// Entitlement that the bus guarantees each device, in bytes (`VIO_CMO_MIN_ENT`).
pub const MIN_ENTITLEMENT: u64 = 1_562_624;

/// Page size of the bus's translation tables, in bytes. Each mapping is charged with a multiple of
/// it.
pub const IOMMU_PAGE_SIZE: u64 = 4096;

/// Number of bytes that an adapter maps for itself: its notification event queue.
pub const DEVICE_BYTES: u64 = QUEUE_PAGE_SIZE as u64;

/// Size of a bounce slot in bytes. The longest frame fits one; a frame that the adapter segments
/// may take several.
pub const BOUNCE_SLOT_BYTES: u32 = 16 << 10;

/// Number of bytes at the start of a frame that are copied into its work request and not mapped.
const IMMEDIATE: u32 = 160;
/// Number of bytes of a frame beyond the MTU: Ethernet header and VLAN tag.
const HEADER: u32 = 18;
/// Length in bytes of the CRC, which the adapter writes to receive buffers.
const CRC: u32 = 4;

/// Returns the size of a queue with at least `entries` usable entries.
const fn size(entries: u32) -> QueueSize {
    match QueueSize::for_entries(entries) {
        Some(size) => size,
        None => QueueSize::MIN,
    }
}

/// Sizes of the queues of a queue pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rings {
    /// Size of the send queue.
    pub sq: QueueSize,
    /// Sizes of RQ1, RQ2 and RQ3.
    pub rq: [QueueSize; 3],
}

impl Rings {
    /// Slot size of the send queue. All formats of work requests fit such a slot.
    pub const SQ_SLOT: SlotSize = SlotSize::B512;
    /// Slot sizes of RQ1, RQ2 and RQ3.
    pub const RQ_SLOT: [SlotSize; 3] = [SlotSize::B256, SlotSize::B128, SlotSize::B128];

    /// Returns rings of at least `entries` usable entries. RQ3 always has 127.
    pub const fn of(entries: u32) -> Self {
        Self {
            sq: size(entries),
            rq: [size(entries), size(entries), size(127)],
        }
    }

    /// Returns the number of completions that the send queue can have at once. The value is twice
    /// the size of the queue, so that its completion queue cannot overflow.
    pub const fn send_completions(&self) -> u32 {
        self.sq.entries() * 2
    }

    /// Returns the number of completions that the receive queues can have at once.
    pub const fn receive_completions(&self) -> u32 {
        let [rq1, rq2, rq3] = self.rq;
        rq1.entries() + rq2.entries() + rq3.entries()
    }

    /// Returns the number of bytes of all queues of a queue pair, including its completion event
    /// queue.
    const fn queue_bytes(&self) -> u64 {
        let [rq1, rq2, rq3] = self.rq;
        let [slot1, slot2, slot3] = Self::RQ_SLOT;
        let pages = 1
            + self.send_completions().div_ceil(CQES_PER_PAGE)
            + self.receive_completions().div_ceil(CQES_PER_PAGE)
            + self.sq.pages(Self::SQ_SLOT)
            + rq1.pages(slot1)
            + rq2.pages(slot2)
            + rq3.pages(slot3);
        pages as u64 * QUEUE_PAGE_SIZE as u64
    }
}

/// Layout of the queues of a port while the port is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Number of queue pairs.
    pub queue_pairs: u16,
    /// Queue sizes of each queue pair.
    pub rings: Rings,
    /// Number of bounce slots of each queue pair, a power of two.
    pub bounce_slots: u32,
}

impl Plan {
    /// Rings of a port that has all it wants.
    pub const FULL_RINGS: Rings = Rings::of(1023);
    /// Number of bounce slots of a queue pair that has all it wants.
    pub const FULL_BOUNCE_SLOTS: u32 = 16;
    /// Minimum number of bounce slots: those that the longest frame to be segmented takes, rounded
    /// up to a power of two.
    pub const MIN_BOUNCE_SLOTS: u32 = 8;

    /// Smallest layout with which a port works.
    pub const SMALLEST: Self = Self::reduced(1, 127);

    /// Returns the layout of a port that has all it wants, with `queue_pairs` queue pairs.
    pub const fn full(queue_pairs: u16) -> Self {
        Self {
            queue_pairs,
            rings: Self::FULL_RINGS,
            bounce_slots: Self::FULL_BOUNCE_SLOTS,
        }
    }

    /// Returns a layout with rings of `entries` entries and the minimum of bounce slots.
    pub const fn reduced(queue_pairs: u16, entries: u32) -> Self {
        Self {
            queue_pairs,
            rings: Rings::of(entries),
            bounce_slots: Self::MIN_BOUNCE_SLOTS,
        }
    }

    /// Returns the number of bytes that are mapped as long as the port is open: its affiliated
    /// event queue, and the queues and bounce slots of each queue pair.
    pub const fn fixed_bytes(&self) -> u64 {
        let bounce = self.bounce_slots as u64 * BOUNCE_SLOT_BYTES as u64;
        QUEUE_PAGE_SIZE as u64 + self.queue_pairs as u64 * (self.rings.queue_bytes() + bounce)
    }
}

/// Sizes of the receive buffers of a ring. Buffers are mapped in chunks of whole pages, which may
/// hold several buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferKind {
    /// Number of bytes of a buffer that the adapter may use.
    pub len: u32,
    /// Distance in bytes from the start of a buffer to the start of the next.
    pub stride: u32,
}

impl BufferKind {
    /// Buffers of RQ2. A frame that fits one does not go to RQ3.
    pub const RQ2: Self = Self {
        len: 2048,
        stride: 2048,
    };
    /// Buffers of RQ3. The longest frame fits one, with VLAN tag and CRC.
    pub const RQ3: Self = Self {
        len: 9022,
        stride: 9024,
    };

    /// Returns the size of a chunk in bytes, given the kernel's page size.
    pub const fn chunk_bytes(&self, page_size: usize) -> usize {
        (self.stride as usize).next_multiple_of(page_size)
    }

    /// Returns the number of buffers in a chunk.
    pub const fn per_chunk(&self, page_size: usize) -> usize {
        self.chunk_bytes(page_size) / self.stride as usize
    }

    /// Returns the number of chunks for a ring of size `ring`: as many as fit, but at least one.
    /// Two slots of a ring stay empty.
    const fn chunks(&self, ring: QueueSize, page_size: usize) -> u32 {
        let chunks = (ring.slots() as usize - 2) / self.per_chunk(page_size);
        if chunks == 0 {
            1
        } else {
            // CAST: At most the number of slots of a ring.
            chunks as u32
        }
    }
}

/// Inputs of the calculation that are not planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// MTU in bytes.
    pub mtu: u32,
    /// Page size of the kernel in bytes.
    pub page_size: usize,
}

/// Upper limits of the flexible memory that a queue pair may have mapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Number of chunks of receive buffers in RQ2.
    pub rq2_chunks: u32,
    /// Number of chunks of receive buffers in RQ3.
    pub rq3_chunks: u32,
    /// Number of bytes charged for frames in flight. Frames beyond this limit go through bounce
    /// slots.
    pub send_bytes: u64,
}

/// Minimum number of RQ2 buffers with which a ring works. It is small enough that four ports can be
/// open with the minimum entitlement.
const FLOOR_RQ2_BUFFERS: usize = 16;
/// Minimum number of RQ3 buffers with which a ring works.
const FLOOR_RQ3_BUFFERS: usize = 2;

impl Limits {
    /// Checks whether frames can be too long for RQ2 if the MTU is `mtu`.
    pub const fn large_frames(mtu: u32) -> bool {
        mtu.saturating_add(HEADER + CRC) > BufferKind::RQ2.len
    }

    /// Returns the limits of a queue pair that may use all it can: receive buffers for all slots,
    /// and a send queue full of frames of the MTU's length.
    ///
    /// RQ3 has a few buffers even if no frame needs one. An adapter that receives a frame that is
    /// too long may wait for an RQ3 buffer, and all later frames wait with it.
    pub const fn full(rings: &Rings, config: &Configuration) -> Self {
        let [_, rq2, rq3] = rings.rq;
        let frame = config.mtu.saturating_add(HEADER).saturating_sub(IMMEDIATE);
        let charge = (frame as u64).next_multiple_of(IOMMU_PAGE_SIZE);
        let frames = rings.sq.slots() as u64 - 2;
        Self {
            rq2_chunks: BufferKind::RQ2.chunks(rq2, config.page_size),
            rq3_chunks: if Self::large_frames(config.mtu) {
                BufferKind::RQ3.chunks(rq3, config.page_size)
            } else {
                Self::floor(config).rq3_chunks
            },
            send_bytes: frames * if charge == 0 { IOMMU_PAGE_SIZE } else { charge },
        }
    }

    /// Returns the limits within which a queue pair always works: a few receive buffers, and only
    /// bounce slots for sending.
    pub const fn floor(config: &Configuration) -> Self {
        let page_size = config.page_size;
        Self {
            // CAST: Both numbers are small.
            rq2_chunks: FLOOR_RQ2_BUFFERS.div_ceil(BufferKind::RQ2.per_chunk(page_size)) as u32,
            rq3_chunks: FLOOR_RQ3_BUFFERS.div_ceil(BufferKind::RQ3.per_chunk(page_size)) as u32,
            send_bytes: 0,
        }
    }

    /// Returns the number of bytes that these limits add up to.
    pub const fn bytes(&self, config: &Configuration) -> u64 {
        let rq2 = BufferKind::RQ2.chunk_bytes(config.page_size) as u64;
        let rq3 = BufferKind::RQ3.chunk_bytes(config.page_size) as u64;
        self.rq2_chunks as u64 * rq2 + self.rq3_chunks as u64 * rq3 + self.send_bytes
    }
}

/// Returns the maximum number of bytes that an open port has mapped, if its queues are laid out as
/// in `plan`.
pub const fn port_bytes(plan: &Plan, config: &Configuration) -> u64 {
    let flexible = Limits::full(&plan.rings, config).bytes(config);
    plan.fixed_bytes() + plan.queue_pairs as u64 * flexible
}

/// Returns the number of bytes that an adapter wants to have mapped, and that the bus is told.
/// `ports` are the numbers of queue pairs and the configurations of its open ports.
pub fn device_bytes(ports: impl IntoIterator<Item = (u16, Configuration)>) -> u64 {
    ports
        .into_iter()
        .map(|(queue_pairs, config)| port_bytes(&Plan::full(queue_pairs), &config))
        .fold(DEVICE_BYTES, u64::saturating_add)
}
