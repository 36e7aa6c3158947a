// SPDX-License-Identifier: GPL-2.0

//! Network devices.
//!
//! C header: `include/linux/netdevice.h`

use super::Features;
use crate::kernel_ext::bindings;
use core::{
    ptr::NonNull,
    sync::atomic::{
        AtomicU32,
        AtomicU64,
        AtomicUsize,
        Ordering, //
    }, //
};
use kernel::{
    fmt,
    prelude::*,
    str::BStr,
    sync::aref::AlwaysRefCounted,
    types::Opaque, //
};

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacAddress(pub [u8; 6]);

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

    /// Bits of `enum netdev_state_t`.
    fn state(&self) -> usize {
        // SAFETY: The device is valid. The field is accessed atomically, as C does.
        let state = unsafe { AtomicUsize::from_ptr(&raw mut (*self.as_raw()).state) };
        state.load(Ordering::Relaxed)
    }

    /// Checks whether the device can still be configured. A reference may outlive the registration.
    /// Under RTNL.
    pub(super) fn is_configurable(&self) -> bool {
        // SAFETY: The device is valid.
        let state = unsafe { (&raw const (*self.as_raw()).reg_state).read_volatile() };
        u32::from(state) <= bindings::netdev_reg_state_NETREG_REGISTERED
    }

    /// Returns the name, like `eth0`. Any context.
    pub fn name(&self) -> Name {
        // SAFETY: The device is valid. The name may change meanwhile, but is terminated at any time.
        Name(unsafe { (&raw const (*self.as_raw()).name).read_volatile() })
    }

    /// Returns the MTU in bytes.
    pub fn mtu(&self) -> u32 {
        // SAFETY: The device is valid. The field is accessed atomically, as C does.
        let mtu = unsafe { AtomicU32::from_ptr(&raw mut (*self.as_raw()).mtu) };
        mtu.load(Ordering::Relaxed)
    }

    /// Returns the address. It is changed under RTNL only.
    pub fn mac_address(&self) -> MacAddress {
        // SAFETY: The device is valid. Its address has room for 32 bytes, six of which are used for Ethernet.
        MacAddress(unsafe { (*self.as_raw()).dev_addr.cast::<[u8; 6]>().read() })
    }

    /// Returns the features that are in use.
    #[inline]
    pub fn features(&self) -> Features {
        // SAFETY: The device is valid. The field is accessed atomically, as C does on 64-bit machines.
        let features = unsafe { AtomicU64::from_ptr(&raw mut (*self.as_raw()).features) };
        Features::from_raw(features.load(Ordering::Relaxed))
    }

    /// Checks whether the device is up. This is set before `open` and reset before `stop`.
    pub fn is_running(&self) -> bool {
        self.state() & (1 << bindings::netdev_state_t___LINK_STATE_START) != 0
    }

    /// Tells that there is a link. Any context.
    pub fn carrier_on(&self) {
        // SAFETY: The device is valid.
        unsafe { bindings::netif_carrier_on(self.as_raw()) };
    }

    /// Tells that there is no link. Any context.
    pub fn carrier_off(&self) {
        // SAFETY: The device is valid.
        unsafe { bindings::netif_carrier_off(self.as_raw()) };
    }

    /// Checks whether there is a link, as told by the driver.
    pub fn carrier_ok(&self) -> bool {
        self.state() & (1 << bindings::netdev_state_t___LINK_STATE_NOCARRIER) == 0
    }

    /// Checks whether there is a receive queue and a transmit queue of a number, in use or not.
    pub(super) fn has_queue_pair(&self, index: u16) -> bool {
        // SAFETY: The device is valid; the numbers don't change.
        let (rx, tx) = unsafe {
            (
                (*self.as_raw()).num_rx_queues,
                (*self.as_raw()).num_tx_queues,
            )
        };
        u32::from(index) < rx.min(tx)
    }

    /// Checks whether there are settings for a NAPI instance of a number.
    pub(super) fn has_napi_config(&self, index: u16) -> bool {
        // SAFETY: The device is valid; the number doesn't change.
        u32::from(index) < unsafe { (*self.as_raw()).num_napi_configs }
    }

    /// Returns the number of transmit queues, in use or not.
    pub(super) fn allocated_tx_queues(&self) -> u16 {
        // SAFETY: The device is valid; the number doesn't change.
        let queues = unsafe { (*self.as_raw()).num_tx_queues };
        // CAST: Devices of other drivers may have more.
        u16::try_from(queues).unwrap_or(u16::MAX)
    }
}
