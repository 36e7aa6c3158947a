// SPDX-License-Identifier: GPL-2.0

//! The locks under which network devices are configured.
//!
//! - RTNL: one lock for all devices.
//! - The instance lock: one for each device, taken after RTNL if both are. The devices made here ask
//!   the stack to take it for their operations (`request_ops_lock`).
//!
//! What the stack holds when it calls is in the table of `rust/README.md`. A value of one of these types is
//! the proof that a lock is held; that which is made for a callback is compared with what lockdep knows.
//!
//! C headers: `include/linux/rtnetlink.h`, `include/net/netdev_lock.h`

use super::Device;
use crate::kernel_ext::bindings;
use core::ops::Deref;
use kernel::{
    error::to_result,
    prelude::*,
    types::NotThreadSafe, //
};

/// Proof that this thread holds RTNL.
pub struct Rtnl(NotThreadSafe);

impl Rtnl {
    /// Returns the proof, for a callback that C makes under the lock.
    ///
    /// # Safety
    ///
    /// The caller holds RTNL as long as the value exists.
    pub(crate) unsafe fn held() -> Self {
        // SAFETY: No precondition.
        unsafe { bindings::rust_ext_assert_rtnl() };
        Self(NotThreadSafe)
    }
}

/// Proof that this thread holds the instance lock of a device.
pub struct InstanceLock<'a> {
    dev: &'a Device,
    _context: NotThreadSafe,
}

impl<'a> InstanceLock<'a> {
    /// Returns the proof, for a callback that C makes under the lock.
    ///
    /// # Safety
    ///
    /// The caller holds the instance lock of `dev` as long as the value exists.
    pub(crate) unsafe fn held(dev: &'a Device) -> Self {
        // SAFETY: The device is valid.
        unsafe { bindings::mutex_assert_is_held(&raw mut (*dev.as_raw()).lock) };
        Self {
            dev,
            _context: NotThreadSafe,
        }
    }

    /// Returns whether the lock is that of `dev`.
    pub fn is_of(&self, dev: &Device) -> bool {
        core::ptr::eq(self.dev, dev)
    }
}

/// Proof that this thread holds RTNL and the instance lock of a device.
pub struct ConfigLock<'a> {
    instance: InstanceLock<'a>,
    _rtnl: Rtnl,
}

impl<'a> ConfigLock<'a> {
    /// Returns the proof, for a callback that C makes under both locks.
    ///
    /// # Safety
    ///
    /// The caller holds both locks as long as the value exists.
    pub(crate) unsafe fn held(dev: &'a Device) -> Self {
        // SAFETY: By the safety requirement.
        unsafe {
            Self {
                _rtnl: Rtnl::held(),
                instance: InstanceLock::held(dev),
            }
        }
    }

    /// Changes the numbers of queues in use.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there are not as many queues, or none; `ENOMEM`; `ENODEV` if the device is being
    /// unregistered.
    pub fn set_real_queues(&self, tx: u16, rx: u16) -> Result {
        if !self.dev.is_configurable() {
            return Err(ENODEV);
        }
        // SAFETY: The device is valid, both locks are held.
        to_result(unsafe {
            bindings::netif_set_real_num_queues(self.dev.as_raw(), tx.into(), rx.into())
        })
    }

    /// Makes the stack call `set_rx_mode` again after a while, and again later if that fails, as it does
    /// after a call of its own.
    pub fn retry_rx_mode(&self) {
        // SAFETY: The device is valid, the instance lock is held. The timer is part of the device.
        unsafe { bindings::netif_rx_mode_schedule_retry(self.dev.as_raw()) };
    }
}

impl<'a> Deref for ConfigLock<'a> {
    type Target = InstanceLock<'a>;

    fn deref(&self) -> &InstanceLock<'a> {
        &self.instance
    }
}

/// RTNL and the instance lock of a device, released on drop.
pub struct ConfigGuard<'a>(ConfigLock<'a>);

impl<'a> ConfigGuard<'a> {
    /// Takes both locks. Process context; not in a callback that is made under one of them.
    pub fn new(dev: &'a Device) -> Self {
        // SAFETY: No precondition.
        unsafe { bindings::rtnl_lock() };
        // SAFETY: The device is valid.
        unsafe { bindings::mutex_lock(&raw mut (*dev.as_raw()).lock) };
        // SAFETY: Taken just now.
        Self(unsafe { ConfigLock::held(dev) })
    }
}

impl<'a> Deref for ConfigGuard<'a> {
    type Target = ConfigLock<'a>;

    fn deref(&self) -> &ConfigLock<'a> {
        &self.0
    }
}

impl Drop for ConfigGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: Taken by this thread in `new()`: the guard can't be sent to another one.
        unsafe { bindings::mutex_unlock(&raw mut (*self.0.instance.dev.as_raw()).lock) };
        // SAFETY: As above.
        unsafe { bindings::rtnl_unlock() };
    }
}
