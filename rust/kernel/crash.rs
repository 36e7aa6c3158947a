// SPDX-License-Identifier: GPL-2.0

//! Handlers for a crash of the kernel, called before another one starts that takes a dump
//! (kdump), and whether this is such a kernel.
//!
//! C headers: `arch/powerpc/include/asm/kexec.h`, `include/linux/crash_dump.h`

use super::{
    bindings,
    callback::Callback,
    module_lock::ModuleLock, //
};
use core::{
    ops::Deref,
    ptr::null_mut,
    sync::atomic::{
        AtomicPtr,
        Ordering::{
            Acquire,
            Relaxed,
            Release, //
        }, //
    }, //
};
use kernel::prelude::*;

/// Checks whether this is a kernel that takes a dump. It has little memory and need not be fast.
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

/// An element of the list of handlers.
struct Element {
    next: AtomicPtr<Element>,
    call: unsafe fn(*mut Element),
}

/// The first handler of this module.
///
/// The kernel has room for few functions, and gives them no argument, so [`crashed`] is registered for
/// all handlers while there are any. The list is changed under the module's lock, and read without: a
/// crash stops all CPUs for ever before it calls, so that it may find a change half done, but never one
/// that goes on. Each link is changed by one store.
static FIRST: AtomicPtr<Element> = AtomicPtr::new(null_mut());

/// Calls all handlers.
///
/// # Safety
///
/// Nobody adds or removes a handler meanwhile.
pub(crate) unsafe extern "C" fn crashed() {
    let mut element = FIRST.load(Acquire);
    while !element.is_null() {
        // SAFETY: Elements are removed before they are dropped, and by the safety requirement that doesn't
        // happen now.
        let (call, next) = unsafe { ((*element).call, (*element).next.load(Acquire)) };
        // SAFETY: As above. The function is the one for this element.
        unsafe { call(element) };
        element = next;
    }
}

/// Adds a handler.
///
/// # Safety
///
/// `element` is valid, and in the list of no module, until [`remove`] is called.
unsafe fn add(element: *mut Element) -> Result {
    let _lock = ModuleLock::take();
    let first = FIRST.load(Relaxed);
    if first.is_null() {
        // SAFETY: The function is there until the last handler is removed.
        let full = unsafe { bindings::rust_ext_crash_shutdown_register(Some(crashed)) };
        if full != 0 {
            return Err(ENOSPC);
        }
    }
    // SAFETY: By the safety requirement.
    unsafe { (*element).next.store(first, Relaxed) };
    FIRST.store(element, Release);
    Ok(())
}

/// Removes a handler.
///
/// # Safety
///
/// `element` was added.
unsafe fn remove(element: *mut Element) {
    let _lock = ModuleLock::take();
    let mut link = &FIRST;
    loop {
        let next = link.load(Relaxed);
        if next == element {
            break;
        }
        // SAFETY: Elements of the list are valid. It ends behind `element`, if at all.
        link = unsafe { &(*next).next };
    }
    // SAFETY: By the safety requirement.
    let rest = unsafe { (*element).next.load(Relaxed) };
    link.store(rest, Release);
    if FIRST.load(Relaxed).is_null() {
        // SAFETY: Registered with the first handler.
        unsafe { bindings::rust_ext_crash_shutdown_unregister(Some(crashed)) };
    }
}

/// A handler that is called when the kernel has crashed; gives access to it.
///
/// Without `CONFIG_CRASH_DUMP` it is never called.
///
/// # Invariants
///
/// The element is in the list, with [`call`] for the handler.
#[pin_data(PinnedDrop)]
pub struct Registration<H: Handler> {
    #[pin]
    element: Callback<Element, H>,
}

/// # Safety
///
/// `element` is that of a `Registration<H>`.
unsafe fn call<H: Handler>(element: *mut Element) {
    // SAFETY: It is removed before it is dropped, and nothing else runs any more that could do so
    // meanwhile.
    unsafe { Callback::<_, H>::handler(element) }.crashed();
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
        let register = |raw: *mut Element| {
            let element = Element {
                next: AtomicPtr::new(null_mut()),
                call: call::<H>,
            };
            // SAFETY: `raw` can be written, and is pinned until `drop()` has removed it. The function suits
            // the type of the handler, which is initialised.
            unsafe {
                raw.write(element);
                add(raw)
            }
        };

        // INVARIANT: The registration is the last step.
        try_pin_init!(Self {
            element <- Callback::new(handler, register),
        })
    }
}

impl<H: Handler> Deref for Registration<H> {
    type Target = H;

    fn deref(&self) -> &H {
        self.element.get()
    }
}

#[pinned_drop]
impl<H: Handler> PinnedDrop for Registration<H> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant it is in the list; it is removed only here.
        unsafe { remove(self.element.as_raw()) };
    }
}
