// SPDX-License-Identifier: GPL-2.0

//! What is to be done when the kernel has crashed, before another one starts that takes a dump
//! (kdump), and whether this is such a kernel.
//!
//! C headers: `arch/powerpc/include/asm/kexec.h`, `include/linux/crash_dump.h`

use super::{
    bindings,
    callback::Callback, //
};
use core::ops::Deref;
use kernel::{
    error::to_result,
    prelude::*, //
};

/// Whether this is a kernel that takes a dump. It has little memory and need not be fast.
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
/// The structure is registered, with [`crashed_callback`] for the handler.
#[pin_data(PinnedDrop)]
pub struct Registration<H: Handler> {
    #[pin]
    registration: Callback<bindings::rust_ext_crash_handler, H>,
}

/// # Safety
///
/// `raw` is the structure of a `Registration<H>`.
unsafe extern "C" fn crashed_callback<H: Handler>(raw: *mut bindings::rust_ext_crash_handler) {
    // SAFETY: It is unregistered before it is dropped, and nothing else runs any more that could do so
    // meanwhile.
    unsafe { Callback::<_, H>::handler(raw) }.crashed();
}

impl<H: Handler> Registration<H> {
    /// Initialises `handler` and registers it. Process context.
    ///
    /// # Errors
    ///
    /// Those of the initialiser; `ENOSPC` if the kernel has no room for another module's handlers.
    pub fn new<E>(handler: impl PinInit<H, E>) -> impl PinInit<Self, Error>
    where
        Error: From<E>,
    {
        let register = |raw: *mut bindings::rust_ext_crash_handler| {
            // SAFETY: `raw` can be written, and is pinned until `drop()` has unregistered it. The callback
            // suits the type of the handler, which is initialised.
            to_result(unsafe {
                bindings::rust_ext_crash_register(raw, Some(crashed_callback::<H>))
            })
        };

        // INVARIANT: The registration is the last step.
        try_pin_init!(Self {
            registration <- Callback::new(handler, register),
        })
    }
}

impl<H: Handler> Deref for Registration<H> {
    type Target = H;

    fn deref(&self) -> &H {
        self.registration.get()
    }
}

#[pinned_drop]
impl<H: Handler> PinnedDrop for Registration<H> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant it is registered; it is unregistered only here.
        unsafe { bindings::rust_ext_crash_unregister(self.registration.as_raw()) };
    }
}
