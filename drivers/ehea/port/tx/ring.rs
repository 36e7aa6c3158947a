// SPDX-License-Identifier: GPL-2.0

//! What both sides of a send queue share.

use crate::{
    error::Result,
    kernel_ext::net::skbuff::SkbSlot,
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

/// What is known of the frame in a slot of the send queue, if the adapter reads it. Written before
/// the frame is posted, read after it was completed.
pub(crate) struct SendSlot {
    /// The buffer, if the adapter reads from it.
    pub(crate) skb: SkbSlot,
    /// Bytes posted that the adapter reads, until now, with this frame.
    pub(crate) bytes: AtomicU64,
    /// What the frame has besides: see [`Extra`].
    pub(crate) extra: AtomicU8,
}

/// What a frame has besides its buffer: nothing, as a rule.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extra(u8);

impl Extra {
    /// Nothing.
    pub(crate) const NONE: Self = Self(0);

    /// Set if the rest is a number of mappings, else it is one of bounce slots.
    const MAPPINGS: u8 = 1 << 7;

    /// That many bounce slots, instead of the buffer.
    pub(crate) const fn bounces(slots: u8) -> Self {
        Self(slots & !Self::MAPPINGS)
    }

    /// That many mappings, of the buffer.
    pub(crate) const fn mappings(count: u8) -> Self {
        Self(count | Self::MAPPINGS)
    }

    /// Whether there is something.
    #[inline]
    pub(crate) const fn is_some(self) -> bool {
        self.0 != 0
    }

    /// Bounce slots, if the frame is in some.
    pub(crate) const fn bounce_slots(self) -> Option<u8> {
        if self.0 != 0 && self.0 & Self::MAPPINGS == 0 {
            Some(self.0)
        } else {
            None
        }
    }

    /// How many mappings the frame has.
    pub(crate) const fn mapping_count(self) -> u8 {
        if self.0 & Self::MAPPINGS != 0 {
            self.0 & !Self::MAPPINGS
        } else {
            0
        }
    }

    /// From a slot.
    #[inline]
    pub(crate) const fn unpack(packed: u8) -> Self {
        Self(packed)
    }

    /// As it is kept in a slot.
    #[inline]
    pub(crate) const fn pack(self) -> u8 {
        self.0
    }
}

/// What both sides of a send queue share.
pub(crate) struct SendRing {
    pub(crate) slots: KVec<SendSlot>,
    pub(crate) progress: SendProgress,
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
