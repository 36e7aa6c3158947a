// SPDX-License-Identifier: GPL-2.0

//! Transmit queues.

use super::{
    skbuff::SkBuff,
    Device, //
};
use crate::kernel_ext::bindings;
use core::{
    cell::UnsafeCell,
    ops::Deref,
    sync::atomic::{
        AtomicPtr,
        Ordering, //
    }, //
};
use kernel::types::NotThreadSafe;

/// A transmit queue of a device.
pub struct Queue<'a> {
    dev: &'a Device,
    index: u16,
}

impl Queue<'_> {
    /// The number of the queue.
    #[inline]
    pub fn index(&self) -> u16 {
        self.index
    }

    /// The device.
    #[inline]
    pub fn device(&self) -> &Device {
        self.dev
    }

    /// Stops the queue: the stack doesn't call `start_xmit` for it until it is woken.
    ///
    /// Who stops it for want of room must look for room again after a full barrier
    /// (`kernel::sync::barrier`), and undo it if there is some: [`Device::tx_completed`] has the
    /// counterpart.
    pub fn stop(&self) {
        self.dev.stop_tx_queue(self.index);
    }

    /// Undoes [`stop`](Self::stop) without having the stack look for what it has queued; for a
    /// queue that was stopped a moment ago.
    pub fn start(&self) {
        // SAFETY: The device is valid; the helper checks the number.
        unsafe { bindings::rust_ext_tx_start(self.dev.as_raw(), self.index) };
    }

    /// Wakes the queue: undoes [`stop`](Self::stop), and has the stack send what it has queued.
    pub fn wake(&self) {
        self.dev.wake_tx_queue(self.index);
    }

    /// Whether the driver has stopped the queue.
    pub fn is_stopped(&self) -> bool {
        // SAFETY: The device is valid; the helper checks the number.
        unsafe { bindings::rust_ext_tx_stopped(self.dev.as_raw(), self.index) }
    }
}

mod private {
    /// See [`Locked`](super::Locked).
    pub trait Sealed {}
}

/// A transmit queue whose lock is held: [`TxQueue`] or [`TxQueueGuard`].
///
/// These are different types, so that safe code can't exchange the one for the other and have a
/// queue unlocked by the wrong party.
pub trait Locked: private::Sealed {
    /// The queue.
    fn queue(&self) -> &Queue<'_>;
}

/// The transmit queue of a frame, in `start_xmit`.
///
/// # Invariants
///
/// The transmit lock of the queue is held by this thread, and there is no other [`Locked`] value
/// for the same queue.
pub struct TxQueue<'a> {
    queue: Queue<'a>,
    _context: NotThreadSafe,
}

impl<'a> TxQueue<'a> {
    /// # Safety
    ///
    /// The caller holds the transmit lock of queue `index` of `dev` as long as the value exists,
    /// and makes no second one meanwhile.
    pub(super) unsafe fn new(dev: &'a Device, index: u16) -> Self {
        // INVARIANT: By the safety requirement.
        Self {
            queue: Queue { dev, index },
            _context: NotThreadSafe,
        }
    }

    /// Reports that `skb` was queued: time stamp, byte queue limits. Returns whether the adapter
    /// must be told of it now; otherwise another frame follows at once.
    ///
    /// To be called before the adapter may complete the frame.
    #[inline]
    pub fn sent(&self, skb: &SkBuff) -> bool {
        // SAFETY: Device and buffer are valid, the lock of the queue is held.
        unsafe {
            bindings::rust_ext_tx_sent(self.queue.dev.as_raw(), self.queue.index, skb.as_raw())
        }
    }

    /// Reports that the frame in `skb` was queued as a copy, and frees `skb`. The byte queue limits
    /// don't count it: who copies frames need not learn when each of them was sent. Returns what
    /// [`sent`](Self::sent) does.
    #[inline]
    pub fn copied(&self, skb: SkBuff) -> bool {
        let (dev, index) = (self.queue.dev.as_raw(), self.queue.index);
        // SAFETY: Device and buffer are valid, the buffer is given away, the lock of the queue is
        // held.
        unsafe { bindings::rust_ext_tx_copied(dev, index, skb.into_raw()) }
    }

    /// Whether another frame follows at once. If not, a driver that drops the present one must tell
    /// the adapter of those before it.
    pub fn more_to_come(&self) -> bool {
        // SAFETY: No precondition; meaningful in `start_xmit`.
        unsafe { bindings::rust_ext_tx_more() }
    }
}

impl<'a> Deref for TxQueue<'a> {
    type Target = Queue<'a>;

    fn deref(&self) -> &Queue<'a> {
        &self.queue
    }
}

impl private::Sealed for TxQueue<'_> {}

impl Locked for TxQueue<'_> {
    #[inline]
    fn queue(&self) -> &Queue<'_> {
        &self.queue
    }
}

/// A transmit queue that was locked outside of `start_xmit`; unlocked on drop.
///
/// # Invariants
///
/// The transmit lock of the queue is held by this thread, and there is no other [`Locked`] value
/// for the same queue.
pub struct TxQueueGuard<'a> {
    queue: Queue<'a>,
    _context: NotThreadSafe,
}

impl<'a> TxQueueGuard<'a> {
    pub(super) fn new(dev: &'a Device, index: u16) -> Option<Self> {
        // SAFETY: The device is valid; the helper checks the number.
        if !unsafe { bindings::rust_ext_tx_lock(dev.as_raw(), index) } {
            return None;
        }
        // INVARIANT: Locked just now, so there is no other value.
        Some(Self {
            queue: Queue { dev, index },
            _context: NotThreadSafe,
        })
    }
}

impl<'a> Deref for TxQueueGuard<'a> {
    type Target = Queue<'a>;

    fn deref(&self) -> &Queue<'a> {
        &self.queue
    }
}

impl private::Sealed for TxQueueGuard<'_> {}

impl Locked for TxQueueGuard<'_> {
    #[inline]
    fn queue(&self) -> &Queue<'_> {
        &self.queue
    }
}

impl Drop for TxQueueGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: Locked by this thread in `new()`: the guard can't be sent to another one.
        unsafe { bindings::rust_ext_tx_unlock(self.queue.dev.as_raw(), self.queue.index) };
    }
}

/// Data that are protected by the lock of one transmit queue.
///
/// It is bound to the device by the first access.
///
/// # Invariants
///
/// Once `dev` is not NULL it doesn't change, and `value` is accessed only by who has mutably
/// borrowed the [`Locked`] value for queue `index` of this device, or `self`.
pub struct TxLocked<T> {
    dev: AtomicPtr<bindings::net_device>,
    index: u16,
    value: UnsafeCell<T>,
}

// SAFETY: The lock lets one thread at a time have the value, as a mutex would.
unsafe impl<T: Send> Sync for TxLocked<T> {}

impl<T> TxLocked<T> {
    /// Data for queue `index` of the device that uses them first.
    pub const fn new(index: u16, value: T) -> Self {
        Self {
            dev: AtomicPtr::new(core::ptr::null_mut()),
            index,
            value: UnsafeCell::new(value),
        }
    }

    /// The data; `None` if `locked` isn't the queue that they are bound to.
    #[inline]
    pub fn get<'a>(&'a self, locked: &'a mut impl Locked) -> Option<&'a mut T> {
        let queue = locked.queue();
        let dev = queue.dev.as_raw();

        if queue.index != self.index {
            return None;
        }
        if self.dev.load(Ordering::Relaxed) != dev {
            // Several devices may have a queue of this number: the first one wins.
            self.dev
                .compare_exchange(
                    core::ptr::null_mut(),
                    dev,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .ok()?;
        }
        // SAFETY: `locked` is the only value for the queue that the data are bound to, and is
        // borrowed as long as the reference that we return: there is no other one. Its lock orders
        // the accesses of different threads.
        Some(unsafe { &mut *self.value.get() })
    }

    /// As [`get`](Self::get), together with what may still be done with the queue meanwhile.
    #[inline]
    pub fn get_with<'a, L: Locked>(&'a self, locked: &'a mut L) -> Option<(&'a mut T, &'a L)> {
        let value: *mut T = self.get(locked)?;
        // SAFETY: `locked` stays borrowed mutably as long as both references are in use, and what
        // is returned of it is shared: there is no second way to the data.
        Some((unsafe { &mut *value }, locked))
    }

    /// The data, which nobody else can see now.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}
