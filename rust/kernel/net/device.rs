// SPDX-License-Identifier: GPL-2.0

//! Network devices.
//!
//! C header: `include/linux/netdevice.h`

use super::{
    operations::Operations,
    queue::TxQueueGuard,
    rtnl::Rtnl,
    Features, //
};
use crate::kernel_ext::bindings;
use core::{
    marker::PhantomData,
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
    fmt,
    prelude::*,
    str::BStr,
    sync::aref::AlwaysRefCounted,
    time::Delta,
    types::Opaque, //
};

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// Whether a device may have this address: neither zero nor a group's.
    pub fn is_valid(&self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl From<[u8; 6]> for MacAddress {
    fn from(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }
}

/// A copy of a device's name, which may change.
#[derive(Clone, Copy)]
pub struct Name([c_char; bindings::IFNAMSIZ as usize]);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.split(|&byte| byte == 0).next();
        fmt::Display::fmt(BStr::from_bytes(bytes.unwrap_or_default()), f)
    }
}

/// Milliseconds, as the helpers want them; 0 for negative times.
pub(super) fn msecs(delta: Delta) -> u64 {
    u64::try_from(delta.as_millis()).unwrap_or(0)
}

/// A registered network device, whatever driver it belongs to.
///
/// # Invariants
///
/// The object is a valid `struct net_device`, which has been registered and has not been freed.
#[repr(transparent)]
pub struct Device(Opaque<bindings::net_device>);

// SAFETY: Network devices aren't bound to a thread.
unsafe impl Send for Device {}

// SAFETY: The methods that take `&self` may be called by several threads at once.
unsafe impl Sync for Device {}

// SAFETY: The device isn't freed while it has references: unregistration waits for them.
unsafe impl AlwaysRefCounted for Device {
    fn inc_ref(&self) {
        // SAFETY: The device is valid.
        unsafe { bindings::rust_ext_netdev_hold(self.as_raw()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: By the safety requirement a reference is given away.
        unsafe { bindings::rust_ext_netdev_put(obj.cast().as_ptr()) };
    }
}

impl Device {
    pub(crate) fn as_raw(&self) -> *mut bindings::net_device {
        self.0.get()
    }

    /// The name, like `eth0`. Any context.
    pub fn name(&self) -> Name {
        let mut name = Name([0; bindings::IFNAMSIZ as usize]);
        // SAFETY: The device is valid, and `name` has the size of names.
        unsafe { bindings::rust_ext_netdev_name(self.as_raw(), name.0.as_mut_ptr()) };
        name
    }

    /// The MTU in bytes.
    pub fn mtu(&self) -> u32 {
        // SAFETY: The device is valid.
        unsafe { bindings::rust_ext_netdev_mtu(self.as_raw()) }
    }

    /// The address. It is changed under RTNL only.
    pub fn mac_address(&self) -> MacAddress {
        let mut mac = MacAddress([0; 6]);
        // SAFETY: The device is valid, and there is room for six bytes.
        unsafe { bindings::rust_ext_netdev_mac(self.as_raw(), mac.0.as_mut_ptr()) };
        mac
    }

    /// The features in use.
    pub fn features(&self) -> Features {
        // SAFETY: The device is valid.
        Features::from_raw(unsafe { bindings::rust_ext_netdev_get_features(self.as_raw()) })
    }

    /// Computes the features anew, with calls of `fix_features` and `set_features`.
    pub fn update_features(&self, _rtnl: &Rtnl) {
        // SAFETY: The device is valid, RTNL is held.
        unsafe { bindings::rust_ext_netdev_update_features(self.as_raw()) };
    }

    /// Whether the device is up; set before `open` and reset before `stop`.
    pub fn is_running(&self) -> bool {
        // SAFETY: The device is valid.
        unsafe { bindings::rust_ext_netdev_running(self.as_raw()) }
    }

    /// Tells that there is a link. Any context.
    pub fn carrier_on(&self) {
        // SAFETY: The device is valid.
        unsafe { bindings::rust_ext_netdev_carrier(self.as_raw(), true) };
    }

    /// Tells that there is no link. Any context.
    pub fn carrier_off(&self) {
        // SAFETY: The device is valid.
        unsafe { bindings::rust_ext_netdev_carrier(self.as_raw(), false) };
    }

    /// Whether there is a link, as told.
    pub fn carrier_ok(&self) -> bool {
        // SAFETY: The device is valid.
        unsafe { bindings::rust_ext_netdev_carrier_ok(self.as_raw()) }
    }

    /// Announces the device's addresses, because it may have moved to another port of a switch.
    /// Process context, takes RTNL.
    pub fn notify_peers(&self) {
        // SAFETY: The device is valid.
        unsafe { bindings::rust_ext_netdev_notify_peers(self.as_raw()) };
    }

    /// Marks the device as gone for now: its queues are stopped, and it can't be configured.
    pub fn detach(&self, _rtnl: &Rtnl) {
        // SAFETY: The device is valid.
        unsafe { bindings::rust_ext_netdev_detach(self.as_raw()) };
    }

    /// Undoes [`detach`](Self::detach).
    pub fn attach(&self, _rtnl: &Rtnl) {
        // SAFETY: The device is valid.
        unsafe { bindings::rust_ext_netdev_attach(self.as_raw()) };
    }

    /// The number of transmit queues in use.
    pub fn tx_queues(&self) -> u16 {
        // SAFETY: The device is valid.
        unsafe { bindings::rust_ext_netdev_real_tx_queues(self.as_raw()) }
    }

    /// The number of transmit queues that there are, in use or not.
    pub(super) fn allocated_tx_queues(&self) -> u16 {
        // SAFETY: The device is valid; the number doesn't change.
        let queues = unsafe { (*self.as_raw()).num_tx_queues };
        // CAST: Devices of other drivers may have more.
        u16::try_from(queues).unwrap_or(u16::MAX)
    }

    /// Changes the numbers of queues in use.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there are not as many queues, or none; `ENOMEM`.
    pub fn set_real_queues(&self, tx: u16, rx: u16, _rtnl: &Rtnl) -> Result {
        // SAFETY: The device is valid, RTNL is held.
        to_result(unsafe { bindings::rust_ext_netdev_set_real_queues(self.as_raw(), tx, rx) })
    }

    /// Locks transmit queue `queue`; `None` if there is none. Not in hard interrupts, and not in
    /// `start_xmit`, which has a lock of this class already.
    pub fn lock_tx_queue(&self, queue: u16) -> Option<TxQueueGuard<'_>> {
        TxQueueGuard::new(self, queue)
    }
}

/// A registered network device of a driver with the operations `T`.
///
/// # Invariants
///
/// The device's private area has a `T::Data`, which is initialised and pinned.
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

/// The data in the private area of a device.
///
/// # Safety
///
/// `dev` was allocated by [`UnregisteredNetDevice<T>`](super::UnregisteredNetDevice) and isn't freed.
pub(super) unsafe fn data_ptr<T: Operations>(dev: *mut bindings::net_device) -> *mut T::Data {
    // SAFETY: The helper has allocated room for a `T::Data` at this offset.
    unsafe {
        dev.cast::<u8>()
            .add(bindings::rust_ext_netdev_data_offset)
            .cast()
    }
}

impl<T: Operations> NetDevice<T> {
    /// The device that C passes to a callback.
    ///
    /// # Safety
    ///
    /// `dev` satisfies the type invariants, and does so for `'a`.
    pub(crate) unsafe fn from_raw<'a>(dev: *mut bindings::net_device) -> &'a Self {
        // SAFETY: By the safety requirement; `Self` is a transparent wrapper.
        unsafe { &*dev.cast() }
    }

    /// The driver's data.
    #[inline]
    pub fn data(&self) -> Pin<&T::Data> {
        // SAFETY: By the type invariant the data are initialised and pinned; they are shared only.
        unsafe { Pin::new_unchecked(&*data_ptr::<T>(self.as_raw())) }
    }

    /// Has [`Operations::deferred`] called with `events`, and with what else was deferred until it
    /// runs. Any context.
    ///
    /// No effect once the device is being unregistered.
    pub fn defer(&self, events: u32) {
        // SAFETY: The device is valid, and of the helper's making.
        unsafe { bindings::rust_ext_netdev_defer(self.as_raw(), events) };
    }

    /// Does [`defer`](Self::defer) after `delay`, or earlier if there is a delay already. Any
    /// context.
    pub fn defer_after(&self, events: u32, delay: Delta) {
        // SAFETY: The device is valid, and of the helper's making.
        unsafe { bindings::rust_ext_netdev_defer_after(self.as_raw(), events, msecs(delay)) };
    }
}
