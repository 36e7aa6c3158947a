// SPDX-License-Identifier: GPL-2.0

//! The memory of queues.

use super::{
    Abandon,
    Access,
    DmaBuffer,
    Reachable, //
};
use crate::kernel_ext::page::Window;
use kernel::prelude::*;

/// Bytes in a page of the adapter's queues, whatever the size of the kernel's pages.
pub const QUEUE_PAGE_SIZE: usize = 4096;

/// Bytes of a queue that are allocated as one piece, if there are that many: what the buddy
/// allocator gives without effort.
const PIECE_SIZE: usize = 64 << 10;

/// The memory of a queue: zeroed pages of [`QUEUE_PAGE_SIZE`], seen as entries of equal size.
///
/// Pages are contiguous as far as that is cheap, and mapped where accesses of the adapter are
/// charged; the adapter is told the address of each.
///
/// # Invariants
///
/// An entry has `1 << entry_shift` bytes, at least 8; each piece, except perhaps for the last one, has
/// `1 << piece_shift` of them, and all pieces together have `entries`.
pub struct QueueMemory {
    pieces: KVec<DmaBuffer>,
    entries: usize,
    entry_shift: u32,
    piece_shift: u32,
    pages: usize,
}

impl Abandon for QueueMemory {
    fn abandon(&mut self) {
        // INVARIANT: No pieces, no entries.
        self.entries = 0;
        self.pages = 0;
        for piece in core::mem::take(&mut self.pieces) {
            piece.abandon();
        }
    }
}

impl QueueMemory {
    /// Allocates `pages` pages for entries of `entry_size` bytes, which the adapter has `access` to.
    /// Process context.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `pages` is 0, or `entry_size` isn't a power of two from 8 to
    /// [`QUEUE_PAGE_SIZE`]; `ENOMEM`.
    pub fn new(access: &Access, pages: usize, entry_size: usize) -> Result<Self> {
        if !entry_size.is_power_of_two() || !(8..=QUEUE_PAGE_SIZE).contains(&entry_size) {
            return Err(EINVAL);
        }

        let len = pages.checked_mul(QUEUE_PAGE_SIZE).ok_or(EINVAL)?;
        if len == 0 {
            return Err(EINVAL);
        }
        let mut pieces = KVec::with_capacity(len.div_ceil(PIECE_SIZE), GFP_KERNEL)?;
        let mut left = len;
        while left > 0 {
            let len = left.min(PIECE_SIZE);
            pieces.push(DmaBuffer::new(access, len)?, GFP_KERNEL)?;
            left -= len;
        }
        let entry_shift = entry_size.trailing_zeros();
        // INVARIANT: The sizes of pieces and pages are powers of two, and not smaller than an entry.
        Ok(Self {
            pieces,
            entries: len >> entry_shift,
            entry_shift,
            piece_shift: PIECE_SIZE.trailing_zeros() - entry_shift,
            pages,
        })
    }

    /// Page `page`; `None` behind the last one.
    pub fn page(&self, page: usize) -> Option<Reachable> {
        let offset = page.checked_mul(QUEUE_PAGE_SIZE)?;
        let piece = self.pieces.get(offset / PIECE_SIZE)?;
        piece.reach(offset % PIECE_SIZE, QUEUE_PAGE_SIZE)
    }

    /// Returns all pages, in order.
    pub fn all_pages(&self) -> impl ExactSizeIterator<Item = Reachable> + '_ {
        // There are that many.
        (0..self.pages).map(|page| self.page(page).unwrap_or(Reachable::NOTHING))
    }

    /// Number of entries.
    #[inline]
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Entry `index`; `None` behind the last one.
    #[inline]
    pub fn entry(&self, index: usize) -> Option<Window<'_>> {
        if index >= self.entries {
            return None;
        }
        // Shifts by a variable are checked, and panic, unless they are told to wrap.
        let piece = self.pieces.get(index.wrapping_shr(self.piece_shift))?;
        let offset = index.wrapping_shl(self.entry_shift) % PIECE_SIZE;
        let len = 1usize.wrapping_shl(self.entry_shift);
        // SAFETY: The whole entry is inside of the piece, as `index` is not behind the last one; its size,
        // hence its offset, is a multiple of 8.
        Some(unsafe { piece.window().part_unchecked(offset, len) })
    }
}
