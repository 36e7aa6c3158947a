// SPDX-License-Identifier: GPL-2.0

//! Operations of a driver for its network devices.

use super::{
    lock::{
        ConfigLock,
        InstanceLock,
        Rtnl, //
    },
    queue::TxQueue,
    rx_mode::RxMode,
    skbuff::SkBuff,
    stats::{
        RxQueueStats,
        Stats64,
        TxQueueStats, //
    },
    Device,
    Features,
    MacAddress, //
};
use crate::kernel_ext::{
    bindings,
    workqueue::{
        self,
        Work,
        WorkRef, //
    }, //
};
use core::{
    convert::Infallible,
    marker::PhantomData,
    ops::Deref,
    ptr::NonNull,
    sync::atomic::{
        AtomicU32,
        Ordering, //
    }, //
};
use kernel::{
    error::VTABLE_DEFAULT_ERROR,
    prelude::*,
    sync::aref::AlwaysRefCounted,
    time::Delta, //
};

/// Fate of a frame.
pub enum Transmit {
    /// The driver has it: sent, kept or dropped.
    Ok,
    /// There was no room, which the driver should have said before; the stack tries again.
    Busy(SkBuff),
}

/// The operations of a driver's network devices.
#[vtable]
pub trait Operations: Sized + 'static {
    /// Data of the driver for each device.
    type Data: Send + Sync + 'static;

    /// Brings the device up. Process context, both locks held.
    ///
    /// # Errors
    ///
    /// Any; the device stays down, and `stop` isn't called.
    fn open(dev: &NetDevice<Self>, lock: &ConfigLock<'_>) -> Result;

    /// Brings the device down: nothing of it may be active afterwards. Process context, both locks held.
    fn stop(dev: &NetDevice<Self>, lock: &ConfigLock<'_>);

    /// Sends a frame. The lock of the queue is held, bottom halves are off (with netconsole:
    /// interrupts).
    fn start_xmit(dev: &NetDevice<Self>, txq: &mut TxQueue<'_>, skb: SkBuff) -> Transmit;

    /// Takes out of `features` what the device can't do for this frame. May be called several
    /// times at once.
    fn features_check(dev: &NetDevice<Self>, skb: &SkBuff, features: Features) -> Features {
        let _ = (dev, skb, features);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Changes the features that the user wants into those that are possible together. Process
    /// context, both locks held; must not change anything.
    fn fix_features(dev: &NetDevice<Self>, features: Features) -> Features {
        let _ = (dev, features);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Turns features on and off, so that `features` are on. Process context, both locks held.
    ///
    /// # Errors
    ///
    /// Any; nothing has changed then.
    fn set_features(dev: &NetDevice<Self>, features: Features, lock: &ConfigLock<'_>) -> Result {
        let _ = (dev, features, lock);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sets what the device receives. Process context, both locks held; called after `open`, too.
    ///
    /// # Errors
    ///
    /// Any; the stack tries again later.
    fn set_rx_mode(dev: &NetDevice<Self>, mode: &RxMode<'_>, lock: &ConfigLock<'_>) -> Result {
        let _ = (dev, mode, lock);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Changes the address, also while the device is up; it is valid. Process context, both locks held.
    ///
    /// # Errors
    ///
    /// Any; the address isn't changed.
    fn set_mac_address(dev: &NetDevice<Self>, mac: &MacAddress, lock: &ConfigLock<'_>) -> Result {
        let _ = (dev, mac, lock);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Changes the MTU, also while the device is up; it is within the limits. The old one is still
    /// set. Process context, both locks held.
    ///
    /// # Errors
    ///
    /// Any; the MTU isn't changed.
    fn change_mtu(dev: &NetDevice<Self>, mtu: u32, lock: &ConfigLock<'_>) -> Result {
        let _ = (dev, mtu, lock);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Tells that a queue has been stopped for longer than the watchdog allows. Bottom halves are
    /// off: see [`NetDevice::defer`].
    fn tx_timeout(dev: &NetDevice<Self>, queue: u16) {
        let _ = (dev, queue);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Reports the standard counters. RCU, must not sleep; may be called several times at once.
    fn get_stats64(dev: &NetDevice<Self>, stats: &mut Stats64) {
        let _ = (dev, stats);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns what receive queue `queue` has counted, also one that isn't in use now. Process context,
    /// instance lock held. A driver has this and [`Operations::tx_queue_stats`], or neither.
    fn rx_queue_stats(dev: &NetDevice<Self>, queue: u16, lock: &InstanceLock<'_>) -> RxQueueStats {
        let _ = (dev, queue, lock);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Returns what transmit queue `queue` has counted, likewise.
    fn tx_queue_stats(dev: &NetDevice<Self>, queue: u16, lock: &InstanceLock<'_>) -> TxQueueStats {
        let _ = (dev, queue, lock);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Receives frames of VLAN `vid`, too (802.1Q). Process context, RTNL held.
    ///
    /// # Errors
    ///
    /// Any.
    fn vlan_rx_add_vid(dev: &NetDevice<Self>, vid: u16, rtnl: &Rtnl) -> Result {
        let _ = (dev, vid, rtnl);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Receives frames of VLAN `vid` no more. Process context, RTNL held.
    ///
    /// # Errors
    ///
    /// Any.
    fn vlan_rx_kill_vid(dev: &NetDevice<Self>, vid: u16, rtnl: &Rtnl) -> Result {
        let _ = (dev, vid, rtnl);
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Does what was deferred by [`NetDevice::defer`]; `events` is what has come together. Process
    /// context, no lock held; never in parallel with itself for the same device. It is waited for
    /// when the device is unregistered.
    fn deferred(dev: &NetDevice<Self>, events: u32) {
        let _ = (dev, events);
    }
}

/// A registered network device of a driver with the operations `T`.
///
/// # Invariants
///
/// The device's private area has a `Private<T>`, which is initialised and pinned.
#[repr(transparent)]
pub struct NetDevice<T: Operations> {
    device: Device,
    _operations: PhantomData<fn() -> T>,
}

// SAFETY: As for `Device`: the data too are dropped only after unregistration has waited for all
// references.
unsafe impl<T: Operations> AlwaysRefCounted for NetDevice<T> {
    fn inc_ref(&self) {
        self.device.inc_ref();
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: By the safety requirement a reference is given away.
        unsafe { Device::dec_ref(obj.cast()) };
    }
}

impl<T: Operations> Deref for NetDevice<T> {
    type Target = Device;

    fn deref(&self) -> &Device {
        &self.device
    }
}

/// Private area of a device.
#[pin_data]
pub(super) struct Private<T: Operations> {
    /// Work that was deferred.
    #[pin]
    deferred: Work<Deferred<T>>,
    /// Work that is to be deferred after a delay.
    #[pin]
    later: Work<Later<T>>,
    #[pin]
    data: T::Data,
}

impl<T: Operations> Private<T> {
    /// Initialises the private area of `dev`.
    ///
    /// # Safety
    ///
    /// `dev` was allocated for devices of `T`, and isn't freed before the private area is dropped.
    pub(super) unsafe fn new<E>(
        dev: *mut bindings::net_device,
        data: impl PinInit<T::Data, E>,
    ) -> impl PinInit<Self, Error>
    where
        Error: From<E>,
    {
        let (now, later) = (Events::<T>::new(dev), Events::<T>::new(dev));

        try_pin_init!(Self {
            data <- data,
            deferred <- Work::new::<Infallible>(Deferred(now)),
            later <- Work::new::<Infallible>(Later(later)),
        }? Error)
    }

    /// Waits for deferred work that runs. Nothing can be deferred again.
    pub(super) fn stop(&self) {
        self.later.disable();
        self.deferred.disable();
    }
}

/// Reasons for deferred work that have come together.
struct Events<T> {
    dev: *mut bindings::net_device,
    events: AtomicU32,
    _operations: PhantomData<fn() -> T>,
}

// SAFETY: Network devices aren't bound to a thread.
unsafe impl<T> Send for Events<T> {}

// SAFETY: As for `Send`; the events are atomic.
unsafe impl<T> Sync for Events<T> {}

impl<T: Operations> Events<T> {
    fn new(dev: *mut bindings::net_device) -> Self {
        Self {
            dev,
            events: AtomicU32::new(0),
            _operations: PhantomData,
        }
    }

    fn add(&self, events: u32) {
        // Pairs with `take()`: what was done before is seen by who handles the events.
        self.events.fetch_or(events, Ordering::Release);
    }

    fn take(&self) -> u32 {
        self.events.swap(0, Ordering::Acquire)
    }

    fn device(&self) -> &NetDevice<T> {
        // SAFETY: The work is stopped before the device is unregistered, and is not scheduled before it
        // is registered. It is part of a device of this kind.
        unsafe { NetDevice::from_raw(self.dev) }
    }
}

struct Deferred<T>(Events<T>);

impl<T: Operations> workqueue::Handler for Deferred<T> {
    fn run(&self, _work: &WorkRef<'_>) {
        T::deferred(self.0.device(), self.0.take());
    }
}

struct Later<T>(Events<T>);

impl<T: Operations> workqueue::Handler for Later<T> {
    fn run(&self, _work: &WorkRef<'_>) {
        self.0.device().defer(self.0.take());
    }
}

/// Returns the private area of a device.
///
/// # Safety
///
/// `dev` was allocated for devices of `T` and isn't freed.
pub(super) unsafe fn private<T: Operations>(dev: *mut bindings::net_device) -> *mut Private<T> {
    // SAFETY: The device is valid.
    unsafe { (&raw mut (*dev).priv_).cast() }
}

impl<T: Operations> NetDevice<T> {
    /// Returns the device that C passes to a callback.
    ///
    /// # Safety
    ///
    /// `dev` satisfies the type invariants, and does so for `'a`.
    pub(crate) unsafe fn from_raw<'a>(dev: *mut bindings::net_device) -> &'a Self {
        // SAFETY: By the safety requirement; `Self` is a transparent wrapper.
        unsafe { &*dev.cast() }
    }

    fn private(&self) -> Pin<&Private<T>> {
        // SAFETY: By the type invariant the private area is initialised and pinned; it is shared only.
        unsafe { Pin::new_unchecked(&*private::<T>(self.as_raw())) }
    }

    /// Returns the driver's data.
    #[inline]
    pub fn data(&self) -> Pin<&T::Data> {
        // SAFETY: The field is pinned with the structure.
        unsafe { self.private().map_unchecked(|private| &private.data) }
    }

    /// Schedules [`Operations::deferred`] with `events`, and with what else is deferred until it
    /// runs. Any context.
    ///
    /// No effect once the device is being unregistered.
    pub fn defer(&self, events: u32) {
        let private = self.private().get_ref();
        private.deferred.0.add(events);
        private.deferred.schedule();
    }

    /// Does [`defer`](Self::defer) after `delay`, or earlier if there is a delay already. Any
    /// context.
    pub fn defer_after(&self, events: u32, delay: Delta) {
        let private = self.private().get_ref();
        private.later.0.add(events);
        private.later.schedule_after(delay);
    }
}
