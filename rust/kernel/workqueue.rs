// SPDX-License-Identifier: GPL-2.0

//! Work items that are gone when their owner drops them.
//!
//! C header: `include/linux/workqueue.h`

use super::bindings;
use core::{
    marker::PhantomPinned,
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    prelude::*,
    time::Delta, //
};

/// What a work item does.
pub trait Handler: Send + Sync + 'static {
    /// Runs in process context on an unbound workqueue for long work; never in parallel with
    /// itself.
    ///
    /// `work` schedules the item again.
    fn run(&self, work: &WorkRef<'_>);
}

/// A reference to a work item, for scheduling.
pub struct WorkRef<'a> {
    raw: NonNull<bindings::rust_ext_work>,
    _owner: core::marker::PhantomData<&'a ()>,
}

impl WorkRef<'_> {
    /// Runs the work as soon as possible, also when it waits for its delay. Any context.
    ///
    /// A run that has begun already isn't enough: there will be another one.
    pub fn schedule(&self) {
        // SAFETY: The item is alive as long as the reference.
        unsafe { bindings::rust_ext_work_schedule(self.raw.as_ptr()) };
    }

    /// Runs the work after `delay`, unless it is scheduled for earlier or later already. Any
    /// context.
    pub fn schedule_after(&self, delay: Delta) {
        let msecs = u64::try_from(delay.as_millis()).unwrap_or(0);
        // SAFETY: The item is alive as long as the reference.
        unsafe { bindings::rust_ext_work_schedule_after(self.raw.as_ptr(), msecs) };
    }
}

/// A work item, immediate or delayed; gives access to its handler.
///
/// On drop the item is taken off the queue, and a run that has begun is waited for. It must not be
/// dropped by its handler, nor under a lock that the handler takes.
///
/// # Invariants
///
/// `raw` is a live work item that calls back with the address of `self`.
#[pin_data(PinnedDrop)]
pub struct Work<H: Handler> {
    raw: NonNull<bindings::rust_ext_work>,
    #[pin]
    handler: H,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: Work items aren't bound to a thread, and `H` is `Send`.
unsafe impl<H: Handler> Send for Work<H> {}

// SAFETY: The workqueue functions may be called by several threads at once; `H` is `Sync`.
unsafe impl<H: Handler> Sync for Work<H> {}

/// # Safety
///
/// `context` points to a `Work<H>` that is alive.
unsafe extern "C" fn run_callback<H: Handler>(context: *mut c_void) {
    // SAFETY: `context` is the address of a pinned `Work<H>` that was initialised when it was
    // first scheduled, and is alive because its drop waits for this function to return.
    let work = unsafe { &*context.cast_const().cast::<Work<H>>() };

    work.handler.run(&work.reference());
}

impl<H: Handler> Work<H> {
    /// Makes a work item that isn't scheduled.
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
            // INVARIANT: A new item, freed in `drop()` only. It isn't scheduled before `Self` is
            // complete, since nobody else knows it.
            raw: {
                let context = this.as_ptr().cast();
                // SAFETY: The callback suits the type of `context`; see the invariant.
                NonNull::new(unsafe { bindings::rust_ext_work_alloc(Some(run_callback::<H>), context) })
                    .ok_or(ENOMEM)?
            },
        }? Error)
    }

    fn reference(&self) -> WorkRef<'_> {
        WorkRef {
            raw: self.raw,
            _owner: core::marker::PhantomData,
        }
    }

    /// See [`WorkRef::schedule`].
    pub fn schedule(&self) {
        self.reference().schedule();
    }

    /// See [`WorkRef::schedule_after`].
    pub fn schedule_after(&self, delay: Delta) {
        self.reference().schedule_after(delay);
    }

    /// Runs the work now if it is scheduled, and waits until it has run. Not from its handler.
    pub fn flush(&self) {
        // SAFETY: By the type invariant the item is alive.
        unsafe { bindings::rust_ext_work_flush(self.raw.as_ptr()) };
    }

    /// Does what [`cancel`](Self::cancel) does, and keeps the work from being scheduled again.
    pub fn disable(&self) {
        // SAFETY: By the type invariant the item is alive.
        unsafe { bindings::rust_ext_work_disable(self.raw.as_ptr()) };
    }

    /// Takes the work off the queue and waits for a run that has begun. Not from its handler.
    pub fn cancel(&self) {
        // SAFETY: By the type invariant the item is alive.
        unsafe { bindings::rust_ext_work_cancel(self.raw.as_ptr()) };
    }
}

impl<H: Handler> Deref for Work<H> {
    type Target = H;

    fn deref(&self) -> &H {
        &self.handler
    }
}

#[pinned_drop]
impl<H: Handler> PinnedDrop for Work<H> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant the item is alive. It is disabled and waited for before it
        // is freed; the handler is dropped afterwards.
        unsafe { bindings::rust_ext_work_free(self.raw.as_ptr()) };
    }
}
