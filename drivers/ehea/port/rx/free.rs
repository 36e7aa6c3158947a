// SPDX-License-Identifier: GPL-2.0

//! Receive buffers outside of CMO. They are of any memory, and go to the stack with their frames.

use super::ring::{
    Lost,
    Ring, //
};
use crate::{
    cmo::BufferKind,
    error::{
        Error,
        Result, //
    },
    kernel_ext::{
        dma::{
            Abandon,
            Unrestricted, //
        },
        net::{
            skbuff::RxBuffer,
            Device, //
        }, //
    },
    shared::{
        AdapterAddress,
        Map,
        Translation, //
    }, //
};
use kernel::prelude::*;

/// Place of the buffer of a slot in a memory map.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The slot has no buffer.
    Empty,
    /// The buffer is not in the map.
    Missing,
    /// The buffer has this adapter address.
    At(u64),
}

/// Reserve for a rewrite of a ring for another memory map.
pub(crate) struct FreeSpares {
    /// Buffers that are in the map.
    buffers: KVec<RxBuffer>,
    /// Places of the buffers of all slots.
    places: KVec<Place>,
    /// Number of buffers that are not in the map.
    missing: usize,
    /// Number of buffers that had been posted by the time of the look-up. `None` before the first one.
    posts: Option<u32>,
}

impl FreeSpares {
    /// Makes a reserve without buffers for a ring with `slots` slots. Process context.
    pub(super) fn new(slots: usize) -> Result<Self> {
        let mut places = KVec::with_capacity(slots, GFP_KERNEL)?;
        places.resize(slots, Place::Empty, GFP_KERNEL)?;
        Ok(Self {
            buffers: KVec::new(),
            places,
            missing: 0,
            posts: None,
        })
    }

    /// Allocates a buffer of `kind`, in `map`, for each that is not in it. Process context.
    pub(super) fn allocate(
        &mut self,
        kind: BufferKind,
        token: Unrestricted,
        dev: &Device,
        map: &Map,
    ) -> Result {
        self.buffers.reserve(self.missing, GFP_KERNEL)?;
        for _ in 0..self.missing {
            let buffer = RxBuffer::new(dev, kind.len)?;
            let memory = token.reach(&buffer).first(kind.len.into()).ok_or(EINVAL)?;
            if map.adapter_address(memory).is_none() {
                return Err(Error::NotMapped(buffer.address()));
            }
            self.buffers.push(buffer, GFP_KERNEL)?;
        }
        Ok(())
    }

    /// Checks whether there is a buffer for each that is not in the map.
    pub(super) fn suffice(&self) -> bool {
        self.missing <= self.buffers.len()
    }
}

/// Buffers of RQ2 or RQ3, with the right to post them.
pub(crate) struct FreeBuffers {
    token: Unrestricted,
    len: u32,
    /// Buffer of each slot, if one is posted.
    slots: KVec<Option<RxBuffer>>,
}

impl Abandon for FreeBuffers {
    fn abandon(&mut self) {
        core::mem::take(&mut self.slots)
            .into_iter()
            .for_each(core::mem::forget);
    }
}

impl FreeBuffers {
    /// Makes the table for a ring with `slots` slots, without buffers.
    pub(super) fn new(kind: BufferKind, slots: usize, token: Unrestricted) -> Result<Self> {
        let mut buffers = KVec::with_capacity(slots, GFP_KERNEL)?;
        for _ in 0..slots {
            buffers.push(None, GFP_KERNEL)?;
        }
        Ok(Self {
            token,
            len: kind.len,
            slots: buffers,
        })
    }

    /// Takes all buffers out.
    pub(super) fn take_all(&mut self) -> Self {
        Self {
            slots: core::mem::take(&mut self.slots),
            ..*self
        }
    }

    /// Returns the adapter address of a buffer, or `None` if it is not in the map.
    #[inline(always)]
    pub(super) fn address(&self, buffer: &RxBuffer, map: &Map) -> Option<u64> {
        map.adapter_address(self.token.reach(buffer).first(self.len.into())?)
    }

    /// Takes the buffer out of slot `index` that the adapter has used up.
    #[inline]
    pub(super) fn take(&mut self, index: usize) -> Option<RxBuffer> {
        self.slots.get_mut(index).and_then(Option::take)
    }

    /// Posts a buffer whose adapter address is `address`.
    #[inline(always)]
    pub(super) fn post(
        &mut self,
        ring: &mut Ring,
        buffer: RxBuffer,
        address: u64,
        key: u32,
    ) -> core::result::Result<(), Lost> {
        // The slot is in use if the adapter has used up buffers in another order than they were
        // posted.
        let place = self.slots.get_mut(ring.posted.next_slot());
        let place = place.filter(|place| place.is_none()).ok_or(Lost)?;
        ring.post(address, key)?;
        *place = Some(buffer);
        Ok(())
    }

    /// Posts a buffer again that was posted before, so that it is in the map.
    #[cold]
    pub(super) fn repost(
        &mut self,
        ring: &mut Ring,
        buffer: RxBuffer,
        translation: &Translation,
    ) -> core::result::Result<(), Lost> {
        let address = self.address(&buffer, &translation.map).ok_or(Lost)?;
        self.post(ring, buffer, address, translation.key)
    }

    /// Posts buffers for all slots. Process context.
    pub(super) fn fill(
        &mut self,
        ring: &mut Ring,
        dev: &Device,
        translation: &Translation,
    ) -> Result {
        while ring.posted.missing() > 0 {
            let buffer = RxBuffer::new(dev, self.len)?;
            let Some(address) = self.address(&buffer, &translation.map) else {
                return Err(Error::NotMapped(buffer.address()));
            };
            self.post(ring, buffer, address, translation.key)
                .map_err(|Lost| EINVAL)?;
        }
        Ok(())
    }

    /// Finds out where the buffers are in `map`, for which `spares` are. After the first time, that is only done for
    /// buffers that were posted since.
    pub(super) fn look_up(&self, ring: &Ring, map: &Map, spares: &mut FreeSpares) {
        let slots = self.slots.len();
        let posts = ring.posted.posts();
        let new = match spares.posts.replace(posts) {
            Some(before) => slots.min(posts.wrapping_sub(before) as usize),
            None => slots,
        };
        let mut index = ring.posted.next_slot();
        for _ in 0..new {
            index = index.checked_sub(1).unwrap_or(slots.saturating_sub(1));
            let (Some(buffer), Some(place)) = (self.slots.get(index), spares.places.get_mut(index))
            else {
                continue;
            };
            let now = match buffer {
                None => Place::Empty,
                Some(buffer) => self.address(buffer, map).map_or(Place::Missing, Place::At),
            };
            let before = core::mem::replace(place, now);
            // Never more than there are slots, nor less than none.
            spares.missing = spares
                .missing
                .wrapping_add((now == Place::Missing).into())
                .wrapping_sub((before == Place::Missing).into());
        }
        if !spares.suffice() {
            // Some may have been used up since they were counted.
            let slots = self.slots.iter().zip(&spares.places);
            spares.missing = slots
                .filter(|(slot, place)| slot.is_some() && **place == Place::Missing)
                .count();
        }
    }

    /// Writes all work requests again for another memory map, in which [`FreeBuffers::look_up`] has found out where the
    /// buffers are. Those that are not in it are replaced by `spares`, and their contents are copied, because a frame
    /// may be in them that nobody has looked at yet.
    pub(super) fn rewrite(
        &mut self,
        ring: &Ring,
        translation: &Translation,
        spares: &mut FreeSpares,
    ) -> Result {
        let (token, len) = (self.token, self.len.into());
        let slots = self.slots.iter_mut().zip(&spares.places);
        for (index, (slot, place)) in slots.enumerate() {
            // A buffer that has been used up since the look-up is in a slot without a buffer.
            let Some(buffer) = slot else {
                continue;
            };
            let address = match place {
                Place::At(address) => *address,
                Place::Missing | Place::Empty => {
                    let old = Error::NotMapped(buffer.address());
                    let mut spare = spares.buffers.pop().ok_or(old)?;
                    spare.copy_from(buffer);
                    *buffer = spare;
                    let memory = token.reach(buffer).first(len);
                    memory
                        .and_then(|memory| translation.map.adapter_address(memory))
                        .ok_or(Error::NotMapped(buffer.address()))?
                }
            };
            ring.rewrite(index, address, translation)
                .map_err(|Lost| EINVAL)?;
        }
        Ok(())
    }
}
