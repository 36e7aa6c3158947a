// SPDX-License-Identifier: GPL-2.0

//! Memory hotplug notifications.
//!
//! C header: `include/linux/memory.h`

use super::{
    bindings, //
    memory::Range,
};
use core::{
    marker::PhantomPinned,
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    error::{
        from_err_ptr,
        from_result, //
    },
    prelude::*, //
};

/// What happens to a range of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// About to come online; may be refused.
    GoingOnline,
    /// Didn't come online after all, because somebody refused it or it failed.
    CancelOnline,
    /// Online: its pages can be allocated, and may have been already.
    Online,
    /// About to go offline; may be refused.
    GoingOffline,
    /// Stays online after all, because somebody refused it or it failed.
    CancelOffline,
    /// Offline: firmware may take it.
    Offline,
}

impl Event {
    /// From `RUST_EXT_MEMORY_*`.
    fn from_raw(event: u32) -> Option<Self> {
        Some(match event {
            bindings::rust_ext_memory_event_RUST_EXT_MEMORY_GOING_ONLINE => Self::GoingOnline,
            bindings::rust_ext_memory_event_RUST_EXT_MEMORY_CANCEL_ONLINE => Self::CancelOnline,
            bindings::rust_ext_memory_event_RUST_EXT_MEMORY_ONLINE => Self::Online,
            bindings::rust_ext_memory_event_RUST_EXT_MEMORY_GOING_OFFLINE => Self::GoingOffline,
            bindings::rust_ext_memory_event_RUST_EXT_MEMORY_CANCEL_OFFLINE => Self::CancelOffline,
            bindings::rust_ext_memory_event_RUST_EXT_MEMORY_OFFLINE => Self::Offline,
            _ => return None,
        })
    }
}

/// The receiver of memory hotplug notifications.
pub trait Handler: Send + Sync + 'static {
    /// Called for each event, with the range it is about.
    ///
    /// Process context, may sleep; events come one at a time, but may come before
    /// [`MemoryNotifier::new`] has returned. The memory hotplug lock is held for writing: neither
    /// take RTNL nor wait for somebody who may allocate memory by onlining it.
    ///
    /// # Errors
    ///
    /// An error refuses [`Event::GoingOnline`] and [`Event::GoingOffline`]; it has no effect on
    /// the others.
    fn notify(&self, event: Event, range: Range) -> Result;
}

/// A registration for memory hotplug notifications; gives access to its handler.
///
/// On drop it waits for a notification that is being handled, so it must not be dropped by its
/// handler.
///
/// # Invariants
///
/// `raw` is a live registration that calls back with the address of `handler`.
#[pin_data(PinnedDrop)]
pub struct MemoryNotifier<H: Handler> {
    #[pin]
    handler: H,
    raw: NonNull<bindings::rust_ext_memory_notifier>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: The registration isn't bound to a thread, and `H` is `Send`.
unsafe impl<H: Handler> Send for MemoryNotifier<H> {}

// SAFETY: Through a shared reference there is access to the handler only, which is `Sync`.
unsafe impl<H: Handler> Sync for MemoryNotifier<H> {}

/// # Safety
///
/// `context` points to an `H` that is alive.
unsafe extern "C" fn notify_callback<H: Handler>(
    context: *mut c_void,
    event: u32,
    base: u64,
    len: u64,
) -> c_int {
    // SAFETY: `context` is the address of the pinned handler of a `MemoryNotifier<H>`, set when it
    // was registered after the handler had been initialised. The handler is alive, because
    // unregistration waits for this function to return and comes before its drop.
    let handler = unsafe { &*context.cast_const().cast::<H>() };

    match Event::from_raw(event) {
        Some(event) => from_result(|| handler.notify(event, Range { base, len }).map(|()| 0)),
        None => 0,
    }
}

impl<H: Handler> MemoryNotifier<H> {
    /// Initialises `handler` and registers it. Process context.
    ///
    /// # Errors
    ///
    /// Those of the initialiser; `ENOMEM`.
    pub fn new<E>(handler: impl PinInit<H, E>) -> impl PinInit<Self, Error>
    where
        Error: From<E>,
    {
        try_pin_init!(&this in Self {
            handler <- handler,
            _pin: PhantomPinned,
            // INVARIANT: The registration has just succeeded.
            raw: {
                // SAFETY: `this` is valid for the whole of `Self`; no reference is made.
                let context = unsafe { &raw mut (*this.as_ptr()).handler };
                // SAFETY: The callback suits the type of `context`. `Self` is pinned, so `context`
                // stays valid until `drop()` has unregistered it; the handler is initialised.
                let raw = from_err_ptr(unsafe {
                    bindings::rust_ext_memory_notifier_register(Some(notify_callback::<H>), context.cast())
                })?;
                NonNull::new(raw).ok_or(ENOMEM)?
            },
        }? Error)
    }
}

impl<H: Handler> Deref for MemoryNotifier<H> {
    type Target = H;

    fn deref(&self) -> &H {
        &self.handler
    }
}

#[pinned_drop]
impl<H: Handler> PinnedDrop for MemoryNotifier<H> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant `raw` is registered; it is unregistered only here.
        unsafe { bindings::rust_ext_memory_notifier_unregister(self.raw.as_ptr()) };
    }
}
