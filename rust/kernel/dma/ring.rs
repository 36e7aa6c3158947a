// SPDX-License-Identifier: GPL-2.0

//! The mappings of frames in flight.
//!
//! Frames are completed in the order in which they were posted, hence their mappings form a ring:
//! who posts puts mappings in, who completes takes them out, without a lock.

use super::{
    charge,
    Direction,
    Mapper,
    Reachable, //
};
use crate::kernel_ext::page::RealMemory;
use core::sync::atomic::{
    AtomicU32,
    AtomicU64,
    Ordering, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// A mapping in a ring; `len` is 0 if there is none.
struct Slot {
    handle: AtomicU64,
    len: AtomicU32,
}

/// A ring of mappings for reading by the device.
///
/// # Invariants
///
/// Slots from `tail` up to, not including, `head` have mappings of `mapper`; so have those behind
/// it that the producer hasn't committed, and no others. The consumer alone changes `tail`, the
/// producer all else.
pub struct MappingRing {
    mapper: Mapper,
    slots: KVec<Slot>,
    /// Mappings put in, modulo 2^32.
    head: AtomicU32,
    /// Mappings taken out, modulo 2^32.
    tail: AtomicU32,
    /// Bytes charged for those that were taken out.
    released: AtomicU64,
    /// Bytes that may be charged at the same time.
    limit: AtomicU64,
}

impl MappingRing {
    /// Makes a ring of at least `capacity` mappings, whose charge is at most `limit` bytes. Process
    /// context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` if `capacity` is above 2^31.
    pub fn pair(
        mapper: &Mapper,
        capacity: usize,
        limit: u64,
    ) -> Result<(MappingProducer, MappingConsumer)> {
        // A power of two, so that counters may wrap.
        let capacity = capacity.checked_next_power_of_two().ok_or(EINVAL)?;
        if capacity > 1 << 31 {
            return Err(EINVAL);
        }
        let mut slots = KVec::with_capacity(capacity, GFP_KERNEL)?;
        for _ in 0..capacity {
            let slot = Slot {
                handle: AtomicU64::new(0),
                len: AtomicU32::new(0),
            };
            slots.push(slot, GFP_KERNEL)?;
        }
        let ring = Self {
            mapper: mapper.clone(),
            slots,
            head: AtomicU32::new(0),
            tail: AtomicU32::new(0),
            released: AtomicU64::new(0),
            limit: AtomicU64::new(limit),
        };
        // INVARIANT: The ring is empty.
        let ring = Arc::new(ring, GFP_KERNEL)?;
        Ok((
            MappingProducer {
                ring: ring.clone(),
                pending: 0,
                charged: 0,
            },
            MappingConsumer { ring },
        ))
    }

    /// Sets the bytes that may be charged at the same time. If they are less than are charged now,
    /// nothing is mapped until enough was taken out. Any context.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    fn slot(&self, index: u32) -> Option<&Slot> {
        self.slots.get(index as usize & (self.slots.len() - 1))
    }

    /// Undoes the mapping in slot `index`; returns its charge.
    ///
    /// # Safety
    ///
    /// The slot belongs to the caller: it is the first one and the caller the consumer, or it is not
    /// committed and the caller the producer, or there is nobody else.
    unsafe fn unmap(&self, index: u32) -> u64 {
        let Some(slot) = self.slot(index) else {
            return 0;
        };
        let len = slot.len.swap(0, Ordering::Relaxed) as usize;
        if len == 0 {
            return 0;
        }
        let handle = slot.handle.load(Ordering::Relaxed);
        // SAFETY: By the type invariant a slot that isn't empty has a mapping of this handle and
        // length. It is empty now, and by the safety requirement nobody else has seen it before.
        unsafe { self.mapper.unmap(handle, len, Direction::ToDevice) };
        charge(len) as u64
    }
}

impl Drop for MappingRing {
    fn drop(&mut self) {
        let mut index = *self.tail.get_mut();
        let head = *self.head.get_mut();
        while index != head {
            // SAFETY: There is nobody else.
            unsafe { self.unmap(index) };
            index = index.wrapping_add(1);
        }
    }
}

/// The end of a [`MappingRing`] where mappings are put in.
pub struct MappingProducer {
    ring: Arc<MappingRing>,
    /// Mappings behind `head`.
    pending: u32,
    /// Bytes charged so far, those pending included, modulo 2^64.
    charged: u64,
}

impl MappingProducer {
    /// Returns the ring.
    pub fn ring(&self) -> &Arc<MappingRing> {
        &self.ring
    }

    /// Maps a piece of a frame, which its owner must not free before the mapping is undone. Any
    /// context.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is empty or has 2^32 bytes or more; `ENOMEM` if the limit is reached, or the ring is full, or the
    /// bus refuses.
    #[inline]
    pub fn map(&mut self, memory: &impl RealMemory) -> Result<Reachable> {
        let address = memory.real_address();
        let len = u32::try_from(memory.real_len()).map_err(|_| EINVAL)?;
        if len == 0 {
            return Err(EINVAL);
        }
        let ring = &*self.ring;

        let charge = charge(len as usize) as u64;
        // Pairs with the consumer, which empties slots before it counts them.
        let released = ring.released.load(Ordering::Acquire);
        let in_use = self.charged.wrapping_sub(released);
        if in_use.saturating_add(charge) > ring.limit.load(Ordering::Relaxed) {
            return Err(ENOMEM);
        }
        let index = ring.head.load(Ordering::Relaxed).wrapping_add(self.pending);
        if index.wrapping_sub(ring.tail.load(Ordering::Acquire)) as usize >= ring.slots.len() {
            return Err(ENOMEM);
        }
        let slot = ring.slot(index).ok_or(EINVAL)?;
        let handle = ring
            .mapper
            .map(address, len as usize, Direction::ToDevice)?;
        // INVARIANT: The slot is behind `head`, and counted in `pending`.
        slot.handle.store(handle, Ordering::Relaxed);
        slot.len.store(len, Ordering::Relaxed);
        self.pending = self.pending.wrapping_add(1);
        self.charged = self.charged.wrapping_add(charge);
        Ok(Reachable {
            address,
            len: len.into(),
        })
    }

    /// Hands the mappings made since the last commit to the consumer; returns how many there are.
    #[inline]
    pub fn commit(&mut self) -> u32 {
        let pending = core::mem::take(&mut self.pending);
        let head = self.ring.head.load(Ordering::Relaxed);
        // INVARIANT: These slots have mappings. Pairs with the consumer.
        self.ring
            .head
            .store(head.wrapping_add(pending), Ordering::Release);
        pending
    }

    /// Undoes the mappings made since the last commit.
    pub fn roll_back(&mut self) {
        let head = self.ring.head.load(Ordering::Relaxed);
        for index in 0..core::mem::take(&mut self.pending) {
            // SAFETY: The slot isn't committed, and this is the producer.
            let charge = unsafe { self.ring.unmap(head.wrapping_add(index)) };
            self.charged = self.charged.wrapping_sub(charge);
        }
    }
}

impl Drop for MappingProducer {
    fn drop(&mut self) {
        self.roll_back();
    }
}

/// The end of a [`MappingRing`] where mappings are taken out.
pub struct MappingConsumer {
    ring: Arc<MappingRing>,
}

impl MappingConsumer {
    /// Undoes the `count` oldest mappings, or as many as there are. Any context.
    #[inline]
    pub fn unmap(&mut self, count: u32) {
        let ring = &*self.ring;
        let tail = ring.tail.load(Ordering::Relaxed);
        // Pairs with the producer, which fills slots before it commits them.
        let there = ring.head.load(Ordering::Acquire).wrapping_sub(tail);
        let count = count.min(there);
        let mut charge = 0;
        for index in 0..count {
            // SAFETY: The first slot, as those before it are done; and this is the consumer.
            charge += unsafe { ring.unmap(tail.wrapping_add(index)) };
        }
        // INVARIANT: These slots are empty.
        ring.tail.store(tail.wrapping_add(count), Ordering::Release);
        let released = ring.released.load(Ordering::Relaxed);
        ring.released
            .store(released.wrapping_add(charge), Ordering::Release);
    }
}
