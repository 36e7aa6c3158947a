// SPDX-License-Identifier: GPL-2.0

//! An object of the module that several devices have in common.

use super::module_lock::{
    ModuleLock,
    Shared, //
};
use core::ops::Deref;
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// The object, and the number of its users.
struct InUse<T> {
    object: Arc<T>,
    users: usize,
}

/// A static variable for an object that exists while it has users: the first one makes it, and it is dropped
/// with the last one.
///
/// A bus hands nothing of the module to a probe, so this is how probes find what they have in common.
pub struct Common<T: 'static>(Shared<Option<InUse<T>>>);

impl<T: Send + Sync> Common<T> {
    /// Makes the variable; there is no object.
    #[allow(clippy::new_without_default, reason = "for static variables")]
    pub const fn new() -> Self {
        Self(Shared::new(None))
    }

    /// Adds a user. If it is the first one, the object is made by `make`, under the module's lock. Process
    /// context; not under locks that `make` takes.
    ///
    /// # Errors
    ///
    /// Those of `make`.
    pub fn get<E>(&'static self, make: impl FnOnce() -> Result<Arc<T>, E>) -> Result<User<T>, E> {
        let mut lock = ModuleLock::take();
        let slot = self.0.get(&mut lock);
        let in_use = match slot {
            Some(in_use) => in_use,
            None => slot.insert(InUse {
                object: make()?,
                users: 0,
            }),
        };
        in_use.users += 1;
        Ok(User {
            object: in_use.object.clone(),
            common: self,
        })
    }
}

/// A user of an object. On drop, the last one drops the object, without the module's lock.
pub struct User<T: Send + Sync + 'static> {
    object: Arc<T>,
    common: &'static Common<T>,
}

impl<T: Send + Sync> Deref for User<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.object
    }
}

impl<T: Send + Sync> Drop for User<T> {
    fn drop(&mut self) {
        let mut lock = ModuleLock::take();
        let slot = self.common.0.get(&mut lock);
        let is_last = slot.as_mut().is_none_or(|in_use| {
            in_use.users -= 1;
            in_use.users == 0
        });
        // The last reference is that of the user.
        let object = if is_last { slot.take() } else { None };
        drop(lock);
        drop(object);
    }
}
