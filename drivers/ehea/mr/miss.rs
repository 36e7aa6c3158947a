// SPDX-License-Identifier: GPL-2.0

//! Reports of buffers that are not in the memory map, from the packet path to the rebuild worker.

use crate::sync::{
    AtomicU64,
    Ordering::Relaxed, //
};

/// Report of one buffer that is not in the map, however many there are.
///
/// The first reporter queues the worker. Reporters that follow find that it is queued. The worker
/// looks after the buffer that was reported first, and then accepts reports again. A report that
/// comes while it works may get lost. This is safe: if the buffer is not in the new map either, it
/// is reported again when it is used.
#[derive(Debug)]
pub struct MissReport {
    /// Address of the first byte of the buffer, or [`MissReport::NONE`].
    address: AtomicU64,
}

impl MissReport {
    /// Value that is no address of a buffer.
    const NONE: u64 = u64::MAX;

    /// Returns a report of no buffer.
    pub fn new() -> Self {
        Self {
            address: AtomicU64::new(Self::NONE),
        }
    }

    /// Reports the buffer at real address `address`. Returns whether the caller must queue the
    /// worker. Any context.
    #[inline]
    #[must_use = "somebody must queue the worker"]
    pub fn report(&self, address: u64) -> bool {
        self.address.load(Relaxed) == Self::NONE
            && self.address.swap(address, Relaxed) == Self::NONE
    }

    /// Calls `look_after` for the buffer that is reported, if there is one. From then on, the next
    /// report queues the worker again. Only the worker calls this.
    ///
    /// The effects of `look_after` are not ordered by this. Everything that it shares with others
    /// has a lock of its own.
    pub fn take<T>(&self, look_after: impl FnOnce(u64) -> T) -> Option<T> {
        let address = self.address.load(Relaxed);
        if address == Self::NONE {
            return None;
        }
        let result = look_after(address);
        // Exchanged, as reporters do: each report comes either before or after.
        self.address.swap(Self::NONE, Relaxed);
        Some(result)
    }
}

impl Default for MissReport {
    fn default() -> Self {
        Self::new()
    }
}
