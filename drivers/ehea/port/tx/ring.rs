// SPDX-License-Identifier: GPL-2.0

//! Part of a send queue that both of its sides share.

use crate::{
    error::Result,
    kernel_ext::{
        dma::Abandon,
        net::skbuff::SkbSlot, //
    },
    queue::{
        SendProgress,
        WorkQueue, //
    }, //
};
use core::sync::atomic::{
    AtomicU64,
    AtomicU8, //
};
use kernel::prelude::*;

/// Record of the frame in a slot of the send queue, if the adapter reads it. It is written before
/// the frame is posted, and read after the frame was completed.
pub(crate) struct SendSlot {
    /// Buffer of the frame, if the adapter reads from it.
    pub(crate) skb: SkbSlot,
    /// Number of bytes that were posted for the adapter to read, up to this frame.
    pub(crate) bytes: AtomicU64,
    /// Bounce slots or mappings of the frame: see [`Extra`].
    pub(crate) extra: AtomicU8,
}

/// Bounce slots or mappings of a frame. Most frames have none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extra(u8);

impl Extra {
    /// Nothing.
    pub(crate) const NONE: Self = Self(0);

    /// Bit that is set if the other bits are a number of mappings, and clear if they are a number
    /// of bounce slots.
    const MAPPINGS: u8 = 1 << 7;

    /// Returns the value for `slots` bounce slots, to which the frame was copied.
    pub(crate) const fn bounces(slots: u8) -> Self {
        Self(slots & !Self::MAPPINGS)
    }

    /// Returns the value for `count` mappings of the buffer.
    pub(crate) const fn mappings(count: u8) -> Self {
        Self(count | Self::MAPPINGS)
    }

    /// Checks whether there are bounce slots or mappings.
    #[inline]
    pub(crate) const fn is_some(self) -> bool {
        self.0 != 0
    }

    /// Returns the number of bounce slots, if the frame is in bounce slots.
    pub(crate) const fn bounce_slots(self) -> Option<u8> {
        if self.0 != 0 && self.0 & Self::MAPPINGS == 0 {
            Some(self.0)
        } else {
            None
        }
    }

    /// Returns the number of mappings.
    pub(crate) const fn mapping_count(self) -> u8 {
        if self.0 & Self::MAPPINGS != 0 {
            self.0 & !Self::MAPPINGS
        } else {
            0
        }
    }

    /// Unpacks the value in a slot.
    #[inline]
    pub(crate) const fn unpack(packed: u8) -> Self {
        Self(packed)
    }

    /// Packs the value for a slot.
    #[inline]
    pub(crate) const fn pack(self) -> u8 {
        self.0
    }
}

/// Part of a send queue that both of its sides share.
pub(crate) struct SendRing {
    pub(crate) slots: KVec<SendSlot>,
    pub(crate) progress: SendProgress,
}

impl Abandon for SendRing {
    fn abandon(&mut self) {
        for slot in &self.slots {
            core::mem::forget(slot.skb.take());
        }
    }
}

impl SendRing {
    pub(crate) fn new(queue: &WorkQueue) -> Result<Self> {
        let mut slots = KVec::with_capacity(queue.slots(), GFP_KERNEL)?;
        for _ in 0..queue.slots() {
            let slot = SendSlot {
                skb: SkbSlot::new(),
                bytes: AtomicU64::new(0),
                extra: AtomicU8::new(0),
            };
            slots.push(slot, GFP_KERNEL)?;
        }
        Ok(Self {
            slots,
            progress: SendProgress::new(queue),
        })
    }
}
