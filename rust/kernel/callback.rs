// SPDX-License-Identifier: GPL-2.0

//! C structures that call back.

use core::marker::PhantomPinned;
use kernel::{
    container_of,
    prelude::*,
    types::Opaque, //
};

/// A C structure, pinned, together with the handler of its callback.
///
/// The callback gets a pointer to the structure, or to a part of it, and finds the handler with
/// [`Callback::handler`].
#[pin_data]
pub(super) struct Callback<C, H> {
    #[pin]
    raw: Opaque<C>,
    #[pin]
    handler: H,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: The structure is used by those functions of C only that its owner calls, which has to say for
// itself what threads may do with it.
unsafe impl<C, H: Send> Send for Callback<C, H> {}

// SAFETY: As for `Send`.
unsafe impl<C, H: Sync> Sync for Callback<C, H> {}

impl<C, H> Callback<C, H> {
    /// Initialises the handler, and then the structure with `init`, after which there may be calls.
    ///
    /// # Errors
    ///
    /// Those of both.
    pub(super) fn new<E>(
        handler: impl PinInit<H, E>,
        init: impl FnOnce(*mut C) -> Result,
    ) -> impl PinInit<Self, Error>
    where
        Error: From<E>,
    {
        try_pin_init!(Self {
            handler <- handler,
            _pin: PhantomPinned,
            raw <- Opaque::try_ffi_init(init),
        }? Error)
    }

    /// Returns the structure.
    pub(super) fn as_raw(&self) -> *mut C {
        self.raw.get()
    }

    /// Returns the handler.
    pub(super) fn get(&self) -> &H {
        &self.handler
    }

    /// Returns the handler of a structure.
    ///
    /// # Safety
    ///
    /// `raw` is the structure of a `Callback<C, H>` that is not dropped for `'a`.
    pub(super) unsafe fn handler<'a>(raw: *mut C) -> &'a H {
        // SAFETY: By the safety requirement. The handler was initialised before the structure.
        unsafe { &(*container_of!(Opaque::cast_from(raw), Self, raw)).handler }
    }
}

/// Returns `Some(callback)` for a table of operations if the driver has the operation.
macro_rules! optional {
    ($has:expr, $callback:expr) => {
        if $has {
            Some($callback)
        } else {
            None
        }
    };
}
pub(super) use optional;
