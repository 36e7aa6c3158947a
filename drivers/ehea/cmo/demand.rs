// SPDX-License-Identifier: GPL-2.0

//! What is mapped for a port, in bytes. The one place where it is computed.

use crate::abi::ring::{QueueSize, SlotSize, CQES_PER_PAGE, QUEUE_PAGE_SIZE};

/// Bytes that the bus lets each device have in any case (`VIO_CMO_MIN_ENT`).
pub const MIN_ENTITLEMENT: u64 = 1_562_624;

/// Bytes of a page of the bus's translation tables: each mapping is charged with a multiple of it.
pub(super) const IOMMU_PAGE_SIZE: u64 = 4096;

/// Bytes that an adapter has mapped for itself: its notification event queue.
pub const DEVICE_BYTES: u64 = QUEUE_PAGE_SIZE as u64;

/// Bytes of a bounce slot: more than the longest frame has. What the adapter has to segment may take
/// several.
pub const BOUNCE_SLOT_BYTES: u32 = 16 << 10;

/// Bytes at the start of a frame that are in its work request, and not mapped.
const IMMEDIATE: u32 = 160;
/// Bytes of a frame beside the MTU: header and VLAN tag.
const HEADER: u32 = 18;
/// Bytes of a CRC, which is in receive buffers.
const CRC: u32 = 4;

/// The size of a queue with at least that many usable entries.
const fn size(entries: u32) -> QueueSize {
    match QueueSize::for_entries(entries) {
        Some(size) => size,
        None => QueueSize::MIN,
    }
}

/// Sizes of the queues of a queue pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rings {
    /// Send queue.
    pub sq: QueueSize,
    /// RQ1, RQ2 and RQ3.
    pub rq: [QueueSize; 3],
}

impl Rings {
    /// Sizes of the slots of the send queue: those that all formats of work requests fit.
    pub const SQ_SLOT: SlotSize = SlotSize::B512;
    /// Likewise of RQ1, RQ2 and RQ3.
    pub const RQ_SLOT: [SlotSize; 3] = [SlotSize::B256, SlotSize::B128, SlotSize::B128];

    /// Rings of at least that many entries, but for RQ3.
    pub const fn of(entries: u32) -> Self {
        Self {
            sq: size(entries),
            rq: [size(entries), size(entries), size(127)],
        }
    }

    /// Completions that there can be at once of the send queue. Twice its size, so that the queue
    /// can't overflow.
    pub const fn send_completions(&self) -> u32 {
        self.sq.entries() * 2
    }

    /// Completions that there can be at once of the receive queues.
    pub const fn receive_completions(&self) -> u32 {
        let [rq1, rq2, rq3] = self.rq;
        rq1.entries() + rq2.entries() + rq3.entries()
    }

    /// Bytes of all queues of a queue pair, with its completion event queue.
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

/// How the queues of a port are laid out while it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Queue pairs.
    pub queue_pairs: u16,
    /// Queues of each.
    pub rings: Rings,
    /// Bounce slots of each, a power of two.
    pub bounce_slots: u32,
}

impl Plan {
    /// The rings of a port that has all it wants.
    pub const FULL_RINGS: Rings = Rings::of(1023);
    /// Bounce slots of a queue pair that has all it wants.
    pub const FULL_BOUNCE_SLOTS: u32 = 16;
    /// The fewest: what the longest frame to be segmented takes, rounded up to a power of two.
    pub const MIN_BOUNCE_SLOTS: u32 = 8;

    /// The least that a port works with.
    pub const SMALLEST: Self = Self::reduced(1, 127);

    /// All that a port with that many queue pairs wants.
    pub const fn full(queue_pairs: u16) -> Self {
        Self {
            queue_pairs,
            rings: Self::FULL_RINGS,
            bounce_slots: Self::FULL_BOUNCE_SLOTS,
        }
    }

    /// With smaller rings.
    pub const fn reduced(queue_pairs: u16, entries: u32) -> Self {
        Self {
            queue_pairs,
            rings: Rings::of(entries),
            bounce_slots: Self::MIN_BOUNCE_SLOTS,
        }
    }

    /// Bytes that are mapped as long as the port is open: its affiliated event queue, and what each
    /// queue pair has.
    pub const fn fixed_bytes(&self) -> u64 {
        let bounce = self.bounce_slots as u64 * BOUNCE_SLOT_BYTES as u64;
        QUEUE_PAGE_SIZE as u64 + self.queue_pairs as u64 * (self.rings.queue_bytes() + bounce)
    }
}

/// The receive buffers of a ring. They are mapped in chunks of several, of whole pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferKind {
    /// Bytes of a buffer that the adapter may use.
    pub len: u32,
    /// Bytes from the start of a buffer to that of the next.
    pub stride: u32,
}

impl BufferKind {
    /// Of RQ2: frames up to this length don't go to RQ3.
    pub const RQ2: Self = Self {
        len: 2048,
        stride: 2048,
    };
    /// Of RQ3: the longest frame, with VLAN tag and CRC.
    pub const RQ3: Self = Self {
        len: 9022,
        stride: 9024,
    };

    /// Bytes of a chunk, where the kernel's pages have `page_size` bytes.
    pub const fn chunk_bytes(&self, page_size: usize) -> usize {
        (self.stride as usize).next_multiple_of(page_size)
    }

    /// Buffers of a chunk.
    pub const fn per_chunk(&self, page_size: usize) -> usize {
        self.chunk_bytes(page_size) / self.stride as usize
    }

    /// Chunks for a ring of that size, a slot or two of which stay empty: no more than fit, but at
    /// least one.
    const fn chunks(&self, ring: QueueSize, page_size: usize) -> u32 {
        let chunks = (ring.slots() as usize - 2) / self.per_chunk(page_size);
        if chunks == 0 {
            1
        } else {
            // CAST: At most the slots of a ring.
            chunks as u32
        }
    }
}

/// What the need depends on that isn't planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// The MTU, in bytes.
    pub mtu: u32,
    /// Bytes of the kernel's pages.
    pub page_size: usize,
}

/// The most that a queue pair may have mapped of what is flexible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Chunks of receive buffers in RQ2.
    pub rq2_chunks: u32,
    /// Chunks of receive buffers in RQ3.
    pub rq3_chunks: u32,
    /// Bytes charged for frames in flight. What doesn't fit goes through bounce slots.
    pub send_bytes: u64,
}

/// Buffers of RQ2, at least, that a ring turns with. So few that four ports can be open with the
/// minimum entitlement.
const FLOOR_RQ2_BUFFERS: usize = 16;
/// Likewise of RQ3.
const FLOOR_RQ3_BUFFERS: usize = 2;

impl Limits {
    /// Whether frames of that MTU can be too long for RQ2.
    pub const fn large_frames(mtu: u32) -> bool {
        mtu.saturating_add(HEADER + CRC) > BufferKind::RQ2.len
    }

    /// All that a queue pair with these rings can use: receive buffers for all slots, and a send
    /// queue full of frames of the MTU. If no frame is so long, RQ3 has a few buffers all the same: the
    /// adapter may wait for one when a frame comes that is too long, and with it all that follow.
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

    /// What a queue pair works with in any case: some buffers, and bounce slots alone for sending.
    pub const fn floor(config: &Configuration) -> Self {
        let page_size = config.page_size;
        Self {
            // CAST: Small numbers.
            rq2_chunks: FLOOR_RQ2_BUFFERS.div_ceil(BufferKind::RQ2.per_chunk(page_size)) as u32,
            rq3_chunks: FLOOR_RQ3_BUFFERS.div_ceil(BufferKind::RQ3.per_chunk(page_size)) as u32,
            send_bytes: 0,
        }
    }

    /// Their bytes.
    pub const fn bytes(&self, config: &Configuration) -> u64 {
        let rq2 = BufferKind::RQ2.chunk_bytes(config.page_size) as u64;
        let rq3 = BufferKind::RQ3.chunk_bytes(config.page_size) as u64;
        self.rq2_chunks as u64 * rq2 + self.rq3_chunks as u64 * rq3 + self.send_bytes
    }
}

/// The bytes that an open port has mapped at the most, when its queues are as `plan` says.
pub const fn port_bytes(plan: &Plan, config: &Configuration) -> u64 {
    let flexible = Limits::full(&plan.rings, config).bytes(config);
    plan.fixed_bytes() + plan.queue_pairs as u64 * flexible
}

/// The bytes that an adapter would like to have mapped, whose open ports have the numbers of queue
/// pairs and the configurations `ports`. This is what the bus is told.
pub fn device_bytes(ports: impl IntoIterator<Item = (u16, Configuration)>) -> u64 {
    ports
        .into_iter()
        .map(|(queue_pairs, config)| port_bytes(&Plan::full(queue_pairs), &config))
        .fold(DEVICE_BYTES, u64::saturating_add)
}
