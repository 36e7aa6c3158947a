// SPDX-License-Identifier: GPL-2.0

//! Work items that are gone when their owner drops them.
//!
//! C header: `include/linux/workqueue.h`

use super::{
    bindings,
    callback::Callback, //
};
use core::{
    marker::PhantomData,
    ops::Deref, //
};
use kernel::{
    container_of,
    prelude::*,
    time::{
        msecs_to_jiffies,
        Delta,
        Msecs, //
    }, //
};

/// Work of an item.
pub trait Handler: Send + Sync + 'static {
    /// Runs in process context on an unbound workqueue for long work; never in parallel with
    /// itself.
    ///
    /// `work` schedules the item again.
    fn run(&self, work: &WorkRef<'_>);
}

/// A reference to a work item, for scheduling.
///
/// # Invariants
///
/// `raw` is initialised and not freed for `'a`.
pub struct WorkRef<'a> {
    raw: *mut bindings::delayed_work,
    _owner: PhantomData<&'a ()>,
}

impl WorkRef<'_> {
    /// Runs the work as soon as possible, also when it waits for its delay. Any context.
    ///
    /// A run that has begun already isn't enough: there will be another one.
    pub fn schedule(&self) {
        // SAFETY: By the type invariant the item is alive; the queue is there as long as the kernel.
        unsafe {
            bindings::mod_delayed_work_on(ANY_CPU, bindings::system_dfl_long_wq, self.raw, 0)
        };
    }

    /// Runs the work after `delay`, unless it is scheduled for earlier or later already. Any
    /// context.
    pub fn schedule_after(&self, delay: Delta) {
        let msecs = Msecs::try_from(delay.as_millis().max(0)).unwrap_or(Msecs::MAX);
        let delay = msecs_to_jiffies(msecs);
        // SAFETY: As in `schedule()`.
        unsafe {
            bindings::queue_delayed_work_on(ANY_CPU, bindings::system_dfl_long_wq, self.raw, delay)
        };
    }
}

// CAST: Somewhat more than the largest number of a processor.
const ANY_CPU: c_int = bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int;

/// A work item, immediate or delayed; gives access to its handler.
///
/// On drop the item is taken off the queue, and a run that has begun is waited for. It must not be
/// dropped by its handler, nor under a lock that the handler takes.
///
/// # Invariants
///
/// The item is initialised, with [`run_callback`] for the handler.
#[pin_data(PinnedDrop)]
pub struct Work<H: Handler> {
    #[pin]
    item: Callback<bindings::delayed_work, H>,
}

/// # Safety
///
/// `raw` is part of the structure of a `Work<H>`.
unsafe extern "C" fn run_callback<H: Handler>(raw: *mut bindings::work_struct) {
    // SAFETY: By the safety requirement.
    let raw = unsafe { container_of!(raw, bindings::delayed_work, work) };
    // SAFETY: It is not dropped, because the drop waits for this function to return.
    let handler = unsafe { Callback::<_, H>::handler(raw) };

    // INVARIANT: As above.
    handler.run(&WorkRef {
        raw,
        _owner: PhantomData,
    });
}

impl<H: Handler> Work<H> {
    /// Makes a work item that isn't scheduled.
    ///
    /// # Errors
    ///
    /// Those of the initialiser.
    pub fn new<E>(handler: impl PinInit<H, E>) -> impl PinInit<Self, Error>
    where
        Error: From<E>,
    {
        let init = |raw| {
            // SAFETY: `raw` can be written. The callback suits the type of the handler. The item isn't
            // scheduled before `Self` is complete, since nobody else knows it.
            unsafe { bindings::rust_ext_INIT_DELAYED_WORK(raw, Some(run_callback::<H>)) };
            Ok(())
        };

        try_pin_init!(Self {
            item <- Callback::new(handler, init),
        })
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::delayed_work {
        self.item.as_raw()
    }

    fn reference(&self) -> WorkRef<'_> {
        // INVARIANT: The item is alive as long as `self` is borrowed.
        WorkRef {
            raw: self.as_raw(),
            _owner: PhantomData,
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

    /// Takes the work off the queue and waits for a run that has begun. Not from its handler.
    pub fn cancel(&self) {
        // SAFETY: By the type invariant the item is initialised.
        unsafe { bindings::cancel_delayed_work_sync(self.as_raw()) };
    }

    /// Does what [`cancel`](Self::cancel) does, and keeps the work from being scheduled again.
    pub fn disable(&self) {
        // SAFETY: By the type invariant the item is initialised.
        unsafe { bindings::disable_delayed_work_sync(self.as_raw()) };
    }
}

impl<H: Handler> Deref for Work<H> {
    type Target = H;

    fn deref(&self) -> &H {
        self.item.get()
    }
}

#[pinned_drop]
impl<H: Handler> PinnedDrop for Work<H> {
    fn drop(self: Pin<&mut Self>) {
        self.disable();
    }
}
