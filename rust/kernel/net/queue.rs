// SPDX-License-Identifier: GPL-2.0

//! Transmit queues.
//!
//! A driver keeps a [`TxState`] for each queue, which is closed, held or running:
//!
//! - *closed*: The driver has no data for the queue, and the stack is told not to send.
//! - *held*: The driver has data and reports completions; the stack is told not to send.
//! - *running*: The stack sends, and is told not to as long as there is no room.
//!
//! The state changes under the queue's lock. Whether the stack may send is a bit of the kernel's, which
//! completions clear without that lock. So that they leave a queue alone that is held or closed, they
//! are reported to a [`Completions`], which belongs to one opening of the queue: it knows that the queue
//! is held, and whoever closes the queue must have it. No completion is reported from then on, so
//! that the byte queue limits can be reset when the queue is opened again.
//!
//! C headers: `include/linux/netdevice.h`, `include/net/netdev_queues.h`

use super::{
    hold::{
        Bit,
        Hold, //
    },
    skbuff::SkBuff,
    sync::full_barrier,
    Device, //
};
use crate::kernel_ext::bindings;
use core::{
    cell::UnsafeCell,
    ops::Deref,
    sync::atomic::{
        AtomicPtr,
        Ordering, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc,
    types::NotThreadSafe, //
};

/// A transmit queue of a device.
///
/// # Invariants
///
/// The device was allocated with more than `index` transmit queues.
pub struct Queue<'a> {
    dev: &'a Device,
    index: u16,
}

impl Queue<'_> {
    /// Returns the number of the queue.
    #[inline]
    pub fn index(&self) -> u16 {
        self.index
    }

    #[inline]
    pub(crate) fn as_raw(&self) -> *mut bindings::netdev_queue {
        // SAFETY: The device is valid. Its array of queues is allocated and freed with it, and has
        // such an element by the type invariant.
        unsafe { (*self.dev.as_raw())._tx.add(self.index.into()) }
    }
}

impl Device {
    /// Locks transmit queue `queue`; `None` if there is none. Not in hard interrupts, and not in
    /// `start_xmit`, which has a lock of this class already.
    pub fn lock_tx_queue(&self, queue: u16) -> Option<TxQueueGuard<'_>> {
        TxQueueGuard::new(self, queue)
    }
}

mod private {
    /// See [`Locked`](super::Locked).
    pub trait Sealed {}
}

/// A transmit queue whose lock is held: [`TxQueue`] or [`TxQueueGuard`].
///
/// These are different types, so that safe code can't exchange the one for the other and have a
/// queue unlocked by the wrong party.
pub trait Locked: private::Sealed {
    /// Returns the queue.
    fn queue(&self) -> &Queue<'_>;
}

/// The transmit queue of a frame, in `start_xmit`.
///
/// # Invariants
///
/// The transmit lock of the queue is held by this thread, and there is no other [`Locked`] value
/// for the same queue.
pub struct TxQueue<'a> {
    queue: Queue<'a>,
    _context: NotThreadSafe,
}

impl<'a> TxQueue<'a> {
    /// # Safety
    ///
    /// Queue `index` of `dev` exists. The caller holds its transmit lock as long as the value exists,
    /// and makes no second one meanwhile.
    pub(super) unsafe fn new(dev: &'a Device, index: u16) -> Self {
        // INVARIANT: By the safety requirement.
        Self {
            queue: Queue { dev, index },
            _context: NotThreadSafe,
        }
    }

    /// Reports that `skb` was queued: time stamp, byte queue limits. Returns whether the adapter
    /// must be told of it now; otherwise another frame follows at once.
    ///
    /// To be called before the adapter may complete the frame.
    #[inline]
    pub fn sent(&self, skb: &SkBuff) -> bool {
        skb.time_stamp();
        // SAFETY: The queue is valid, and its lock is held.
        unsafe {
            let more = bindings::rust_ext_netdev_xmit_more();
            bindings::rust_ext_netdev_tx_sent_queue(self.queue.as_raw(), skb.len(), more)
        }
    }

    /// Reports that the frame in `skb` was queued as a copy, and frees `skb`. The byte queue limits
    /// don't count it: who copies frames need not learn when each of them was sent. Returns what
    /// [`sent`](Self::sent) does.
    #[inline]
    pub fn copied(&self, skb: SkBuff) -> bool {
        skb.time_stamp();
        skb.consume();
        // SAFETY: The queue is valid, and its lock is held.
        unsafe {
            !bindings::rust_ext_netdev_xmit_more()
                || bindings::rust_ext_netif_xmit_stopped(self.queue.as_raw())
        }
    }
}

impl<'a> Deref for TxQueue<'a> {
    type Target = Queue<'a>;

    fn deref(&self) -> &Queue<'a> {
        &self.queue
    }
}

impl private::Sealed for TxQueue<'_> {}

impl Locked for TxQueue<'_> {
    #[inline]
    fn queue(&self) -> &Queue<'_> {
        &self.queue
    }
}

/// A transmit queue that was locked outside of `start_xmit`; unlocked on drop.
///
/// # Invariants
///
/// The transmit lock of the queue is held by this thread, and there is no other [`Locked`] value
/// for the same queue.
pub struct TxQueueGuard<'a> {
    queue: Queue<'a>,
    _context: NotThreadSafe,
}

impl<'a> TxQueueGuard<'a> {
    fn new(dev: &'a Device, index: u16) -> Option<Self> {
        if index >= dev.allocated_tx_queues() {
            return None;
        }
        // INVARIANT: Compared just now.
        let queue = Queue { dev, index };
        // SAFETY: The queue is valid.
        unsafe { bindings::rust_ext_netif_tx_lock_bh(queue.as_raw()) };
        // INVARIANT: Locked just now, so there is no other value.
        Some(Self {
            queue,
            _context: NotThreadSafe,
        })
    }
}

impl<'a> Deref for TxQueueGuard<'a> {
    type Target = Queue<'a>;

    fn deref(&self) -> &Queue<'a> {
        &self.queue
    }
}

impl private::Sealed for TxQueueGuard<'_> {}

impl Locked for TxQueueGuard<'_> {
    #[inline]
    fn queue(&self) -> &Queue<'_> {
        &self.queue
    }
}

impl Drop for TxQueueGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: Locked by this thread in `new()`: the guard can't be sent to another one.
        unsafe { bindings::rust_ext_netif_tx_unlock_bh(self.queue.as_raw()) };
    }
}

/// State that both sides of an open queue share.
struct Opening {
    /// The device whose queue was opened; NULL before.
    dev: AtomicPtr<bindings::net_device>,
    /// The number of the queue.
    index: u16,
    /// State of the queue: held or not. It changes under the queue's lock.
    hold: Hold,
}

/// Makes what one opening of queue `index` takes. Process context.
///
/// # Errors
///
/// `ENOMEM`.
pub fn opening(index: u16) -> Result<(OpenTicket, Completions)> {
    let opening = Opening {
        dev: AtomicPtr::new(core::ptr::null_mut()),
        index,
        hold: Hold::new(),
    };
    let opening = Arc::new(opening, GFP_KERNEL)?;
    Ok((
        OpenTicket(opening.clone()),
        Completions {
            opening: Some(opening),
        },
    ))
}

/// The right to open a queue once: see [`opening`].
pub struct OpenTicket(Arc<Opening>);

/// The completing side of a queue, as long as it is open.
///
/// # Invariants
///
/// There is one for an `opening`, and none once the queue is closed.
pub struct Completions {
    opening: Option<Arc<Opening>>,
}

impl Completions {
    /// Reports that `packets` frames were sent, with `bytes` bytes of those that were reported by
    /// [`TxQueue::sent`]. A running queue that was stopped for lack of room is woken if `has_room`.
    ///
    /// To be called once for each round of completions, after the room was made. What is more than is in
    /// flight isn't counted. No effect unless the queue is open, and one of `dev`.
    #[inline]
    pub fn completed(&mut self, dev: &Device, packets: u32, bytes: u32, has_room: bool) {
        let Some(opening) = &self.opening else {
            return;
        };
        if opening.dev.load(Ordering::Relaxed) != dev.as_raw() {
            return;
        }
        // INVARIANT: Compared by who has opened it.
        let queue = Queue {
            dev,
            index: opening.index,
        };
        let txq = queue.as_raw();
        // SAFETY: The queue is valid. The first number is changed by who sends, under the queue's lock,
        // and grows only; the second one is changed by completions only, which `self` is borrowed
        // mutably for.
        let in_flight = unsafe { in_flight(txq) };
        let bytes = bytes.min(in_flight);
        if bytes == 0 {
            // Else the call below has this barrier, which pairs with that of `TxState::stop_unless()`.
            full_barrier();
        }
        // SAFETY: The queue is valid. The kernel crashes if more is completed than is in flight, which was
        // looked after. Whether the queue is held is read once, behind the barrier: a value from before might
        // be an old one, and a wake be lost.
        let outcome = unsafe {
            bindings::rust_ext_netif_txq_completed_wake(
                txq,
                packets.max(1),
                bytes,
                has_room,
                opening.hold.0.as_ptr(),
            )
        };
        if outcome == WOKEN {
            opening.hold.settle(&queue);
        }
    }
}

/// Returned by `__netif_txq_completed_wake()` if it has woken the queue.
const WOKEN: c_int = 0;

/// Bytes that are counted as sent and not completed.
///
/// # Safety
///
/// `txq` is valid. Nobody else reports completions meanwhile.
#[cfg(CONFIG_BQL)]
#[inline]
unsafe fn in_flight(txq: *mut bindings::netdev_queue) -> u32 {
    // SAFETY: The queue is valid. The field is written by who sends, as one access.
    let queued = unsafe { (&raw const (*txq).dql.num_queued).read_volatile() };
    // SAFETY: The queue is valid. By the safety requirement nobody writes the field.
    let completed = unsafe { (&raw const (*txq).dql.num_completed).read() };
    queued.wrapping_sub(completed)
}

/// # Safety
///
/// None: nothing is counted.
#[cfg(not(CONFIG_BQL))]
#[inline]
unsafe fn in_flight(_txq: *mut bindings::netdev_queue) -> u32 {
    u32::MAX
}

impl Bit for Queue<'_> {
    fn stop(&self) {
        // SAFETY: The queue is valid.
        unsafe { bindings::rust_ext_netif_tx_stop_queue(self.as_raw()) };
    }

    fn wake(&self) {
        // SAFETY: The queue is valid.
        unsafe { bindings::netif_tx_wake_queue(self.as_raw()) };
    }
}

/// A queue as its driver has it, with the data `T` while it is open.
///
/// It is bound to the device by whoever opens it first.
///
/// # Invariants
///
/// Once `dev` is not NULL it doesn't change, and `state` is accessed only by who has mutably
/// borrowed the [`Locked`] value for queue `index` of this device, or `self`.
pub struct TxState<T> {
    dev: AtomicPtr<bindings::net_device>,
    index: u16,
    state: UnsafeCell<State<T>>,
}

enum State<T> {
    Closed,
    Held(Open<T>),
    Running(Open<T>),
}

struct Open<T> {
    opening: Arc<Opening>,
    value: T,
}

/// State of a queue as `start_xmit` finds it.
pub enum Sending<'a, T, L> {
    /// The queue is running: its data, and what may be done with the queue meanwhile.
    Running(&'a mut T, &'a L),
    /// The queue is held; the stack keeps the frame.
    Held,
    /// The queue is closed, or another one; the frame can't be sent.
    Closed,
}

// SAFETY: The lock lets one thread at a time have the data, as a mutex would.
unsafe impl<T: Send> Sync for TxState<T> {}

impl<T> TxState<T> {
    /// Makes the state of queue `index` of the device that opens it first: closed.
    pub const fn new(index: u16) -> Self {
        Self {
            dev: AtomicPtr::new(core::ptr::null_mut()),
            index,
            state: UnsafeCell::new(State::Closed),
        }
    }

    /// Returns the state; `None` if `locked` isn't the queue that it is bound to.
    #[inline]
    fn state<'a>(&'a self, locked: &'a mut impl Locked) -> Option<&'a mut State<T>> {
        let queue = locked.queue();
        if queue.index != self.index || self.dev.load(Ordering::Relaxed) != queue.dev.as_raw() {
            return None;
        }
        // SAFETY: `locked` is the only value for the queue that the state is bound to, and is
        // borrowed as long as the reference that we return: there is no other one. Its lock orders
        // the accesses of different threads.
        Some(unsafe { &mut *self.state.get() })
    }

    /// Returns the data of an open queue; `None` if it is closed, or `locked` is another one.
    pub fn get<'a>(&'a self, locked: &'a mut impl Locked) -> Option<&'a mut T> {
        match self.state(locked)? {
            State::Closed => None,
            State::Held(open) | State::Running(open) => Some(&mut open.value),
        }
    }

    /// Checks whether the queue is running.
    pub fn is_running(&self, locked: &mut impl Locked) -> bool {
        matches!(self.state(locked), Some(State::Running(_)))
    }

    /// Returns the data of a running queue, for who is to send a frame.
    #[inline]
    pub fn sending<'a, L: Locked>(&'a self, locked: &'a mut L) -> Sending<'a, T, L> {
        let value: *mut T = match self.state(locked) {
            Some(State::Running(open)) => &mut open.value,
            Some(State::Held(_)) => return Sending::Held,
            Some(State::Closed) | None => return Sending::Closed,
        };
        // SAFETY: `locked` stays borrowed mutably as long as both references are in use, and what
        // is returned of it is shared: there is no second way to the data.
        Sending::Running(unsafe { &mut *value }, locked)
    }

    /// Opens a closed queue; it is held. What is known of its byte queue limits is forgotten.
    ///
    /// # Errors
    ///
    /// `EBUSY` if it isn't closed, `EINVAL` if `locked` or `ticket` is of another queue.
    pub fn open(&self, locked: &mut TxQueueGuard<'_>, ticket: OpenTicket, value: T) -> Result {
        let dev = locked.queue.dev.as_raw();
        let opening = ticket.0;

        if opening.index != self.index || locked.queue.index != self.index {
            return Err(EINVAL);
        }
        // Several devices may have a queue of this number: the first one wins.
        let bound = self.dev.compare_exchange(
            core::ptr::null_mut(),
            dev,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        if bound.is_err_and(|bound| bound != dev) {
            return Err(EINVAL);
        }
        let txq = locked.queue.as_raw();
        let Some(state @ State::Closed) = self.state(locked) else {
            return Err(EBUSY);
        };
        // SAFETY: The queue is valid and locked. Nothing is reported of it: what was open before has no
        // `Completions` any more, and nobody can send.
        unsafe { bindings::rust_ext_netdev_tx_reset_queue(txq) };
        opening.dev.store(dev, Ordering::Relaxed);
        *state = State::Held(Open { opening, value });
        Ok(())
    }

    /// Lets a held queue run, and has the stack send what it has.
    pub fn run(&self, locked: &mut TxQueueGuard<'_>) {
        self.change(locked, |open, queue| {
            open.opening.hold.run(queue);
            State::Running(open)
        });
    }

    /// Holds a running queue. Completions go on.
    pub fn hold(&self, locked: &mut TxQueueGuard<'_>) {
        self.change(locked, |open, queue| {
            open.opening.hold.hold(queue);
            State::Held(open)
        });
    }

    fn change(
        &self,
        locked: &mut TxQueueGuard<'_>,
        to: impl FnOnce(Open<T>, &Queue<'_>) -> State<T>,
    ) {
        let queue = Queue {
            // INVARIANT: The same queue.
            ..locked.queue
        };
        if let Some(state) = self.state(locked) {
            *state = match core::mem::replace(state, State::Closed) {
                State::Closed => State::Closed,
                State::Held(open) | State::Running(open) => to(open, &queue),
            };
        }
    }

    /// Closes the queue and returns its data; `None` if it is closed, or `completions` is of another
    /// opening.
    pub fn close(&self, locked: &mut TxQueueGuard<'_>, completions: &mut Completions) -> Option<T> {
        self.hold(locked);
        let state = self.state(locked)?;
        match (&*state, &completions.opening) {
            (State::Held(open), Some(opening)) if Arc::ptr_eq(&open.opening, opening) => {}
            _ => return None,
        }
        // INVARIANT: Of `completions`, too, nothing is left.
        completions.opening = None;
        match core::mem::replace(state, State::Closed) {
            State::Held(open) => Some(open.value),
            State::Closed | State::Running(_) => None,
        }
    }

    /// Tells the stack not to wait for a closed queue, which the device does not use: it would count as stuck. No effect
    /// on a queue that is open.
    pub fn leave_out(&self, locked: &mut TxQueueGuard<'_>) {
        let queue = Queue {
            // INVARIANT: The same queue.
            ..locked.queue
        };
        if let Some(State::Closed) = self.state(locked) {
            queue.wake();
        }
    }

    /// Tells the stack not to send, unless a look afterwards says that there is room. Returns whether it
    /// is told so. To be called with a queue that is running, by who finds no room; whoever makes room tells
    /// [`Completions::completed`] afterwards.
    pub fn stop_unless(&self, locked: &mut TxQueue<'_>, has_room: impl Fn(&T) -> bool) -> bool {
        let txq = locked.queue.as_raw();
        let Some(State::Running(open)) = self.state(locked) else {
            return true;
        };
        let mut look = || has_room(&open.value);
        let (callback, context) = callback(&mut look);
        // SAFETY: The queue is valid and locked; it is running. The callback is for this context, which is
        // ours during the call.
        unsafe { bindings::rust_ext_netif_txq_try_stop(txq, callback, context) == STOPPED }
    }
}

/// Returned by `netif_txq_try_stop()` if it has stopped the queue.
const STOPPED: c_int = 0;

/// Returns a pointer to a closure, with a function that calls it.
fn callback<F: FnMut() -> bool>(
    f: &mut F,
) -> (
    Option<unsafe extern "C" fn(*mut c_void) -> bool>,
    *mut c_void,
) {
    /// # Safety
    ///
    /// `context` points to an `F` that nobody else uses.
    unsafe extern "C" fn call<F: FnMut() -> bool>(context: *mut c_void) -> bool {
        // SAFETY: By the safety requirement.
        unsafe { (*context.cast::<F>())() }
    }
    (Some(call::<F>), core::ptr::from_mut(f).cast())
}
