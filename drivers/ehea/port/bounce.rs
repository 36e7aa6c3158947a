// SPDX-License-Identifier: GPL-2.0

//! Bounce slots: mapped memory from which a frame is sent whose own memory is not mapped.

use crate::{
    adapter::Map,
    firmware::{
        Error,
        Result, //
    },
    kernel_ext::{
        net::skbuff::SkBuff,
        page::{
            ContiguousBuffer,
            Window, //
        }, //
    },
    queue::Segment, //
};
use kernel::prelude::*;

/// Slots of a transmit queue.
const SLOTS: u32 = 16;
/// Bytes of a slot: more than the longest frame has. What the adapter has to segment may take
/// several.
const SLOT_BYTES: u32 = 16 << 10;
/// Slots that are allocated as one piece.
const SLOTS_PER_PIECE: u32 = 4;
/// Bytes of a piece.
const PIECE_BYTES: usize = (SLOTS_PER_PIECE * SLOT_BYTES) as usize;

/// The bounce slots of a transmit queue.
///
/// Frames are completed in the order in which they were sent. Therefore slots are used in turn, and
/// two counters, of slots taken and slots given back, say which are free.
pub(super) struct BouncePool {
    pieces: KVec<ContiguousBuffer>,
}

impl BouncePool {
    /// Allocates slots, which must be in `map`.
    pub(super) fn new(map: &Map) -> Result<Self> {
        let count = (SLOTS / SLOTS_PER_PIECE) as usize;
        let mut pieces = KVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            let piece = ContiguousBuffer::new(PIECE_BYTES)?;
            if !is_mapped(&piece, map) {
                return Err(Error::NotMapped(piece.real_address()));
            }
            pieces.push(piece, GFP_KERNEL)?;
        }
        Ok(Self { pieces })
    }

    /// Whether all slots are in `map`.
    pub(super) fn is_mapped(&self, map: &Map) -> bool {
        self.pieces.iter().all(|piece| is_mapped(piece, map))
    }

    /// How many slots a frame of `len` bytes takes; none if it takes more than there are.
    pub(super) fn slots(len: u32) -> Option<u8> {
        let slots = len.div_ceil(SLOT_BYTES);
        u8::try_from(slots).ok().filter(|_| slots <= SLOTS)
    }

    /// Whether that many slots are free, given how many were taken and given back so far.
    pub(super) fn has_free(taken: u32, returned: u32, slots: u8) -> bool {
        let in_use = taken.wrapping_sub(returned);
        in_use.saturating_add(slots.into()) <= SLOTS
    }

    /// Copies a frame of `len` bytes to slots, the first of which is taken as number `taken`. None
    /// if it can't be read.
    pub(super) fn copy(&self, taken: u32, skb: &SkBuff, len: u32) -> Option<()> {
        let mut offset = 0;
        for segment in Self::layout(taken, len) {
            let window = self.window(segment.slot)?;
            let mut chunk = [0; 512];
            let mut done = 0;
            while done < segment.len {
                let part = chunk.len().min((segment.len - done) as usize);
                let bytes = chunk.get_mut(..part)?;
                skb.copy_bits(offset, bytes).ok()?;
                window.write_bytes(done as usize, bytes).ok()?;
                // CAST: At most 512.
                done += part as u32;
                offset += part as u32;
            }
        }
        Some(())
    }

    /// Where a frame is that was copied.
    pub(super) fn segments(&self, taken: u32, len: u32) -> impl Iterator<Item = Segment> + '_ {
        Self::layout(taken, len).filter_map(|part| {
            let piece = self.piece(part.slot)?;
            Some(Segment {
                address: piece.real_address() + Self::offset(part.slot) as u64,
                len: part.len,
            })
        })
    }

    /// The slots of a frame of `len` bytes, and what is in each.
    fn layout(taken: u32, len: u32) -> impl Iterator<Item = Part> {
        (0..len.div_ceil(SLOT_BYTES)).map(move |n| Part {
            slot: taken.wrapping_add(n) % SLOTS,
            len: (len - n * SLOT_BYTES).min(SLOT_BYTES),
        })
    }

    fn piece(&self, slot: u32) -> Option<&ContiguousBuffer> {
        self.pieces.get((slot / SLOTS_PER_PIECE) as usize)
    }

    /// Where a slot starts in its piece.
    fn offset(slot: u32) -> usize {
        (slot % SLOTS_PER_PIECE * SLOT_BYTES) as usize
    }

    fn window(&self, slot: u32) -> Option<Window<'_>> {
        let window = self.piece(slot)?.window();
        window.part(Self::offset(slot), SLOT_BYTES as usize).ok()
    }
}

/// What is in one slot.
struct Part {
    slot: u32,
    len: u32,
}

fn is_mapped(piece: &ContiguousBuffer, map: &Map) -> bool {
    map.translate(piece.real_address(), PIECE_BYTES as u64)
        .is_some()
}
