// SPDX-License-Identifier: GPL-2.0

//! Reports of buffers that are not in the memory map, from the packet path to the rebuild worker.

use crate::sync::{
    AtomicU64,
    Ordering::Relaxed, //
};

/// One buffer that is not in the map, out of however many there are.
///
/// Whoever reports the first one has the worker queued; those that follow find that somebody has. The
/// worker looks after the one reported and takes reports again. A report that comes while it works
/// may get lost, which is safe: if the buffer is not in the new map either, whoever owns it misses
/// again.
#[derive(Debug)]
pub struct MissReport {
    /// The first byte of the buffer, or [`MissReport::NONE`].
    address: AtomicU64,
}

impl MissReport {
    /// No address of a buffer.
    const NONE: u64 = u64::MAX;

    /// No buffer is reported.
    pub fn new() -> Self {
        Self {
            address: AtomicU64::new(Self::NONE),
        }
    }

    /// Reports the buffer at real address `address`; returns whether the caller must queue the
    /// worker. Any context.
    #[inline]
    #[must_use = "somebody must queue the worker"]
    pub fn report(&self, address: u64) -> bool {
        self.address.load(Relaxed) == Self::NONE
            && self.address.swap(address, Relaxed) == Self::NONE
    }

    /// Worker: calls `look_after` for the buffer that is reported, if there is one; from then on the
    /// next report queues the worker again.
    ///
    /// What `look_after` does needs no order here: all that is shared is under locks of its own.
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
