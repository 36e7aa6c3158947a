// SPDX-License-Identifier: GPL-2.0

//! Send work queue entries (eHEA ABI §6.2).

use core::mem::size_of;

use super::SendTicket;
use crate::abi::wqe::{Descriptor, SwqeFormat, SwqeHead, SwqeHeader, TxControl};

/// Number of descriptors that fit a slot of 512 bytes beside immediate data.
pub const MAX_SEGMENTS: usize = SwqeFormat::Mixed.max_descriptors(512);

/// Attempt to write beyond the end of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfSlot;

/// A slot of a ring that the driver writes.
pub trait Slot {
    /// Writes `bytes` at `offset`.
    ///
    /// # Errors
    ///
    /// [`OutOfSlot`] if they do not fit. Nothing is written then.
    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), OutOfSlot>;

    /// Writes big-endian doublewords from `offset`, a multiple of 8.
    ///
    /// # Errors
    ///
    /// [`OutOfSlot`] if they do not fit. Nothing is written then.
    fn write_words<const N: usize>(
        &mut self,
        offset: usize,
        words: [u64; N],
    ) -> Result<(), OutOfSlot>;
}

/// A piece of a frame in memory.
#[allow(clippy::len_without_is_empty, reason = "nobody asks")]
pub trait Piece: Copy {
    /// Returns the real address of the first byte.
    fn address(&self) -> u64;

    /// Returns the length in bytes.
    fn len(&self) -> u32;

    /// Returns the piece without its first `bytes` bytes. It has at least as many.
    fn without(self, bytes: u32) -> Self;
}

/// A piece of a frame in memory, by its real address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Real address of the first byte.
    pub address: u64,
    /// Length in bytes.
    pub len: u32,
}

impl Piece for Segment {
    #[inline]
    fn address(&self) -> u64 {
        self.address
    }

    #[inline]
    fn len(&self) -> u32 {
        self.len
    }

    #[inline]
    fn without(self, bytes: u32) -> Self {
        Self {
            address: self.address.wrapping_add(bytes.into()),
            len: self.len.saturating_sub(bytes),
        }
    }
}

/// Checksums of a frame that the adapter fills in. Offsets count from the start of the frame,
/// without a VLAN tag that the adapter inserts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TxChecksum {
    /// The adapter fills in no checksum.
    #[default]
    None,
    /// The adapter fills in the checksums of an IPv4 header and of the TCP or UDP header behind it.
    Ipv4 {
        /// Offset of the IPv4 header.
        ip_start: u8,
        /// Offset of the last byte of the IPv4 header.
        ip_end: u8,
        /// Offset of the checksum field of the TCP or UDP header.
        tcp_offset: u8,
    },
}

impl TxChecksum {
    /// Returns the checksums of a TCP or UDP packet in IPv4. The IPv4 header starts at offset
    /// `network` of the frame, the TCP or UDP header at offset `transport`, and the checksum field
    /// at offset `field` of the TCP or UDP header.
    ///
    /// Returns `None` if the work request cannot describe them. Software then has to compute the
    /// checksums.
    pub fn ipv4(network: u32, transport: u32, field: u32) -> Option<Self> {
        Some(Self::Ipv4 {
            ip_start: u8::try_from(network).ok()?,
            ip_end: u8::try_from(transport.checked_sub(1)?)
                .ok()
                .filter(|&end| u32::from(end) >= network)?,
            tcp_offset: u8::try_from(transport.checked_add(field)?).ok()?,
        })
    }
}

/// TCP segmentation by the adapter, which repeats the headers in front of each piece of the
/// payload. The adapter has to fill in the checksums of the frame, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tso {
    /// Length of a segment's payload in bytes.
    mss: u16,
    /// Length of all headers in bytes.
    headers: u8,
}

impl Tso {
    /// Returns the segmentation of a frame of `len` bytes, of which the first `headers` are
    /// headers, into segments with `mss` bytes of payload.
    ///
    /// Returns `None` if the work request cannot describe it: the headers do not fit, or there is
    /// no payload.
    pub fn new(mss: u16, headers: u32, len: u32) -> Option<Self> {
        let fits = headers > 0 && headers as usize <= SwqeFormat::MIXED_IMMEDIATE_MAX;
        if !fits || mss == 0 || headers >= len {
            return None;
        }
        Some(Self {
            mss,
            headers: u8::try_from(headers).ok()?,
        })
    }

    /// Returns the number of segments of a frame of `len` bytes, and the number of bytes in them.
    fn on_the_wire(&self, len: u32) -> (u64, u64) {
        let (headers, mss) = (u32::from(self.headers), u32::from(self.mss));
        // Not 0: `new()` has checked that there is a payload.
        let segments = len.saturating_sub(headers).div_ceil(mss.max(1)).max(1);
        // The headers of at most 2^32 segments.
        let repeated = u64::from(segments.wrapping_sub(1)).wrapping_mul(headers.into());
        (segments.into(), u64::from(len).wrapping_add(repeated))
    }
}

/// Description of a frame for its work request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Length in bytes, without CRC.
    pub len: u32,
    /// Number of bytes at the start of the frame that are in its first segment.
    pub linear_len: u32,
    /// Checksum offload.
    pub checksum: TxChecksum,
    /// TCP segmentation.
    pub tso: Option<Tso>,
    /// Tag control information of a VLAN tag that the adapter inserts.
    pub vlan: Option<u16>,
}

impl Frame {
    /// Checks whether the whole frame is sent as immediate data.
    #[inline]
    pub const fn is_immediate(&self) -> bool {
        self.tso.is_none() && self.len as usize <= SwqeFormat::IMMEDIATE_MAX
    }

    /// Returns the number of frames on the wire, and the number of bytes in them, without CRC and
    /// inserted tags.
    #[inline]
    pub fn on_the_wire(&self) -> (u64, u64) {
        match &self.tso {
            None => (1, self.len.into()),
            Some(tso) => tso.on_the_wire(self.len),
        }
    }

    /// Returns the number of bytes at the start of the frame that are sent as immediate data: the
    /// whole frame, or as much of its linear part as fits, or exactly the headers if the adapter
    /// has to repeat them.
    #[inline]
    pub fn immediate_len(&self) -> usize {
        match self.tso {
            Some(tso) => tso.headers.into(),
            None if self.is_immediate() => self.len as usize,
            None => (self.linear_len.min(self.len) as usize).min(SwqeFormat::MIXED_IMMEDIATE_MAX),
        }
    }
}

/// Reason why a work request cannot be written. The contents of the slot are then undefined, and it
/// must not be announced to the adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwqeError {
    /// The frame has more segments than fit. It must be linearized or copied.
    TooManySegments,
    /// A segment has no adapter address. The frame must be copied, and a miss of this real address
    /// reported.
    NotMapped(u64),
    /// The lengths of the segments do not add up to the length of the frame.
    WrongLength,
    /// The slot is too small, or the immediate data could not be copied.
    OutOfSlot,
}

impl From<OutOfSlot> for SwqeError {
    fn from(_: OutOfSlot) -> Self {
        Self::OutOfSlot
    }
}

/// Writes the work request for a frame that is sent completely as immediate data
/// ([`Frame::is_immediate`]) into `slot`. `copy(slot, offset, len)` writes the first `len` bytes of
/// the frame into the slot at `offset`.
///
/// # Errors
///
/// [`OutOfSlot`] if the slot is too small or the frame could not be copied.
#[inline]
pub fn write_immediate<S: Slot>(
    slot: &mut S,
    ticket: &SendTicket,
    frame: &Frame,
    copy: impl FnOnce(&mut S, usize, usize) -> Result<(), OutOfSlot>,
) -> Result<(), OutOfSlot> {
    let format = SwqeFormat::Immediate;
    let len = (frame.len as usize).min(format.immediate_max());
    copy(slot, format.immediate_offset(), len)?;
    let head = head(format, ticket, frame, len, 0);
    slot.write_words(0, head.words())
}

/// Writes the work request for a frame that the adapter reads from memory into `slot`. As much of
/// the frame's linear part as fits becomes immediate data.
///
/// `segments` are the pieces of the whole frame in order, including what is sent as immediate data.
/// `translate` returns the adapter address of a piece. `copy(slot, offset, len)`
/// writes the first `len` bytes of the frame into the slot at `offset`. `lkey` names the memory
/// region of the adapter addresses.
///
/// # Errors
///
/// [`SwqeError`] if the work request cannot be written.
#[inline]
pub fn write_mixed<S: Slot, P: Piece>(
    slot: &mut S,
    ticket: &SendTicket,
    frame: &Frame,
    lkey: u32,
    segments: impl IntoIterator<Item = P>,
    mut translate: impl FnMut(&P) -> Option<u64>,
    copy: impl FnOnce(&mut S, usize, usize) -> Result<(), OutOfSlot>,
) -> Result<(), SwqeError> {
    let format = SwqeFormat::Mixed;
    let immediate = frame.immediate_len();

    let mut descriptors = 0u8;
    let mut offset = SwqeFormat::BODY;
    // Bytes at the start of the next segments that are immediate data.
    let mut skip = immediate as u32;
    let mut left = frame.len;
    for segment in segments {
        let len = segment.len();
        left = left.checked_sub(len).ok_or(SwqeError::WrongLength)?;
        let skipped = skip.min(len);
        skip = skip.wrapping_sub(skipped);
        if skipped == len {
            continue;
        }
        let piece = segment.without(skipped);
        let bus = translate(&piece).ok_or_else(|| SwqeError::NotMapped(piece.address()))?;
        slot.write_words(offset, Descriptor::words(bus, lkey, piece.len()))
            .map_err(|OutOfSlot| SwqeError::TooManySegments)?;
        // Not more descriptors than fit the slot.
        descriptors = descriptors.wrapping_add(1);
        // The second one and those behind it follow the immediate data.
        offset = offset
            .wrapping_add(size_of::<Descriptor>())
            .max(SwqeFormat::MIXED_DESCRIPTORS);
    }
    if left != 0 {
        return Err(SwqeError::WrongLength);
    }
    if immediate > 0 {
        copy(slot, format.immediate_offset(), immediate)?;
    }
    let head = head(format, ticket, frame, immediate, descriptors);
    slot.write_words(0, head.words())?;
    Ok(())
}

/// Returns the header of a work request with `immediate` bytes of immediate data and `descriptors`
/// descriptors.
#[inline]
fn head(
    format: SwqeFormat,
    ticket: &SendTicket,
    frame: &Frame,
    immediate: usize,
    descriptors: u8,
) -> SwqeHead {
    let mut head = SwqeHead {
        wr_id: ticket.wr_id,
        control: format
            .flags()
            .with(TxControl::CRC)
            .with_if(ticket.signalled, TxControl::SIGNALLED_COMPLETION)
            .with_if(frame.vlan.is_some(), TxControl::VLAN_INSERT),
        vlan_tag: frame.vlan.unwrap_or(0),
        // At most 224.
        immediate_data_length: immediate as u8,
        descriptors,
        ..SwqeHead::default()
    };
    if let TxChecksum::Ipv4 {
        ip_start,
        ip_end,
        tcp_offset,
    } = frame.checksum
    {
        head.ip_start = ip_start;
        head.ip_end = ip_end;
        head.tcp_offset = tcp_offset;
        head.control = head
            .control
            .with(TxControl::IP_CHECKSUM)
            .with(TxControl::TCP_CHECKSUM);
    }
    if let Some(tso) = frame.tso {
        head.mss = tso.mss;
        head.control = head.control.with(TxControl::TSO);
    }
    head
}

// `copy` may not reach beyond the slots that are in use.
const _: () = assert!(SwqeFormat::BODY == size_of::<SwqeHeader>());
