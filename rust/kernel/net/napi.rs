// SPDX-License-Identifier: GPL-2.0

//! NAPI instances.
//!
//! A [`Napi`] owns the state that its poll function works on. The poll function has it mutably,
//! without a lock, since NAPI lets one CPU poll at a time; others get it while the instance is
//! disabled.
//!
//! C header: `include/linux/netdevice.h`

use super::{
    lock::InstanceLock,
    skbuff::{
        RxBuffer,
        RxMeta,
        SkBuff, //
    },
    Device, //
};
use crate::kernel_ext::{
    bindings,
    page::Window, //
};
use core::{
    cell::UnsafeCell,
    marker::PhantomPinned,
    ops::{
        Deref,
        DerefMut, //
    },
    ptr::NonNull,
    sync::atomic::{
        AtomicUsize,
        Ordering::{
            Acquire,
            Relaxed,
            Release, //
        }, //
    }, //
};
use kernel::{
    container_of,
    cpu::CpuId,
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        Mutex, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};

/// Work of a NAPI instance, and the state that it needs.
pub trait Poll: Send + 'static {
    /// Source of its events.
    type Source: EventSource;

    /// Handles completions: of receptions up to `budget` many, of transmissions all.
    ///
    /// Returns the number of frames received; if that is `budget` there may be more, and the
    /// function is called again. With a budget of 0 (netpoll) it handles transmissions only.
    /// Softirq context.
    fn poll(&mut self, ctx: &PollContext<'_>, budget: u32) -> u32;

    /// Returns where the events will be that come next, for [`EventSource::arm`]; `None` if nobody waits
    /// for any more. Called after [`Poll::poll`] if that has left nothing to do.
    fn position(&self) -> Option<<Self::Source as EventSource>::Position>;
}

/// Source of the events of a NAPI instance. It is used while nobody owns the instance.
pub trait EventSource: Send + Sync + 'static {
    /// Position in the event queues.
    type Position: Copy;

    /// Arms the interrupt for the next event. Returns whether there is an event at `position`
    /// already, of which there may be no interrupt. Softirq context.
    ///
    /// Others may poll the instance at the same time.
    fn arm(&self, position: Self::Position) -> bool;
}

/// Instance as its poll function may use it.
pub struct PollContext<'a> {
    napi: NonNull<bindings::napi_struct>,
    dev: &'a Device,
    budget: c_int,
    /// Number of this processor, which stays the same as long as bottom halves are off.
    cpu: u32,
    _context: NotThreadSafe,
}

impl PollContext<'_> {
    /// Returns the device.
    #[inline]
    pub fn device(&self) -> &Device {
        self.dev
    }

    /// Allocates a receive buffer for frames of up to `capacity` bytes; `None` if there is no memory, or
    /// `capacity` is above a megabyte.
    #[inline]
    pub fn alloc(&self, capacity: u32) -> Option<RxBuffer> {
        if capacity > RxBuffer::MAX_CAPACITY {
            return None;
        }
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
        // SAFETY: The instance is valid, and we are in its poll function.
        unsafe { buffer.deliver(self.napi.as_ptr(), meta) }
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

        // SAFETY: `len` bytes are inside of the window.
        unsafe { self.deliver_copy(frame.as_ptr(), meta) }
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
        // SAFETY: `len` bytes are inside of the buffer.
        unsafe { self.deliver_copy(buffer.data().cast_const(), meta) }
    }

    /// Copies a received frame and hands the copy to the stack.
    ///
    /// # Errors
    ///
    /// `EMSGSIZE` if the frame is shorter than an Ethernet header; `ENOMEM`.
    ///
    /// # Safety
    ///
    /// From `data`, `len` bytes can be read. The adapter may write them meanwhile.
    #[inline]
    unsafe fn deliver_copy(&self, data: *const u8, meta: &RxMeta) -> Result {
        let buffer = self.alloc(meta.len).ok_or(ENOMEM)?;
        if !buffer.has_room_for(meta.len) {
            return Err(EMSGSIZE);
        }
        // SAFETY: By the safety requirement, and the buffer has the room. They are different memory. Any bytes
        // make a valid `u8`; they are read once.
        unsafe { core::ptr::copy_nonoverlapping(data, buffer.data(), meta.len as usize) };
        // SAFETY: The instance is valid, and we are in its poll function. The length was checked.
        unsafe { buffer.deliver_checked(self.napi.as_ptr(), meta) };
        Ok(())
    }

    /// Frees a buffer after it has been sent, with all of its pages; cheaper than [`SkBuff::consume`].
    ///
    /// No page has to wait for anything else, so that memory can be removed.
    #[inline]
    pub fn consume(&self, skb: SkBuff) {
        // With a budget, a buffer is left to the processor that has allocated it, which frees it when it
        // next receives something: perhaps never.
        let budget = if skb.allocated_on() == self.cpu {
            self.budget
        } else {
            0
        };
        // SAFETY: The buffer is valid and given away; the budget is that of this poll, or 0, which suits any
        // context.
        unsafe { bindings::napi_consume_skb(skb.into_raw(), budget) };
    }
}

/// A NAPI instance.
///
/// Users, and the stack, know of it while there is a [`QueueLink`]; without one it is never polled.
///
/// # Invariants
///
/// - `raw` is initialised as an instance that isn't polled, or was added to `dev` if `state` says so.
/// - The bits [`OWNED`] of the instance belong to `self`, except when `state` says that it is added,
///   enabled and not borrowed, and while the mutex is held. Who has them isn't polled.
/// - `poll` is accessed only by the poll function, or by the one [`Disabled`] that exists if
///   `state` says that it is borrowed.
#[pin_data]
pub struct Napi<T: Poll> {
    #[pin]
    raw: Opaque<bindings::napi_struct>,
    dev: ARef<Device>,
    index: u16,
    #[pin]
    state: Mutex<State>,
    source: T::Source,
    poll: UnsafeCell<T>,
    #[pin]
    _pin: PhantomPinned,
}

struct State {
    added: bool,
    enabled: bool,
    borrowed: bool,
}

impl State {
    /// Checks whether the instance may be polled.
    fn is_free(&self) -> bool {
        self.added && self.enabled && !self.borrowed
    }
}

// CAST: `unsigned long` has 64 bits here.
const SCHED: usize = bindings::NAPIF_STATE_SCHED as usize;
const NPSVC: usize = bindings::NAPIF_STATE_NPSVC as usize;
const DISABLE: usize = bindings::NAPIF_STATE_DISABLE as usize;

/// The bits of an instance's state that whoever polls it has one of: the stack, or netpoll.
const OWNED: usize = SCHED | NPSVC;

/// In which intervals is looked whether the instance is polled.
const SEIZE_INTERVAL: Delta = Delta::from_micros(20);

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
    // SAFETY: By the safety requirement the instance is part of a `Napi<T>`. That is alive as long as the
    // instance is added, and pinned.
    let this = unsafe { &*container_of!(Opaque::cast_from(napi), Napi<T>, raw) };
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
        cpu: CpuId::current().as_u32(),
        _context: NotThreadSafe,
    };

    let limit = u32::try_from(budget).unwrap_or(0);
    let done = poll.poll(&ctx, limit).min(limit);
    if limit == 0 {
        return 0;
    }
    if done == limit {
        return budget;
    }
    let position = poll.position();
    // CAST: Below `budget`.
    let done = done as c_int;
    // SAFETY: Called once by the owner of the SCHED bit, which it gives up; `poll` isn't used any
    // more. Bottom halves are off until the callback returns, so that `remove()`, which waits for them,
    // keeps the instance alive.
    let idle = unsafe { bindings::napi_complete_done(napi.as_ptr(), done) };
    // Else the stack polls again by itself: busily, or when a timer has expired that users have set. No
    // interrupt is wanted until then.
    if idle && position.is_some_and(|position| this.source.arm(position)) {
        this.schedule();
    }
    done
}

impl<T: Poll> Napi<T> {
    /// Makes an instance, disabled. Process context.
    ///
    /// What users set for number `index`, and the number that they know the instance by, are those of
    /// the instance that had this number before.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the device has no queue of this number.
    pub fn new(dev: &Device, index: u16, source: T::Source, poll: T) -> impl PinInit<Self, Error> {
        let dev: ARef<Device> = dev.into();

        try_pin_init!(Self {
            // INVARIANT: The bits are set, and it isn't added.
            raw: Opaque::new(bindings::napi_struct {
                state: OWNED,
                ..pin_init::zeroed()
            }),
            _: {
                if !dev.has_napi_config(index) {
                    return Err(EINVAL);
                }
            },
            dev,
            index,
            state <- new_mutex!(State {
                added: false,
                enabled: false,
                borrowed: false,
            }),
            source,
            poll: UnsafeCell::new(poll),
            _pin: PhantomPinned,
        })
    }

    fn bits(&self) -> &AtomicUsize {
        // SAFETY: The instance is initialised. C accesses the field atomically.
        unsafe { AtomicUsize::from_ptr(&raw mut (*self.raw.get()).state) }
    }

    /// Waits until the instance isn't polled, and takes the bits. It is added.
    ///
    /// As `napi_disable()` does it, which takes the instance lock of the device. That can't be had in a
    /// memory notifier: under the lock that it is called with, memory is allocated under this one.
    fn seize(&self) {
        // Whoever polls without an end comes to one.
        self.bits().fetch_or(DISABLE, Relaxed);
        loop {
            let bits = self.bits().load(Relaxed);
            if bits & OWNED != 0 {
                fsleep(SEIZE_INTERVAL);
                continue;
            }
            // Pairs with who gives the bits back: what the poll function did is seen.
            let taken = self
                .bits()
                .compare_exchange(bits, bits | OWNED, Acquire, Relaxed);
            if taken.is_ok() {
                break;
            }
        }
        self.bits().fetch_and(!DISABLE, Relaxed);
    }

    /// Gives the bits back, and has the instance polled once, because events may have passed unseen. It is
    /// added, and the bits are ours.
    fn release(&self) {
        let _polled_on_drop = BottomHalvesOff::new();

        self.bits().fetch_and(!NPSVC, Release);
        // SAFETY: The instance is added. The other bit is given to whoever polls it now.
        unsafe { bindings::__napi_schedule(self.raw.get()) };
    }

    /// Changes the state, and seizes or releases the instance accordingly.
    fn change(&self, state: &mut State, to: impl FnOnce(&mut State)) {
        let was_free = state.is_free();
        to(state);
        // INVARIANT: As the state says.
        match (was_free, state.is_free()) {
            (true, false) => self.seize(),
            (false, true) => self.release(),
            _ => {}
        }
    }

    /// Makes the instance ready to be scheduled, and schedules it once, because events may have
    /// passed unseen; no effect if it is enabled. If it isn't linked, or its state is borrowed, it is
    /// enabled as soon as that changes. Process context.
    pub fn enable(&self) {
        self.change(&mut self.state.lock(), |state| state.enabled = true);
    }

    /// Waits until the instance isn't polled and keeps it from being polled; no effect if it is
    /// disabled. Process context.
    pub fn disable(&self) {
        self.change(&mut self.state.lock(), |state| state.enabled = false);
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
        self.change(&mut state, |state| state.borrowed = true);
        // INVARIANT: It is disabled, and stays so until `borrowed` is reset by the guard.
        Ok(Disabled { napi: self })
    }

    /// Schedules the instance to be polled. No effect while it is disabled. Any context.
    #[inline]
    pub fn schedule(&self) {
        // SAFETY: By the type invariant the instance is valid. If it isn't added, the bits are ours.
        unsafe {
            if bindings::napi_schedule_prep(self.raw.get()) {
                bindings::__napi_schedule(self.raw.get());
            }
        }
    }

    /// Adds the instance, which interrupt `irq` schedules, to its device.
    fn add(&self, irq: c_int, lock: &InstanceLock<'_>) -> Result {
        if !lock.is_of(&self.dev) {
            return Err(EINVAL);
        }
        let mut state = self.state.lock();
        if state.added || state.borrowed {
            return Err(EBUSY);
        }
        let raw = self.raw.get();
        // SAFETY: The instance isn't added, the number is that of a queue, and the instance lock is held.
        // The callback is for instances of this type.
        unsafe {
            let dev = self.dev.as_raw();
            (*raw).index = self.index.into();
            (*raw).config = (*dev).napi_config.add(self.index.into());
            bindings::netif_napi_add_weight_locked(
                dev,
                raw,
                Some(poll_callback::<T>),
                bindings::NAPI_POLL_WEIGHT as c_int,
            );
        }
        // SAFETY: Just added, hence disabled; the instance lock is held. What users have set for the
        // interrupt is restored as the instance is enabled.
        unsafe {
            bindings::netif_napi_set_irq_locked(raw, irq);
            bindings::napi_enable_locked(raw);
        }
        state.added = true;
        // INVARIANT: As the state says.
        if state.is_free() {
            let _polled_on_drop = BottomHalvesOff::new();
            self.schedule();
        } else {
            self.seize();
        }
        Ok(())
    }

    /// Removes the instance from its device.
    ///
    /// # Errors
    ///
    /// `EBUSY` if its state is lent, `EINVAL` if the lock is of another device.
    fn remove(&self, lock: &InstanceLock<'_>) -> Result {
        if !lock.is_of(&self.dev) {
            return Err(EINVAL);
        }
        let mut state = self.state.lock();
        if state.borrowed {
            return Err(EBUSY);
        }
        if !state.is_free() {
            // They are taken below. It may be polled meanwhile: nobody has borrowed its state.
            self.bits().fetch_and(!OWNED, Release);
        }
        let raw = self.raw.get();
        // SAFETY: The instance is added and enabled, and the instance lock is held.
        unsafe { bindings::napi_disable_locked(raw) };
        // SAFETY: The instance is added and disabled, and the instance lock is held. Whoever reads the
        // list of instances under RCU is waited for.
        unsafe {
            bindings::__netif_napi_del_locked(raw);
            bindings::synchronize_net();
        }
        // INVARIANT: The bits stay set.
        state.added = false;
        Ok(())
    }
}

/// Guard. Bottom halves are off on this processor until it is dropped. Process context.
///
/// An instance that is scheduled meanwhile is polled when the guard is dropped. Without one, a thread has to be
/// woken for that, so that the instance stays scheduled for as long as that takes, and whoever seizes it waits.
struct BottomHalvesOff(NotThreadSafe);

impl BottomHalvesOff {
    fn new() -> Self {
        // SAFETY: May be called in any context; undone on drop, on the same processor.
        unsafe { bindings::rust_ext_local_bh_disable() };
        Self(NotThreadSafe)
    }
}

impl Drop for BottomHalvesOff {
    fn drop(&mut self) {
        // SAFETY: They were turned off in `new()`. This is process context, with interrupts on.
        unsafe { bindings::rust_ext_local_bh_enable() };
    }
}

/// Makes a [`Napi`] instance the one that serves the receive queue and the transmit queue of its number,
/// and has it polled when it is enabled. To be ended by [`QueueLink::unlink`].
///
/// # Invariants
///
/// As long as the queues refer to the instance, `napi` owns it; it is added.
pub struct QueueLink<T: Poll> {
    napi: Option<Arc<Napi<T>>>,
}

impl<T: Poll> QueueLink<T> {
    /// Links both queues with the instance, and the instance with the interrupt that schedules it.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the device hasn't both queues, or `lock` is of another one; `EBUSY` if the instance or
    /// another one of its number is linked, or its state is lent.
    pub fn new(napi: &Arc<Napi<T>>, irq: u32, lock: &InstanceLock<'_>) -> Result<Self> {
        if !napi.dev.has_queue_pair(napi.index) || !lock.is_of(&napi.dev) {
            return Err(EINVAL);
        }
        // SAFETY: There is such a queue. Its instance changes under the instance lock, which is held.
        let linked = unsafe { (*(*napi.dev.as_raw())._tx.add(napi.index.into())).napi };
        if !linked.is_null() {
            return Err(EBUSY);
        }
        napi.add(c_int::try_from(irq).unwrap_or(NO_IRQ), lock)?;
        // INVARIANT: Added just now.
        let this = Self {
            napi: Some(napi.clone()),
        };
        this.set(napi.raw.get());
        Ok(this)
    }

    /// Makes the queues refer to `instance`.
    fn set(&self, instance: *mut bindings::napi_struct) {
        let Some(napi) = &self.napi else {
            return;
        };
        let (dev, queue) = (napi.dev.as_raw(), c_uint::from(napi.index));
        for kind in [
            bindings::netdev_queue_type_NETDEV_QUEUE_TYPE_RX,
            bindings::netdev_queue_type_NETDEV_QUEUE_TYPE_TX,
        ] {
            // SAFETY: Both queues were found in `new()`; callers have the instance lock. The instance is
            // NULL or added.
            unsafe { bindings::netif_queue_set_napi(dev, queue, kind, instance) };
        }
    }

    /// Ends the link.
    pub fn unlink(mut self, lock: &InstanceLock<'_>) {
        if let Some(napi) = &self.napi {
            if !lock.is_of(&napi.dev) {
                return;
            }
            self.set(core::ptr::null_mut());
            // SAFETY: The instance is added; the instance lock is held.
            unsafe { bindings::netif_napi_set_irq_locked(napi.raw.get(), NO_IRQ) };
            if napi.remove(lock).is_ok() {
                // INVARIANT: The queues don't refer to the instance any more.
                self.napi = None;
            }
        }
    }
}

/// Value of `napi_struct::irq` without an interrupt.
const NO_IRQ: c_int = -1;

impl<T: Poll> Drop for QueueLink<T> {
    fn drop(&mut self) {
        // Without the lock the stack can't be told. It must not refer to something freed.
        if let Some(napi) = self.napi.take() {
            pr_err!("a NAPI instance was not unlinked, which is leaked\n");
            core::mem::forget(napi);
        }
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

        self.napi.change(&mut state, |state| state.borrowed = false);
    }
}
