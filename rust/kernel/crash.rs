// SPDX-License-Identifier: GPL-2.0

//! What is to be done when the kernel has crashed, before another one starts that takes a dump
//! (kdump), and whether this is such a kernel.
//!
//! C headers: `arch/powerpc/include/asm/kexec.h`, `include/linux/crash_dump.h`

use super::bindings;
use core::{
    marker::PhantomPinned,
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    error::from_err_ptr,
    prelude::*, //
};

/// Whether this is a kernel that takes a dump. It has little memory, and not to be fast.
pub fn is_dump_kernel() -> bool {
    // SAFETY: No precondition.
    unsafe { bindings::rust_ext_is_dump_kernel() }
}

/// Something to be done when the kernel has crashed.
pub trait Handler: Send + Sync + 'static {
    /// Called by the CPU that crashed, with interrupts disabled, if a kernel is loaded that takes a
    /// dump.
    ///
    /// All other CPUs have stopped for ever, wherever they were, and so has whatever this CPU was
    /// doing. So it must neither sleep nor allocate, and a lock that is taken stays taken: use
    /// `try_lock()`, and do without what the lock protects if that fails. A fault ends the call, and
    /// nothing is dropped.
    fn crashed(&self);
}

/// A handler that is called when the kernel has crashed; gives access to it.
///
/// Without `CONFIG_CRASH_DUMP` it is never called.
///
/// # Invariants
///
/// `raw` is a live registration that calls back with the address of `handler`.
#[pin_data(PinnedDrop)]
pub struct Registration<H: Handler> {
    #[pin]
    handler: H,
    raw: NonNull<bindings::rust_ext_crash_handler>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: The registration isn't bound to a thread, and `H` is `Send`.
unsafe impl<H: Handler> Send for Registration<H> {}

// SAFETY: Through a shared reference there is access to the handler only, which is `Sync`.
unsafe impl<H: Handler> Sync for Registration<H> {}

/// # Safety
///
/// `context` points to an `H` that is alive.
unsafe extern "C" fn crashed_callback<H: Handler>(context: *const c_void) {
    // SAFETY: `context` is the address of the pinned handler of a `Registration<H>`, set when it was
    // registered after the handler had been initialised. It is unregistered before it is dropped,
    // and nothing else runs any more that could drop it meanwhile.
    let handler = unsafe { &*context.cast::<H>() };

    handler.crashed();
}

impl<H: Handler> Registration<H> {
    /// Initialises `handler` and registers it. Process context.
    ///
    /// # Errors
    ///
    /// Those of the initialiser; `ENOMEM`; `ENOSPC` if the kernel has no room for another module's
    /// handlers.
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
                let context = unsafe { &raw const (*this.as_ptr()).handler };
                // SAFETY: The callback suits the type of `context`. `Self` is pinned, so `context`
                // stays valid until `drop()` has unregistered it; the handler is initialised.
                let raw = from_err_ptr(unsafe {
                    bindings::rust_ext_crash_register(Some(crashed_callback::<H>), context.cast())
                })?;
                NonNull::new(raw).ok_or(ENOMEM)?
            },
        }? Error)
    }
}

impl<H: Handler> Deref for Registration<H> {
    type Target = H;

    fn deref(&self) -> &H {
        &self.handler
    }
}

#[pinned_drop]
impl<H: Handler> PinnedDrop for Registration<H> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant `raw` is registered; it is unregistered only here.
        unsafe { bindings::rust_ext_crash_unregister(self.raw.as_ptr()) };
    }
}
