// SPDX-License-Identifier: GPL-2.0

//! Places for buffers that are with the adapter.

use super::SkBuff;
use core::{
    ptr::NonNull,
    sync::atomic::{
        fence,
        AtomicPtr,
        Ordering, //
    }, //
};
use kernel::bindings;

/// A place for one [`SkBuff`] that several contexts may use without a lock.
///
/// Made for the slots of a ring, where one context puts and another takes.
///
/// # Invariants
///
/// The pointer is NULL or that of a buffer that belongs to the slot.
#[derive(Default)]
pub struct SkbSlot(AtomicPtr<bindings::sk_buff>);

impl SkbSlot {
    /// Returns an empty slot.
    pub const fn new() -> Self {
        Self(AtomicPtr::new(core::ptr::null_mut()))
    }

    /// Puts a buffer into the slot and returns the one that was there.
    #[inline]
    pub fn put(&self, skb: SkBuff) -> Option<SkBuff> {
        // INVARIANT: The buffer is given to the slot. What was done to it before is seen by who takes
        // it.
        let old = NonNull::new(self.0.swap(skb.into_raw(), Ordering::Release))?;
        // Pairs with the release by which the old buffer was put. As a rule there is none, and no
        // barrier.
        fence(Ordering::Acquire);
        // SAFETY: By the type invariant the old buffer was the slot's, and is so no more.
        Some(unsafe { SkBuff::from_raw(old) })
    }

    /// Takes the buffer out.
    #[inline]
    pub fn take(&self) -> Option<SkBuff> {
        // Pairs with the release by which the buffer was put.
        let old = NonNull::new(self.0.swap(core::ptr::null_mut(), Ordering::Acquire))?;
        // SAFETY: By the type invariant the old buffer was the slot's, and is so no more.
        Some(unsafe { SkBuff::from_raw(old) })
    }
}

impl Drop for SkbSlot {
    fn drop(&mut self) {
        drop(self.take());
    }
}
