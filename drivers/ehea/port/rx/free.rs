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

    /// Returns the number of buffers that are not in `map`.
    pub(super) fn unmapped(&self, map: &Map) -> usize {
        let buffers = self.slots.iter().flatten();
        buffers
            .filter(|buffer| self.address(buffer, map).is_none())
            .count()
    }

    /// Allocates `count` buffers, in `map`. Process context.
    pub(super) fn spares(
        kind: BufferKind,
        token: Unrestricted,
        count: usize,
        dev: &Device,
        map: &Map,
    ) -> Result<KVec<RxBuffer>> {
        let mut spares = KVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            let buffer = RxBuffer::new(dev, kind.len)?;
            let memory = token.reach(&buffer).first(kind.len.into()).ok_or(EINVAL)?;
            if map.adapter_address(memory).is_none() {
                return Err(Error::NotMapped(buffer.address()));
            }
            spares.push(buffer, GFP_KERNEL)?;
        }
        Ok(spares)
    }

    /// Writes all work requests again for another memory map. Buffers that are not in it are
    /// replaced by `spares`, and their contents are copied, because a frame may be in them that
    /// nobody has looked at yet.
    pub(super) fn rewrite(
        &mut self,
        ring: &Ring,
        translation: &Translation,
        spares: &mut KVec<RxBuffer>,
    ) -> Result {
        let (token, len) = (self.token, self.len.into());
        let address = |buffer: &RxBuffer| {
            let memory = token.reach(buffer).first(len)?;
            translation.map.adapter_address(memory)
        };
        for (index, place) in self.slots.iter_mut().enumerate() {
            let Some(buffer) = place else {
                continue;
            };
            if address(buffer).is_none() {
                let old = Error::NotMapped(buffer.address());
                let mut spare = spares.pop().ok_or(old)?;
                spare.copy_from(buffer);
                *buffer = spare;
            }
            let address = address(buffer).ok_or(Error::NotMapped(buffer.address()))?;
            ring.rewrite(index, address, translation)
                .map_err(|Lost| EINVAL)?;
        }
        Ok(())
    }
}
