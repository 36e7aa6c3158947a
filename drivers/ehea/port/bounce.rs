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
        page::ContiguousBuffer, //
    },
    queue::Segment, //
};
use kernel::prelude::*;

/// Slots of a transmit queue.
const SLOTS: u32 = 16;
/// Bytes of a slot: more than the longest frame has.
const SLOT_BYTES: usize = 16 << 10;
/// Slots that are allocated as one piece.
const SLOTS_PER_PIECE: usize = 4;

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
        let count = SLOTS as usize / SLOTS_PER_PIECE;
        let mut pieces = KVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            let piece = ContiguousBuffer::new(SLOTS_PER_PIECE * SLOT_BYTES)?;
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

    /// Whether a slot is free, given how many were taken and given back so far.
    pub(super) fn has_free(taken: u32, returned: u32) -> bool {
        taken.wrapping_sub(returned) < SLOTS
    }

    /// Copies a frame of `len` bytes to the slot that is taken as number `taken`, and returns where
    /// that is. None if it doesn't fit or can't be read.
    pub(super) fn copy(&self, taken: u32, skb: &SkBuff, len: u32) -> Option<Segment> {
        let slot = (taken % SLOTS) as usize;
        let piece = self.pieces.get(slot / SLOTS_PER_PIECE)?;
        let base = slot % SLOTS_PER_PIECE * SLOT_BYTES;
        let window = piece.window().part(base, SLOT_BYTES).ok()?;

        let mut chunk = [0; 512];
        let mut offset = 0;
        while offset < len {
            let rest = (len - offset) as usize;
            let part = chunk.len().min(rest);
            let bytes = chunk.get_mut(..part)?;
            skb.copy_bits(offset, bytes).ok()?;
            window.write_bytes(offset as usize, bytes).ok()?;
            offset += part as u32;
        }
        Some(Segment {
            address: piece.real_address() + base as u64,
            len,
        })
    }
}

fn is_mapped(piece: &ContiguousBuffer, map: &Map) -> bool {
    let len = (SLOTS_PER_PIECE * SLOT_BYTES) as u64;
    map.translate(piece.real_address(), len).is_some()
}
