// SPDX-License-Identifier: GPL-2.0

//! Bounce slots: memory that the adapter may always use. A frame is copied to them if its own
//! memory is not in the memory map, or, in a CMO partition, cannot be mapped.

use crate::{
    cmo::BOUNCE_SLOT_BYTES as SLOT_BYTES,
    error::{
        Error,
        Result, //
    },
    kernel_ext::{
        dma::{
            Abandon,
            Access,
            DmaBuffer,
            Reachable, //
        },
        net::skbuff::SkBuff,
        page::Window, //
    },
    queue::Segment,
    shared::{
        AdapterAddress,
        Map, //
    }, //
};
use kernel::prelude::*;

/// Number of slots that are allocated as one piece.
const SLOTS_PER_PIECE: u32 = 4;
/// Number of bytes of a piece.
const PIECE_BYTES: usize = (SLOTS_PER_PIECE * SLOT_BYTES) as usize;

/// Bounce slots of a transmit queue.
///
/// Frames are completed in the order in which they were sent. Therefore slots are used in turn, and
/// two counters, of slots taken and slots given back, say which are free.
pub(crate) struct BouncePool {
    pieces: KVec<DmaBuffer>,
    /// Number of slots, a power of two.
    slots: u32,
}

impl Abandon for BouncePool {
    fn abandon(&mut self) {
        for piece in core::mem::take(&mut self.pieces) {
            piece.abandon();
        }
    }
}

impl BouncePool {
    /// Allocates `slots` slots, a power of two, which must be in `map`.
    pub(crate) fn new(access: &Access, slots: u32, map: &Map) -> Result<Self> {
        let count = (slots / SLOTS_PER_PIECE) as usize;
        let mut pieces = KVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            let piece = DmaBuffer::new(access, PIECE_BYTES)?;
            if !is_mapped(&piece, map) {
                return Err(Error::NotMapped(piece.real_address()));
            }
            pieces.push(piece, GFP_KERNEL)?;
        }
        Ok(Self { pieces, slots })
    }

    /// Checks whether all slots are in `map`.
    pub(crate) fn is_mapped(&self, map: &Map) -> bool {
        self.pieces.iter().all(|piece| is_mapped(piece, map))
    }

    /// Returns the number of slots.
    pub(crate) fn len(&self) -> u32 {
        self.slots
    }

    /// Returns the number of slots that a frame of `len` bytes takes, or `None` if it takes more
    /// than there are.
    pub(crate) fn slots(&self, len: u32) -> Option<u8> {
        let slots = len.div_ceil(SLOT_BYTES);
        u8::try_from(slots).ok().filter(|_| slots <= self.slots)
    }

    /// Returns the `len` bytes from real address `address`, if they are in the slots.
    pub(crate) fn reach(&self, address: u64, len: u64) -> Option<Reachable> {
        let len = usize::try_from(len).ok()?;
        self.pieces.iter().find_map(|piece| {
            let offset = address.checked_sub(piece.real_address())?;
            piece.reach(usize::try_from(offset).ok()?, len)
        })
    }

    /// Checks whether `slots` slots are free, if `taken` slots were taken and `returned` given back
    /// so far.
    pub(crate) fn has_free(&self, taken: u32, returned: u32, slots: u8) -> bool {
        let in_use = taken.wrapping_sub(returned);
        in_use.saturating_add(slots.into()) <= self.slots
    }

    /// Copies a frame of `len` bytes to slots, of which the first one has the number `taken`.
    /// Returns `None` if the frame cannot be read.
    pub(crate) fn copy(&self, taken: u32, skb: &SkBuff, len: u32) -> Option<()> {
        let mut offset = 0;
        for segment in self.layout(taken, len) {
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

    /// Returns the memory of a frame that was copied.
    pub(crate) fn segments(&self, taken: u32, len: u32) -> impl Iterator<Item = Segment> + '_ {
        self.layout(taken, len).filter_map(|part| {
            let piece = self.piece(part.slot)?;
            Some(Segment {
                address: piece.real_address() + Self::offset(part.slot) as u64,
                len: part.len,
            })
        })
    }

    /// Returns the slots of a frame of `len` bytes, and the part of the frame in each.
    fn layout(&self, taken: u32, len: u32) -> impl Iterator<Item = Part> {
        let slots = self.slots;
        (0..len.div_ceil(SLOT_BYTES)).map(move |n| Part {
            slot: taken.wrapping_add(n) & (slots - 1),
            len: (len - n * SLOT_BYTES).min(SLOT_BYTES),
        })
    }

    fn piece(&self, slot: u32) -> Option<&DmaBuffer> {
        self.pieces.get((slot / SLOTS_PER_PIECE) as usize)
    }

    /// Returns the offset of a slot in its piece.
    fn offset(slot: u32) -> usize {
        (slot % SLOTS_PER_PIECE * SLOT_BYTES) as usize
    }

    fn window(&self, slot: u32) -> Option<Window<'_>> {
        let window = self.piece(slot)?.window();
        window.part(Self::offset(slot), SLOT_BYTES as usize).ok()
    }
}

/// Part of a frame in one slot.
struct Part {
    slot: u32,
    len: u32,
}

fn is_mapped(piece: &DmaBuffer, map: &Map) -> bool {
    piece
        .reach(0, PIECE_BYTES)
        .is_some_and(|all| map.adapter_address(all).is_some())
}
