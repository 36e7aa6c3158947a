// SPDX-License-Identifier: GPL-2.0

//! Receive buffers and receive completions (eHEA ABI §6.4, §6.5 and §7).

use super::{OutOfSlot, Producer, Slot, WorkQueue};
use crate::abi::cqe::{Completion, Cqe, CqeStatus, ReceiveQueue};
use crate::abi::ring::SlotSize;
use crate::abi::wqe::{Rwqe, WrId, WrType};

/// The longest frame that fits a slot of receive queue 1, in bytes.
pub const INLINE_MAX: usize = SlotSize::B256.bytes() - Cqe::INLINE_DATA;

/// Bytes of an Ethernet header; no frame is shorter.
const ETHERNET_HEADER: usize = 14;

/// The buffers of receive queue 2 or 3.
///
/// Buffers are identified by the slot of the work request that posted them.
#[derive(Clone, Debug)]
pub struct PostedBuffers {
    position: Producer,
    kind: WrType,
    buffer_len: u32,
    /// Buffers to be posted when all is well.
    capacity: usize,
    /// Buffers that are posted and not used up.
    posted: usize,
}

impl PostedBuffers {
    /// Receive queue 2, without buffers yet, whose buffers will have `buffer_len` bytes each.
    pub const fn rq2(queue: &WorkQueue, buffer_len: u32) -> Self {
        Self::new(queue, WrType::RQ2_BUFFER, buffer_len)
    }

    /// Receive queue 3, likewise.
    pub const fn rq3(queue: &WorkQueue, buffer_len: u32) -> Self {
        Self::new(queue, WrType::RQ3_BUFFER, buffer_len)
    }

    const fn new(queue: &WorkQueue, kind: WrType, buffer_len: u32) -> Self {
        Self {
            position: Producer::new(queue.slots()),
            kind,
            buffer_len,
            capacity: queue.receive_capacity(),
            posted: 0,
        }
    }

    /// How many buffers should be posted.
    #[inline]
    pub const fn missing(&self) -> usize {
        self.capacity.saturating_sub(self.posted)
    }

    /// How many buffers are posted.
    #[inline]
    pub const fn posted(&self) -> usize {
        self.posted
    }

    /// Bytes of each buffer.
    #[inline]
    pub const fn buffer_len(&self) -> u32 {
        self.buffer_len
    }

    /// The slot of the next buffer.
    #[inline]
    pub const fn next_slot(&self) -> usize {
        self.position.index()
    }

    /// Posts a buffer at the adapter address `address`: writes its work request into `slot`, which
    /// is slot [`PostedBuffers::next_slot`] of the ring. The caller announces it.
    ///
    /// # Errors
    ///
    /// [`OutOfSlot`] if the slot is too small; nothing is posted then.
    #[inline]
    pub fn post(&mut self, slot: &mut impl Slot, address: u64, lkey: u32) -> Result<(), OutOfSlot> {
        self.rewrite(slot, self.position.index(), address, lkey)?;
        self.position.advance();
        // Not more than there are slots.
        self.posted = self.posted.wrapping_add(1);
        Ok(())
    }

    /// Writes the work request of the buffer with that index into its slot, again, because the
    /// buffer's adapter address or key changed. The queue pair must be disabled.
    ///
    /// # Errors
    ///
    /// [`OutOfSlot`] if the slot is too small.
    #[inline]
    pub fn rewrite(
        &self,
        slot: &mut impl Slot,
        index: usize,
        address: u64,
        lkey: u32,
    ) -> Result<(), OutOfSlot> {
        let wr_id = WrId {
            kind: self.kind,
            // Not truncated: a ring has at most 2^15 slots.
            index: index as u32,
            ..WrId::default()
        };
        slot.write_words(0, Rwqe::words(wr_id, address, lkey, self.buffer_len))
    }

    /// Takes note that the adapter used a buffer up.
    #[inline]
    pub fn used(&mut self) {
        self.posted = self.posted.saturating_sub(1);
    }

    /// The index in a completion's identifier, if it can be one of this queue.
    #[inline]
    fn index_of(&self, completion: &Completion) -> Option<usize> {
        let wr_id = WrId::unpack(completion.wr_id());
        let index = wr_id.index as usize;
        (wr_id.kind == self.kind && index < self.position.slots()).then_some(index)
    }
}

/// Where the data of a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// In the slot of receive queue 1, at [`Cqe::INLINE_DATA`].
    Inline,
    /// In the buffer of receive queue 2 with that index. It is within the ring; whether there is a
    /// buffer the caller has to see.
    Rq2(usize),
    /// In the buffer of receive queue 3 with that index, likewise.
    Rq3(usize),
}

/// What the adapter says about a frame's checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RxChecksum {
    /// Nothing.
    None,
    /// The TCP or UDP checksum is right.
    Verified,
    /// The Internet checksum of everything behind the Ethernet header, as it stands in memory.
    Complete([u8; 2]),
}

/// A good frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivedFrame {
    /// Length in bytes, without CRC. Fits the buffer, and is at least an Ethernet header.
    pub len: usize,
    /// What is known about its checksum.
    pub checksum: RxChecksum,
    /// Tag control information of a VLAN tag that was stripped.
    pub vlan: Option<u16>,
}

/// Why a frame is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadFrame {
    /// Wrong CRC.
    Crc,
    /// Wrong checksum of an IPv4, TCP or UDP header.
    Checksum,
    /// Shorter than an Ethernet header, or longer than its buffer.
    Length,
}

/// A receive completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Where the data is. The buffer is used up, whatever is in it.
    pub location: Location,
    /// The frame.
    pub frame: Result<ReceivedFrame, BadFrame>,
}

/// A completion after which the queue pair can't be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveError {
    /// The completion names no receive queue, or a buffer that can't exist.
    Corrupt {
        /// The completion's identifier.
        wr_id: u64,
    },
    /// The adapter demands a reset of the queue pair.
    Fatal {
        /// The completion's status.
        status: CqeStatus,
    },
}

/// Checks a receive completion.
///
/// # Errors
///
/// See [`ReceiveError`].
#[inline]
pub fn parse_received(
    completion: &Completion,
    rq2: &PostedBuffers,
    rq3: &PostedBuffers,
) -> Result<Received, ReceiveError> {
    let status = completion.status();
    if status.any_of(CqeStatus::FATAL_ERROR_MASK) {
        return Err(ReceiveError::Fatal { status });
    }
    let found = match completion.receive_queue() {
        Some(ReceiveQueue::Rq1) => Some((Location::Inline, INLINE_MAX)),
        Some(ReceiveQueue::Rq2) => rq2
            .index_of(completion)
            .map(|index| (Location::Rq2(index), rq2.buffer_len as usize)),
        Some(ReceiveQueue::Rq3) => rq3
            .index_of(completion)
            .map(|index| (Location::Rq3(index), rq3.buffer_len as usize)),
        None => None,
    };
    let (location, room) = found.ok_or(ReceiveError::Corrupt {
        wr_id: completion.wr_id(),
    })?;
    Ok(Received {
        location,
        frame: check_frame(completion, status, room),
    })
}

#[inline]
fn check_frame(
    completion: &Completion,
    status: CqeStatus,
    room: usize,
) -> Result<ReceivedFrame, BadFrame> {
    // Without a TCP or UDP header there is no checksum that could be wrong.
    let has_header = completion.has_header();
    let tcp_error = status.any_of(CqeStatus::ERR_TCP);

    if status.any_of(CqeStatus::ERR_CRC) {
        return Err(BadFrame::Crc);
    }
    if status.any_of(CqeStatus::ERR_IP) || (tcp_error && has_header) {
        return Err(BadFrame::Checksum);
    }
    let len = completion
        .frame_length()
        .filter(|len| (ETHERNET_HEADER..=room).contains(len))
        .ok_or(BadFrame::Length)?;
    let checksum = if status.any_of(CqeStatus::BLIND_CKSUM) {
        RxChecksum::Complete(completion.inet_checksum())
    } else if has_header {
        RxChecksum::Verified
    } else {
        RxChecksum::None
    };
    let vlan = status
        .any_of(CqeStatus::VLAN_TAG_XTRACT)
        .then(|| completion.vlan_tag());
    Ok(ReceivedFrame {
        len,
        checksum,
        vlan,
    })
}
