// SPDX-License-Identifier: GPL-2.0

//! Receive buffers and receive completions (eHEA ABI §6.4, §6.5 and §7).

use super::{OutOfSlot, Producer, Slot, WorkQueue};
use crate::abi::cqe::{Completion, Cqe, CqeStatus, ReceiveQueue};
use crate::abi::ring::SlotSize;
use crate::abi::wqe::{Rwqe, WrId, WrType};

/// Length of the longest frame that fits a slot of receive queue 1, in bytes.
pub const INLINE_MAX: usize = SlotSize::B256.bytes() - Cqe::INLINE_DATA;

/// Length of an Ethernet header in bytes; no frame is shorter.
const ETHERNET_HEADER: usize = 14;

/// Buffers of receive queue 2 or 3.
///
/// A buffer is identified by the slot of the work request that posted it.
#[derive(Clone, Debug)]
pub struct PostedBuffers {
    position: Producer,
    kind: WrType,
    buffer_len: u32,
    /// Number of buffers that should be posted.
    capacity: usize,
    /// Number of buffers that are posted and not used up.
    posted: usize,
    /// Number of buffers that were ever posted, modulo 2^32.
    posts: u32,
}

impl PostedBuffers {
    /// Returns receive queue 2 without buffers. Each of its buffers will have `buffer_len` bytes.
    pub const fn rq2(queue: &WorkQueue, buffer_len: u32) -> Self {
        Self::new(queue, WrType::RQ2_BUFFER, buffer_len)
    }

    /// Returns receive queue 3 without buffers. Each of its buffers will have `buffer_len` bytes.
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
            posts: 0,
        }
    }

    /// Returns the number of buffers that should still be posted.
    #[inline]
    pub const fn missing(&self) -> usize {
        self.capacity.saturating_sub(self.posted)
    }

    /// Returns the number of posted buffers.
    #[cfg(test)]
    pub const fn posted(&self) -> usize {
        self.posted
    }

    /// Returns the number of buffers that were ever posted, modulo 2^32.
    #[inline]
    pub const fn posts(&self) -> u32 {
        self.posts
    }

    /// Returns the size of each buffer in bytes.
    #[inline]
    pub const fn buffer_len(&self) -> u32 {
        self.buffer_len
    }

    /// Returns the slot of the next buffer.
    #[inline]
    pub const fn next_slot(&self) -> usize {
        self.position.index()
    }

    /// Posts a buffer at the adapter address `address` by writing its work request into `slot`,
    /// which is slot [`PostedBuffers::next_slot`] of the ring. The caller tells the adapter of it.
    ///
    /// # Errors
    ///
    /// [`OutOfSlot`] if the slot is too small. Nothing is posted then.
    // As a call it costs 18 instructions for each received frame (rs-rx-1500b).
    #[inline(always)]
    pub fn post(&mut self, slot: &mut impl Slot, address: u64, lkey: u32) -> Result<(), OutOfSlot> {
        self.rewrite(slot, self.position.index(), address, lkey)?;
        self.position.advance();
        // There are not more than there are slots.
        self.posted = self.posted.wrapping_add(1);
        self.posts = self.posts.wrapping_add(1);
        Ok(())
    }

    /// Writes the work request of the buffer with the index `index` into its slot again, because
    /// the buffer's adapter address or key changed. The queue pair must be disabled.
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

    /// Records that the adapter has used up a buffer.
    #[inline]
    pub fn used(&mut self) {
        self.posted = self.posted.saturating_sub(1);
    }

    /// Returns the index in a completion's identifier, or `None` if it cannot be an index of this
    /// queue.
    #[inline]
    fn index_of(&self, completion: &Completion) -> Option<usize> {
        let wr_id = WrId::unpack(completion.wr_id());
        let index = wr_id.index as usize;
        (wr_id.kind == self.kind && index < self.position.slots()).then_some(index)
    }
}

/// Location of a frame's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// The slot of receive queue 1, at [`Cqe::INLINE_DATA`].
    Inline,
    /// The buffer of receive queue 2 with this index. The index is within the ring; the caller has
    /// to check whether the slot has a buffer.
    Rq2(usize),
    /// The buffer of receive queue 3 with this index. The index is within the ring; the caller has
    /// to check whether the slot has a buffer.
    Rq3(usize),
}

/// Verdict of the adapter on a frame's checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RxChecksum {
    /// The adapter did not check.
    None,
    /// The TCP or UDP checksum is right.
    Verified,
    /// The checksum of an IPv4, TCP or UDP header is wrong. The stack checks once more: it counts such
    /// packets itself, and passes them to listeners.
    Wrong,
    /// The adapter gives the Internet checksum of everything behind the Ethernet header. In memory, it
    /// would be in network byte order.
    Complete(u16),
}

/// A frame that arrived whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivedFrame {
    /// Length in bytes, without CRC. The frame fits its buffer and is at least as long as an
    /// Ethernet header.
    pub len: usize,
    completion: Completion,
}

impl ReceivedFrame {
    /// Returns the verdict of the adapter on the frame's checksum.
    #[inline]
    pub const fn checksum(&self) -> RxChecksum {
        let status = self.completion.status();
        // Without a TCP or UDP header, there is no checksum that could be wrong.
        let has_header = self.completion.has_header();

        if status.any_of(CqeStatus::ERR_IP) || (has_header && status.any_of(CqeStatus::ERR_TCP)) {
            RxChecksum::Wrong
        } else if status.any_of(CqeStatus::BLIND_CKSUM) {
            RxChecksum::Complete(self.completion.inet_checksum())
        } else if has_header {
            RxChecksum::Verified
        } else {
            RxChecksum::None
        }
    }

    /// Returns the tag control information of a VLAN tag that was stripped.
    #[inline]
    pub const fn vlan(&self) -> Option<u16> {
        if self.completion.status().any_of(CqeStatus::VLAN_TAG_XTRACT) {
            Some(self.completion.vlan_tag())
        } else {
            None
        }
    }
}

/// Reason why a frame is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadFrame {
    /// The CRC is wrong.
    Crc,
    /// The frame is shorter than an Ethernet header or longer than its buffer.
    Length,
}

/// A receive completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Location of the data. The buffer is used up even if the frame is bad.
    pub location: Location,
    /// The frame, or the reason why it is bad.
    pub frame: Result<ReceivedFrame, BadFrame>,
}

/// A completion after which the queue pair cannot be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveError {
    /// The completion names no receive queue, or a buffer that cannot exist.
    Corrupt {
        /// Identifier in the completion.
        wr_id: u64,
    },
    /// The adapter demands a reset of the queue pair.
    Fatal {
        /// Status in the completion.
        status: CqeStatus,
    },
}

/// Checks a receive completion.
///
/// # Errors
///
/// [`ReceiveError`] if the queue pair cannot be used any more.
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
    if status.any_of(CqeStatus::ERR_CRC) {
        return Err(BadFrame::Crc);
    }
    let len = completion
        .frame_length()
        .filter(|len| (ETHERNET_HEADER..=room).contains(len))
        .ok_or(BadFrame::Length)?;
    Ok(ReceivedFrame {
        len,
        completion: *completion,
    })
}
