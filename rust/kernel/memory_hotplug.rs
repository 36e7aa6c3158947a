// SPDX-License-Identifier: GPL-2.0

//! Memory hotplug notifications.
//!
//! C header: `include/linux/memory.h`

use super::{
    bindings,
    callback::Callback,
    memory::Range, //
};
use core::ops::Deref;
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*, //
};

/// Event in the life of a range of memory.
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
    /// From `MEM_*`; `None` for those of other parties.
    fn from_raw(event: usize) -> Option<Self> {
        Some(match u32::try_from(event).ok()? {
            bindings::memory_block_state_MEM_GOING_ONLINE => Self::GoingOnline,
            bindings::memory_block_state_MEM_CANCEL_ONLINE => Self::CancelOnline,
            bindings::memory_block_state_MEM_ONLINE => Self::Online,
            bindings::memory_block_state_MEM_GOING_OFFLINE => Self::GoingOffline,
            bindings::memory_block_state_MEM_CANCEL_OFFLINE => Self::CancelOffline,
            bindings::memory_block_state_MEM_OFFLINE => Self::Offline,
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
/// The notifier is registered, with [`notify_callback`] for the handler.
#[pin_data(PinnedDrop)]
pub struct MemoryNotifier<H: Handler> {
    #[pin]
    notifier: Callback<bindings::notifier_block, H>,
}

/// # Safety
///
/// `raw` is the structure of a `MemoryNotifier<H>`, and `data` a `struct memory_notify` if `event` is one
/// of memory.
unsafe extern "C" fn notify_callback<H: Handler>(
    raw: *mut bindings::notifier_block,
    event: c_ulong,
    data: *mut c_void,
) -> c_int {
    let Some(event) = Event::from_raw(event) else {
        return NOTIFY_DONE;
    };
    // SAFETY: It is not dropped, because unregistration waits for this function to return.
    let handler = unsafe { Callback::<_, H>::handler(raw) };
    // SAFETY: By the safety requirement.
    let memory = unsafe { &*data.cast_const().cast::<bindings::memory_notify>() };
    // CAST: `unsigned long` has 64 bits here. Physical addresses have less.
    let bytes = |pages: c_ulong| (pages as u64) << bindings::PAGE_SHIFT;
    let range = Range {
        base: bytes(memory.start_pfn),
        len: bytes(memory.nr_pages),
    };

    let error = from_result(|| handler.notify(event, range).map(|()| 0));
    // SAFETY: A pure function of its argument.
    unsafe { bindings::rust_ext_notifier_from_errno(error) }
}

/// Returned by who has nothing to say.
// CAST: 0.
const NOTIFY_DONE: c_int = bindings::NOTIFY_DONE as c_int;

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
        let register = |raw: *mut bindings::notifier_block| {
            let notifier = bindings::notifier_block {
                notifier_call: Some(notify_callback::<H>),
                ..pin_init::zeroed()
            };
            // SAFETY: `raw` can be written, and is pinned until `drop()` has unregistered it. Its callback
            // suits the type of the handler, which is initialised.
            to_result(unsafe {
                raw.write(notifier);
                bindings::register_memory_notifier(raw)
            })
        };

        // INVARIANT: The registration is the last step.
        try_pin_init!(Self {
            notifier <- Callback::new(handler, register),
        })
    }
}

impl<H: Handler> Deref for MemoryNotifier<H> {
    type Target = H;

    fn deref(&self) -> &H {
        self.notifier.get()
    }
}

#[pinned_drop]
impl<H: Handler> PinnedDrop for MemoryNotifier<H> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant it is registered; it is unregistered only here. That waits for
        // callbacks, as the chain is a blocking one.
        unsafe { bindings::unregister_memory_notifier(self.notifier.as_raw()) };
    }
}
