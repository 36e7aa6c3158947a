// SPDX-License-Identifier: GPL-2.0

//! Receive buffers in a CMO partition.
//!
//! They stay mapped as long as they exist, and they stay with the driver: a frame is copied out,
//! and its buffer is posted again. Memory that the stack holds is therefore not charged, however
//! long an application leaves it in its socket. The entitlement can be given back at any time:
//! while a ring has more buffers than its limit, buffers that are used up are not posted again.
//!
//! Buffers are mapped in chunks of whole pages. A chunk is *retiring* while some of its buffers are
//! still posted, and is unmapped when the last has been used up.

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
            Access,
            DmaBuffer, //
        },
        page::{
            ContiguousBuffer,
            Window, //
        }, //
    },
    shared::{
        AdapterAddress,
        Map,
        Translation, //
    }, //
};
use core::sync::atomic::{
    AtomicU32,
    Ordering::Relaxed, //
};
use kernel::{
    page::PAGE_SIZE,
    prelude::*,
    sync::Arc, //
};

/// Number of chunks of a ring, and its limit.
#[derive(Default)]
pub(crate) struct ChunkCount {
    /// Limit, set by the part that distributes the entitlement.
    limit: AtomicU32,
    /// Number of chunks, set by the owner of the ring.
    mapped: AtomicU32,
}

impl ChunkCount {
    pub(crate) fn set_limit(&self, limit: u32) {
        self.limit.store(limit, Relaxed);
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit.load(Relaxed)
    }

    /// Returns the number of chunks to be mapped until the limit is reached.
    pub(crate) fn missing(&self) -> u32 {
        self.limit().saturating_sub(self.mapped.load(Relaxed))
    }

    /// Checks whether there are no chunks.
    pub(crate) fn is_empty(&self) -> bool {
        self.mapped.load(Relaxed) == 0
    }

    /// Checks whether the limit is exceeded, not counting `retiring` chunks.
    fn is_exceeded(&self, retiring: u32) -> bool {
        self.mapped.load(Relaxed).saturating_sub(retiring) > self.limit()
    }
}

/// Identification of a buffer: the number of its chunk, and its place in the chunk.
#[derive(Clone, Copy)]
pub(crate) struct BufferId {
    chunk: u16,
    place: u8,
}

struct Chunk {
    memory: DmaBuffer,
    /// Bit mask of the places that are posted.
    posted: u32,
    retiring: bool,
}

/// Buffers of RQ2 or RQ3.
pub(crate) struct ChargedBuffers {
    kind: BufferKind,
    access: Access,
    chunks: KVec<Option<Chunk>>,
    /// Buffer of each slot of the ring, if one is posted.
    slots: KVec<Option<BufferId>>,
    /// Number of buffers in a chunk.
    per_chunk: u8,
    retiring: u32,
    count: Arc<ChunkCount>,
}

impl Abandon for ChargedBuffers {
    fn abandon(&mut self) {
        for chunk in core::mem::take(&mut self.chunks).into_iter().flatten() {
            chunk.memory.abandon();
        }
    }
}

impl ChargedBuffers {
    /// Makes the table for a ring with `slots` slots, without buffers.
    pub(crate) fn new(
        kind: BufferKind,
        slots: usize,
        access: &Access,
        count: Arc<ChunkCount>,
    ) -> Result<Self> {
        let per_chunk = kind.per_chunk(PAGE_SIZE);
        let mut places = KVec::with_capacity(slots, GFP_KERNEL)?;
        let mut chunks = KVec::with_capacity(slots / per_chunk, GFP_KERNEL)?;
        for _ in 0..slots {
            places.push(None, GFP_KERNEL)?;
        }
        for _ in 0..slots / per_chunk {
            chunks.push(None, GFP_KERNEL)?;
        }
        Ok(Self {
            kind,
            access: access.clone(),
            chunks,
            slots: places,
            per_chunk: u8::try_from(per_chunk).map_err(|_| EINVAL)?.min(32),
            retiring: 0,
            count,
        })
    }

    /// Takes all buffers out.
    pub(super) fn take_all(&mut self) -> Self {
        Self {
            kind: self.kind,
            access: self.access.clone(),
            chunks: core::mem::take(&mut self.chunks),
            slots: core::mem::take(&mut self.slots),
            per_chunk: self.per_chunk,
            retiring: core::mem::take(&mut self.retiring),
            count: self.count.clone(),
        }
    }

    /// Allocates and maps a chunk. Process context.
    pub(crate) fn allocate(kind: BufferKind, access: &Access) -> Result<DmaBuffer> {
        Ok(DmaBuffer::new(access, kind.chunk_bytes(PAGE_SIZE))?)
    }

    /// Takes the buffer out of slot `index` that the adapter has used up.
    pub(crate) fn take(&mut self, index: usize) -> Option<BufferId> {
        let id = self.slots.get_mut(index).and_then(Option::take)?;
        let chunk = self.chunk(id)?;
        chunk.posted &= !(1 << id.place);
        Some(id)
    }

    fn chunk(&mut self, id: BufferId) -> Option<&mut Chunk> {
        self.chunks.get_mut(usize::from(id.chunk))?.as_mut()
    }

    /// Returns the contents of a buffer.
    pub(crate) fn window(&self, id: BufferId) -> Option<Window<'_>> {
        let chunk = self.chunks.get(usize::from(id.chunk))?.as_ref()?;
        let offset = usize::from(id.place) * self.kind.stride as usize;
        chunk
            .memory
            .window()
            .part(offset, self.kind.len as usize)
            .ok()
    }

    /// Posts a buffer that is not posted.
    fn post(
        &mut self,
        ring: &mut Ring,
        id: BufferId,
        translation: &Translation,
    ) -> core::result::Result<(), Lost> {
        let index = ring.posted.next_slot();
        // In use if the adapter has used up buffers in another order than they were posted.
        if self.slots.get(index).is_none_or(Option::is_some) {
            return Err(Lost);
        }
        let (stride, len) = (self.kind.stride as usize, self.kind.len as usize);
        let chunk = self.chunk(id).ok_or(Lost)?;
        let buffer = chunk.memory.reach(usize::from(id.place) * stride, len);
        let address = translation.map.adapter_address(buffer.ok_or(Lost)?);
        ring.post(address.ok_or(Lost)?, translation.key)?;
        chunk.posted |= 1 << id.place;
        if let Some(place) = self.slots.get_mut(index) {
            *place = Some(id);
        }
        Ok(())
    }

    /// Posts a buffer again that was used up, or retires its chunk if the limit is exceeded.
    /// Returns whether the buffer was posted.
    pub(crate) fn done(
        &mut self,
        ring: &mut Ring,
        id: BufferId,
        translation: &Translation,
    ) -> core::result::Result<bool, Lost> {
        let exceeded = self.count.is_exceeded(self.retiring);
        let chunk = self.chunk(id).ok_or(Lost)?;
        if !chunk.retiring && !exceeded {
            return self.post(ring, id, translation).map(|()| true);
        }
        let newly = !chunk.retiring;
        chunk.retiring = true;
        let unused = chunk.posted == 0;
        if newly {
            self.retiring += 1;
        }
        if unused {
            self.retiring -= 1;
            if let Some(place) = self.chunks.get_mut(usize::from(id.chunk)) {
                *place = None;
            }
            self.count.mapped.fetch_sub(1, Relaxed);
        }
        Ok(false)
    }

    /// Adds a chunk and posts its buffers. If there is no room, or if the chunk is not in the map,
    /// it is dropped.
    pub(crate) fn add(
        &mut self,
        ring: &mut Ring,
        chunk: DmaBuffer,
        translation: &Translation,
    ) -> Result {
        let address = chunk.real_address();
        let all = chunk.reach(0, chunk.len()).ok_or(EINVAL)?;
        if translation.map.adapter_address(all).is_none() {
            return Err(Error::NotMapped(address));
        }
        let number = self.chunks.iter().position(Option::is_none);
        let Some(number) = number else {
            return Err(Error::Kernel(ENOSPC));
        };
        if let Some(place) = self.chunks.get_mut(number) {
            *place = Some(Chunk {
                memory: chunk,
                posted: 0,
                retiring: false,
            });
        }
        self.count.mapped.fetch_add(1, Relaxed);
        self.post_chunk(ring, number, translation)
    }

    /// Posts all buffers of a chunk that are not posted.
    fn post_chunk(&mut self, ring: &mut Ring, number: usize, translation: &Translation) -> Result {
        for place in 0..self.per_chunk {
            let id = BufferId {
                // CAST: A ring has at most 2^15 slots.
                chunk: number as u16,
                place,
            };
            let missing = self
                .chunk(id)
                .is_some_and(|chunk| chunk.posted & (1 << place) == 0);
            if missing && ring.posted.missing() > 0 {
                self.post(ring, id, translation).map_err(|Lost| EINVAL)?;
            }
        }
        Ok(())
    }

    /// Returns the number of chunks that are not in `map`.
    pub(crate) fn unmapped(&self, map: &Map) -> usize {
        self.chunks
            .iter()
            .flatten()
            .filter(|chunk| !is_in(&chunk.memory, map))
            .count()
    }

    /// Writes all work requests again for another memory map. Chunks that are not in it are
    /// replaced by `spares`, to which the frames in them are copied. The queue pair must pause.
    ///
    /// If the entitlement has no room for all of the new chunks besides the old ones, old ones make room.
    ///
    /// # Errors
    ///
    /// Work requests may refer to chunks that are gone.
    pub(crate) fn rewrite(
        &mut self,
        ring: &Ring,
        translation: &Translation,
        spares: &mut ChunkSpares,
    ) -> Result {
        let access = &self.access;
        spares.map(access);
        for place in &mut self.chunks {
            let Some(chunk) = place else {
                continue;
            };
            if is_in(&chunk.memory, &translation.map) {
                continue;
            }
            let address = chunk.memory.real_address();
            if let Some(new) = spares.mapped.pop() {
                copy(&chunk.memory.window(), &new.window())?;
                chunk.memory = new;
                continue;
            }
            let spare = spares.memory.pop().ok_or(Error::NotMapped(address))?;
            copy(&chunk.memory.window(), &spare.window())?;
            let (posted, retiring) = (chunk.posted, chunk.retiring);
            *place = None;
            let memory = DmaBuffer::of(access, spare).map_err(|(error, _)| error)?;
            *place = Some(Chunk {
                memory,
                posted,
                retiring,
            });
        }
        let (stride, len) = (self.kind.stride as usize, self.kind.len as usize);
        for (index, id) in self.slots.iter().enumerate() {
            let Some(id) = id else {
                continue;
            };
            let chunk = self.chunks.get(usize::from(id.chunk));
            let chunk = chunk.and_then(Option::as_ref).ok_or(EINVAL)?;
            let buffer = chunk.memory.reach(usize::from(id.place) * stride, len);
            let address = translation.map.adapter_address(buffer.ok_or(EINVAL)?);
            let address = address.ok_or(Error::NotMapped(chunk.memory.real_address()))?;
            ring.rewrite(index, address, translation)
                .map_err(|Lost| EINVAL)?;
        }
        Ok(())
    }
}

/// Memory for chunks that replace others which are not in another memory map.
#[derive(Default)]
pub(crate) struct ChunkSpares {
    /// Number of chunks that are not in the map.
    pub(super) missing: usize,
    /// Memory that is not mapped.
    memory: KVec<ContiguousBuffer>,
    /// Memory that is mapped. There is room for all.
    mapped: KVec<DmaBuffer>,
}

impl ChunkSpares {
    /// Allocates memory in `map` for each chunk of `kind` that is not in it. Process context.
    pub(super) fn allocate(&mut self, kind: BufferKind, map: &Map) -> Result {
        self.memory.reserve(self.missing, GFP_KERNEL)?;
        self.mapped.reserve(self.missing, GFP_KERNEL)?;
        let bytes = kind.chunk_bytes(PAGE_SIZE);
        for _ in 0..self.missing {
            let memory = ContiguousBuffer::new(bytes)?;
            let address = memory.real_address();
            if map.translate(address, bytes as u64).is_none() {
                return Err(Error::NotMapped(address));
            }
            self.memory.push(memory, GFP_KERNEL)?;
        }
        Ok(())
    }

    /// Checks whether there is memory for each chunk that is not in the map.
    pub(super) fn suffice(&self) -> bool {
        self.missing <= self.memory.len().saturating_add(self.mapped.len())
    }

    /// Maps as much as there is room for in the entitlement.
    fn map(&mut self, access: &Access) {
        while let Some(memory) = self.memory.pop() {
            match DmaBuffer::of(access, memory) {
                // There is room for it.
                Ok(mapped) => drop(self.mapped.push_within_capacity(mapped)),
                Err((_, memory)) => {
                    drop(self.memory.push_within_capacity(memory));
                    break;
                }
            }
        }
    }
}

fn is_in(memory: &DmaBuffer, map: &Map) -> bool {
    memory
        .reach(0, memory.len())
        .is_some_and(|all| map.adapter_address(all).is_some())
}

/// Copies a window to one of the same length.
fn copy(from: &Window<'_>, to: &Window<'_>) -> Result {
    let mut chunk = [0; 512];
    for offset in (0..from.len()).step_by(chunk.len()) {
        let len = chunk.len().min(from.len() - offset);
        let bytes = chunk.get_mut(..len).ok_or(EINVAL)?;
        from.read_bytes(offset, bytes)?;
        to.write_bytes(offset, bytes)?;
    }
    Ok(())
}
