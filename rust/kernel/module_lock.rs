// SPDX-License-Identifier: GPL-2.0

//! Data that all registrations of the module share, behind one lock.

use super::bindings;
use core::cell::UnsafeCell;
use kernel::types::NotThreadSafe;

/// The module's lock, released on drop.
pub(super) struct ModuleLock(NotThreadSafe);

impl ModuleLock {
    /// Takes the lock. Process context; not while it is held.
    pub(super) fn take() -> Self {
        // SAFETY: The mutex is initialised when the module is loaded.
        unsafe { bindings::mutex_lock(&raw mut bindings::rust_ext_module_lock) };
        Self(NotThreadSafe)
    }
}

impl Drop for ModuleLock {
    fn drop(&mut self) {
        // SAFETY: Taken by this thread in `take()`: the guard can't be sent to another one.
        unsafe { bindings::mutex_unlock(&raw mut bindings::rust_ext_module_lock) };
    }
}

/// Data that are accessed under the module's lock.
pub(super) struct Shared<T>(UnsafeCell<T>);

// SAFETY: The lock lets one thread at a time have the data.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Makes data for a static variable.
    pub(super) const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// Returns the data.
    #[allow(clippy::mut_from_ref, reason = "the lock is borrowed mutably")]
    pub(super) fn get<'a>(&'a self, _lock: &'a mut ModuleLock) -> &'a mut T {
        // SAFETY: There is one guard at a time, and it is borrowed as long as the reference.
        unsafe { &mut *self.0.get() }
    }
}
