// SPDX-License-Identifier: GPL-2.0

//! The RTNL lock, which serialises configuration of network devices.

use crate::kernel_ext::bindings;
use core::ops::Deref;
use kernel::types::NotThreadSafe;

/// Proof that the RTNL lock is held by this thread.
pub struct Rtnl(NotThreadSafe);

impl Rtnl {
    /// The proof, for a callback that C makes under the lock.
    ///
    /// # Safety
    ///
    /// The caller holds the lock as long as the value exists.
    pub(crate) unsafe fn held() -> Self {
        Self(NotThreadSafe)
    }
}

/// The RTNL lock, released on drop.
pub struct Guard(Rtnl);

/// Takes the RTNL lock. Process context; not in a callback that is made under it.
pub fn lock() -> Guard {
    // SAFETY: No precondition.
    unsafe { bindings::rtnl_lock() };
    Guard(Rtnl(NotThreadSafe))
}

impl Deref for Guard {
    type Target = Rtnl;

    fn deref(&self) -> &Rtnl {
        &self.0
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // SAFETY: Taken by this thread in `lock()`: the guard can't be sent to another one.
        unsafe { bindings::rtnl_unlock() };
    }
}
