// SPDX-License-Identifier: GPL-2.0

//! NAPI instances.
//!
//! A [`Napi`] owns the state that its poll function works on. The poll function has it mutably,
//! without a lock, since NAPI lets one CPU poll at a time; others get it while the instance is
//! disabled.
//!
//! C header: `include/linux/netdevice.h`

use super::{
    rtnl::Rtnl,
    skbuff::{
        RxBuffer,
        RxMeta,
        SkBuff, //
    },
    Device, //
};
use crate::kernel_ext::{
    bindings, //
    page::Window,
};
use core::{
    cell::UnsafeCell,
    marker::PhantomPinned,
    ops::{
        Deref,
        DerefMut, //
    },
    ptr::NonNull, //
};
use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        Mutex, //
    },
    types::NotThreadSafe, //
};

/// What a NAPI instance does, and the state it needs for that.
pub trait Poll: Send + 'static {
    /// Handles completions: of receptions up to `budget` many, of transmissions all.
    ///
    /// Returns the number of frames received; if that is `budget` there may be more, and the
    /// function is called again. With a budget of 0 (netpoll) it handles transmissions only.
    /// Softirq context.
    fn poll(&mut self, ctx: &PollContext<'_>, budget: u32) -> u32;

    /// Called when there is nothing left to do: has the adapter interrupt at the next event, and
    /// returns whether there has been one since `poll` looked.
    ///
    /// The instance is still scheduled at this time, so that an interrupt that comes at once isn't
    /// lost: it makes the instance run again.
    fn rearm(&mut self) -> bool;
}

/// What a poll function may do with its instance.
pub struct PollContext<'a> {
    napi: NonNull<bindings::napi_struct>,
    dev: &'a Device,
    budget: c_int,
    _context: NotThreadSafe,
}

impl PollContext<'_> {
    /// The device.
    #[inline]
    pub fn device(&self) -> &Device {
        self.dev
    }

    /// Allocates a receive buffer for frames of up to `capacity` bytes.
    #[inline]
    pub fn alloc(&self, capacity: u32) -> Option<RxBuffer> {
        // SAFETY: The instance is valid, and we are in its poll function.
        let raw = unsafe { bindings::napi_alloc_skb(self.napi.as_ptr().cast(), capacity) };
        // SAFETY: NULL or a new buffer.
        unsafe { RxBuffer::from_raw(raw) }
    }

    /// Hands a received frame to the stack.
    ///
    /// # Errors
    ///
    /// `EMSGSIZE` if the frame is longer than the buffer, or shorter than an Ethernet header; the
    /// buffer is freed.
    #[inline]
    pub fn receive(&self, buffer: RxBuffer, meta: &RxMeta) -> Result {
        // SAFETY: The instance is valid, and we are in its poll function; the buffer is given away. The
        // helper compares the length with the room.
        received(unsafe {
            bindings::rust_ext_skb_receive(self.napi.as_ptr(), buffer.into_raw(), &meta.to_raw())
        })
    }

    /// Copies a received frame from `offset` of `from`, and hands it to the stack.
    ///
    /// # Errors
    ///
    /// `EMSGSIZE` if the frame isn't inside of `from`, or shorter than an Ethernet header;
    /// `ENOMEM`.
    #[inline]
    pub fn receive_copy(&self, from: Window<'_>, offset: usize, meta: &RxMeta) -> Result {
        let frame = from.part(offset, meta.len as usize).map_err(|_| EMSGSIZE)?;

        // SAFETY: The instance is valid, and we are in its poll function. The helper reads `len`
        // bytes once, which are inside of the window; the adapter may write them meanwhile.
        received(unsafe {
            bindings::rust_ext_skb_receive_copy(
                self.napi.as_ptr(),
                frame.as_ptr().cast(),
                &meta.to_raw(),
            )
        })
    }

    /// Copies a received frame from the start of `buffer`, and hands the copy to the stack.
    ///
    /// # Errors
    ///
    /// `EMSGSIZE` if the frame is longer than the buffer, or shorter than an Ethernet header;
    /// `ENOMEM`.
    pub fn receive_copy_of(&self, buffer: &RxBuffer, meta: &RxMeta) -> Result {
        if meta.len > buffer.capacity() {
            return Err(EMSGSIZE);
        }
        // SAFETY: The instance is valid, and we are in its poll function. The helper reads `len`
        // bytes once, which are inside of the buffer; the adapter may write them meanwhile.
        received(unsafe {
            bindings::rust_ext_skb_receive_copy(
                self.napi.as_ptr(),
                buffer.data().cast(),
                &meta.to_raw(),
            )
        })
    }

    /// Frees a buffer after it has been sent; cheaper than [`SkBuff::consume`].
    #[inline]
    pub fn consume(&self, skb: SkBuff) {
        // SAFETY: The buffer is valid and given away; the budget is that of this poll.
        unsafe { bindings::rust_ext_skb_napi_consume(skb.into_raw(), self.budget) };
    }
}

/// What a receiving helper returned. `to_result()` is a function of the kernel crate, too dear for each
/// frame.
#[inline]
fn received(error: c_int) -> Result {
    match error {
        0 => Ok(()),
        error => to_result(error),
    }
}

/// A NAPI instance; on drop it is disabled and removed from the device, which must be in process
/// context.
///
/// It holds a reference of the device, hence delays its unregistration: drop it in `stop`.
///
/// # Invariants
///
/// - `raw` is an instance added to `dev`, whose context is the address of `self`.
/// - The instance is enabled if and only if `state` says so and that it isn't borrowed, except
///   while the mutex is held.
/// - `poll` is accessed only by the poll function, or by the one [`Disabled`] that exists if
///   `state` says that it is borrowed.
#[pin_data(PinnedDrop)]
pub struct Napi<T: Poll> {
    raw: NonNull<bindings::rust_ext_napi>,
    dev: ARef<Device>,
    #[pin]
    state: Mutex<State>,
    poll: UnsafeCell<T>,
    #[pin]
    _pin: PhantomPinned,
}

struct State {
    enabled: bool,
    borrowed: bool,
}

// SAFETY: Instances aren't bound to a thread, and `T` is `Send`.
unsafe impl<T: Poll> Send for Napi<T> {}

// SAFETY: The state is given to one thread at a time; all else may be called by several at once.
unsafe impl<T: Poll> Sync for Napi<T> {}

/// # Safety
///
/// `napi` is the instance of a `Napi<T>` that is alive, and the caller its only poller.
unsafe extern "C" fn poll_callback<T: Poll>(
    napi: *mut bindings::napi_struct,
    budget: c_int,
) -> c_int {
    // SAFETY: The offset is that of the context in the structure that the instance is part of;
    // the context is the address of a pinned `Napi<T>`. That is alive, since its drop disables the
    // instance, which waits for this function to return.
    let this = unsafe {
        &*napi
            .cast::<u8>()
            .add(bindings::rust_ext_napi_context_offset)
            .cast::<*const Napi<T>>()
            .read()
    };
    // SAFETY: NAPI calls one poll function at a time: whoever polls owns the SCHED bit, or for
    // netpoll the NPSVC bit and `poll_owner`, which all others take, too. A disabled instance isn't
    // polled: `napi_disable()` waits for both bits and keeps them.
    let poll = unsafe { &mut *this.poll.get() };
    let Some(napi) = NonNull::new(napi) else {
        return 0;
    };
    let ctx = PollContext {
        napi,
        dev: &this.dev,
        budget,
        _context: NotThreadSafe,
    };

    let limit = u32::try_from(budget).unwrap_or(0);
    let done = poll.poll(&ctx, limit).min(limit);
    if limit == 0 {
        return 0;
    }
    if done == limit || poll.rearm() {
        return budget;
    }
    // CAST: Below `budget`.
    let done = done as c_int;
    // SAFETY: Called once by the owner of the SCHED bit, which it gives up; `poll` isn't used any
    // more. An interrupt since `rearm()` has set the MISSED bit, for which it schedules again.
    unsafe { bindings::rust_ext_napi_complete(napi.as_ptr(), done) };
    done
}

impl<T: Poll> Napi<T> {
    /// Adds an instance to the device; it is disabled. Process context.
    ///
    /// What users set for number `index`, and the number that they know the instance by, are those of
    /// the instance that had this number before. No two of a device may have it at the same time.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` if the device has no queue of this number.
    pub fn new(dev: &Device, index: u16, poll: T) -> impl PinInit<Self, Error> {
        let dev: ARef<Device> = dev.into();

        try_pin_init!(&this in Self {
            poll: UnsafeCell::new(poll),
            state <- new_mutex!(State {
                enabled: false,
                borrowed: false,
            }),
            _pin: PhantomPinned,
            // INVARIANT: Added just now, and instances are added disabled.
            raw: {
                // SAFETY: The device is valid and referenced. The callback suits the type of the
                // context, and isn't called before the instance is enabled.
                let raw = from_err_ptr(unsafe {
                    bindings::rust_ext_napi_add(
                        dev.as_raw(),
                        index,
                        Some(poll_callback::<T>),
                        this.as_ptr().cast(),
                    )
                })?;
                NonNull::new(raw).ok_or(ENOMEM)?
            },
            dev,
        })
    }

    /// Makes the instance ready to be scheduled, and schedules it once, because events may have
    /// passed unseen; no effect if it is enabled. If its state is borrowed, it is enabled when that
    /// ends. Process context.
    pub fn enable(&self) {
        let mut state = self.state.lock();

        if !state.enabled && !state.borrowed {
            self.enable_locked();
        }
        state.enabled = true;
    }

    fn enable_locked(&self) {
        // SAFETY: By the type invariant the instance is valid and, as the caller knows, disabled.
        unsafe { bindings::rust_ext_napi_enable(self.raw.as_ptr()) };
        self.schedule();
    }

    /// Waits until the instance isn't polled and keeps it from being polled; no effect if it is
    /// disabled. Process context.
    pub fn disable(&self) {
        let mut state = self.state.lock();

        if state.enabled && !state.borrowed {
            // SAFETY: By the type invariant the instance is valid and enabled.
            unsafe { bindings::rust_ext_napi_disable(self.raw.as_ptr()) };
        }
        state.enabled = false;
    }

    /// Disables the instance and lends its state. When the guard is dropped, an instance that was
    /// enabled is so again. Process context.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the state is lent already.
    pub fn disabled(&self) -> Result<Disabled<'_, T>> {
        let mut state = self.state.lock();

        if state.borrowed {
            return Err(EBUSY);
        }
        if state.enabled {
            // SAFETY: By the type invariant the instance is valid and enabled.
            unsafe { bindings::rust_ext_napi_disable(self.raw.as_ptr()) };
        }
        state.borrowed = true;
        // INVARIANT: It is disabled, and stays so until `borrowed` is reset by the guard.
        Ok(Disabled { napi: self })
    }

    /// Has the instance polled; no effect while it is disabled. Any context.
    #[inline]
    pub fn schedule(&self) {
        // SAFETY: By the type invariant the instance is valid.
        unsafe { bindings::rust_ext_napi_schedule(self.raw.as_ptr()) };
    }
}

/// Tells users that a [`Napi`] instance serves the receive queue and the transmit queue of a number
/// (netlink family `netdev`). To be ended by [`QueueLink::unlink`].
///
/// # Invariants
///
/// As long as the queues refer to the instance, `napi` owns it.
pub struct QueueLink<T: Poll> {
    napi: Option<Arc<Napi<T>>>,
    queue: u16,
}

impl<T: Poll> QueueLink<T> {
    /// Links both queues of number `queue` with the instance, and the instance with the interrupt that
    /// schedules it.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the device hasn't both queues.
    pub fn new(napi: &Arc<Napi<T>>, queue: u16, irq: u32, _rtnl: &Rtnl) -> Result<Self> {
        // SAFETY: By its type invariant the instance is valid. The RTNL lock is held, and the device's
        // own is not, as its operations are called without. The helper checks the number.
        if !unsafe { bindings::rust_ext_napi_link(napi.raw.as_ptr(), queue, irq) } {
            return Err(EINVAL);
        }
        // INVARIANT: They refer to it now.
        Ok(Self {
            napi: Some(napi.clone()),
            queue,
        })
    }

    /// Ends the link.
    pub fn unlink(mut self, _rtnl: &Rtnl) {
        if let Some(napi) = self.napi.take() {
            // SAFETY: As in `new()`, where the number was checked.
            unsafe { bindings::rust_ext_napi_unlink(napi.raw.as_ptr(), self.queue) };
        }
    }
}

impl<T: Poll> Drop for QueueLink<T> {
    fn drop(&mut self) {
        // Without the lock the queues can't be told. They must not refer to something freed.
        if let Some(napi) = self.napi.take() {
            pr_err!("a queue was not unlinked from its NAPI instance, which is leaked\n");
            core::mem::forget(napi);
        }
    }
}

#[pinned_drop]
impl<T: Poll> PinnedDrop for Napi<T> {
    fn drop(self: Pin<&mut Self>) {
        self.disable();
        // SAFETY: By the type invariant the instance is valid, and disabled now. The device is
        // still referenced.
        unsafe { bindings::rust_ext_napi_del(self.raw.as_ptr()) };
    }
}

/// Access to the state of a disabled [`Napi`].
///
/// # Invariants
///
/// The instance is disabled as long as the guard exists, and there is no other guard.
pub struct Disabled<'a, T: Poll> {
    napi: &'a Napi<T>,
}

impl<T: Poll> Deref for Disabled<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the type invariant nobody else accesses the state.
        unsafe { &*self.napi.poll.get() }
    }
}

impl<T: Poll> DerefMut for Disabled<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: By the type invariant nobody else accesses the state.
        unsafe { &mut *self.napi.poll.get() }
    }
}

impl<T: Poll> Drop for Disabled<'_, T> {
    fn drop(&mut self) {
        let mut state = self.napi.state.lock();

        state.borrowed = false;
        if state.enabled {
            self.napi.enable_locked();
        }
    }
}
