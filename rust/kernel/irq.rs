// SPDX-License-Identifier: GPL-2.0

//! Interrupts that aren't described by the device tree: numbers that firmware returns.
//!
//! C headers: `include/linux/irqdomain.h`, `include/linux/interrupt.h`

use core::marker::PhantomPinned;
use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    str::CString, //
};

pub use kernel::irq::{
    Handler,
    IrqReturn, //
};

/// The mapping of a hardware interrupt number in the default domain, disposed on drop.
///
/// # Invariants
///
/// `irq` is a mapping that `self` created.
pub struct Mapping {
    irq: u32,
}

impl Mapping {
    /// Maps hardware interrupt `hw` (a global interrupt number of the platform). Process context.
    ///
    /// # Errors
    ///
    /// `EBUSY` if it is mapped already: somebody else uses it. `ENXIO` if it can't be mapped.
    pub fn new(hw: u32) -> Result<Self> {
        let hw = hw as usize;

        // SAFETY: A NULL domain is the default domain; no resolved number is asked for.
        let known = unsafe {
            bindings::__irq_resolve_mapping(core::ptr::null_mut(), hw, core::ptr::null_mut())
        };
        if !known.is_null() {
            return Err(EBUSY);
        }

        // SAFETY: A NULL domain is the default domain, NULL affinity is the default affinity.
        let irq = unsafe {
            bindings::irq_create_mapping_affinity(core::ptr::null_mut(), hw, core::ptr::null())
        };
        match irq {
            0 => Err(ENXIO),
            // INVARIANT: Just created.
            irq => Ok(Self { irq }),
        }
    }

    /// Returns the kernel's number for the interrupt.
    pub fn irq(&self) -> u32 {
        self.irq
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the mapping is ours. No handler is registered with it any
        // more: a `Registration` owns its mapping, and frees the interrupt first.
        unsafe { bindings::irq_dispose_mapping(self.irq) };
    }
}

/// A handler registered for an interrupt, freed on drop together with the mapping.
///
/// The drop waits for a handler that is running.
///
/// # Invariants
///
/// `handle_callback` is registered for `mapping` with the address of `self` as its cookie.
#[pin_data(PinnedDrop)]
pub struct Registration<H: Handler + Send + 'static> {
    #[pin]
    handler: H,
    mapping: Mapping,
    // The kernel keeps a pointer to it (/proc/interrupts), so it lives as long as the registration.
    name: CString,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: Interrupts may be freed by another thread than that which requested them; `H` is `Send`.
unsafe impl<H: Handler + Send> Send for Registration<H> {}

// SAFETY: Shared access is to the handler only, and handlers are `Sync`.
unsafe impl<H: Handler + Send> Sync for Registration<H> {}

/// # Safety
///
/// `cookie` points to a `Registration<H>` that is alive.
unsafe extern "C" fn handle_callback<H: Handler + Send + 'static>(
    _irq: c_int,
    cookie: *mut c_void,
) -> bindings::irqreturn_t {
    // SAFETY: The cookie is the address of a pinned `Registration<H>` whose handler was
    // initialised before the interrupt was requested, and which is alive since its drop waits for
    // this function to return.
    let registration = unsafe { &*cookie.cast_const().cast::<Registration<H>>() };

    bindings::irqreturn_t(registration.handler.handle() as c_uint)
}

impl<H: Handler + Send + 'static> Registration<H> {
    /// Initialises `handler` and registers it for the interrupt of `mapping`, named `name` in
    /// `/proc/interrupts`. Process context.
    ///
    /// The handler may be called before this returns.
    ///
    /// # Errors
    ///
    /// Those of the initialiser and of `request_irq()`.
    pub fn new<E>(
        mapping: Mapping,
        name: CString,
        handler: impl PinInit<H, E>,
    ) -> impl PinInit<Self, Error>
    where
        Error: From<E>,
    {
        let irq = mapping.irq;
        // The string is on the heap and doesn't move with its owner.
        let name_ptr = name.as_char_ptr();

        try_pin_init!(&this in Self {
            handler <- handler,
            mapping,
            name,
            _pin: PhantomPinned,
            // INVARIANT: The request is the last step.
            _: {
                // SAFETY: All fields are initialised. The callback suits the type of the cookie,
                // which is pinned until `drop()` has freed the interrupt; so is the name.
                to_result(unsafe {
                    bindings::request_irq(
                        irq,
                        Some(handle_callback::<H>),
                        0,
                        name_ptr,
                        this.as_ptr().cast(),
                    )
                })?
            },
        }? Error)
    }

    /// Returns the mapping.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }
}

#[pinned_drop]
impl<H: Handler + Send + 'static> PinnedDrop for Registration<H> {
    fn drop(self: Pin<&mut Self>) {
        let irq = self.mapping.irq;
        // SAFETY: The reference is used for its address only.
        let cookie = core::ptr::from_mut(unsafe { self.get_unchecked_mut() });

        // SAFETY: By the type invariant the interrupt is registered with this cookie. Fields are
        // dropped afterwards.
        unsafe { bindings::free_irq(irq, cookie.cast()) };
    }
}
