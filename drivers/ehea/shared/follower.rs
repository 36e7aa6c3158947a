// SPDX-License-Identifier: GPL-2.0

//! Adapter as the memory map sees it.

use super::{
    counters::RebuildCounters,
    members::Members,
    memory::{
        new_registration,
        Map,
        Registrar,
        Registration, //
    },
    snapshot::Snapshot, //
};
use crate::{
    abi::cb::adapter::PageSizes,
    error::Result,
    firmware::Firmware,
    mr::{
        self,
        AliveCount, //
    }, //
};
use core::ops::{
    Deref,
    DerefMut, //
};
use kernel::{
    device,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex,
        MutexGuard, //
    },
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// Number of attempts to lock the memory map or a registration, and interval, for those who do not wait for a
/// rebuild.
const LOCK_ATTEMPTS: u32 = 100;
const LOCK_INTERVAL: Delta = Delta::from_millis(1);

/// Locks `mutex`, unless others take long with what it protects.
pub(super) fn lock_soon<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    for _ in 0..LOCK_ATTEMPTS {
        if let Some(guard) = mutex.try_lock() {
            return Some(guard);
        }
        fsleep(LOCK_INTERVAL);
    }
    None
}

/// Adapter that follows the memory map: its region, and its ports.
#[pin_data]
pub(super) struct Follower {
    #[pin]
    registration: Mutex<Registration>,
    // What users see of it. Locked for a moment only.
    #[pin]
    snapshot: Mutex<Snapshot>,
    /// Stands for the map while there is no region.
    empty: Arc<Map>,
    // Number of regions.
    alive: Arc<AliveCount>,
    #[pin]
    members: Members,
    rebuilds: Arc<RebuildCounters>,
    // Dropped after the region: gives back what firmware has refused to take.
    firmware: Arc<Firmware>,
}

impl Follower {
    /// Returns an adapter that has no region yet, given an empty map.
    pub(super) fn new(
        firmware: &Arc<Firmware>,
        rebuilds: &Arc<RebuildCounters>,
        page_sizes: PageSizes,
        empty: &Arc<Map>,
    ) -> Result<Arc<Self>> {
        let registration = new_registration(firmware, rebuilds, page_sizes)?;
        Ok(Arc::pin_init(
            try_pin_init!(Self {
                snapshot <- new_mutex!(Snapshot::of(&registration, empty)),
                empty: empty.clone(),
                alive: registration.alive().clone(),
                registration <- new_mutex!(registration),
                members <- Members::new(),
                rebuilds: rebuilds.clone(),
                firmware: firmware.clone(),
            }),
            GFP_KERNEL,
        )?)
    }

    /// Returns the ports.
    pub(super) fn members(&self) -> &Members {
        &self.members
    }

    /// Returns the device for messages.
    pub(super) fn dev(&self) -> &device::Device {
        self.firmware.dev()
    }

    /// Returns the counts of rebuilds.
    pub(super) fn rebuilds(&self) -> &RebuildCounters {
        &self.rebuilds
    }

    /// Returns the number of regions that exist.
    pub(super) fn regions(&self) -> u32 {
        self.alive.get()
    }

    /// Returns the state of the registration when nothing was done with it last.
    pub(super) fn snapshot(&self) -> Snapshot {
        self.snapshot.lock().clone()
    }

    /// Locks the registration, to do something with it.
    pub(super) fn lock(&self) -> LockedRegistration<'_> {
        LockedRegistration {
            registration: self.registration.lock(),
            follower: self,
        }
    }

    /// Locks the registration as [`Follower::lock`] does, unless others take long with it.
    pub(super) fn lock_soon(&self) -> Option<LockedRegistration<'_>> {
        Some(LockedRegistration {
            registration: lock_soon(&self.registration)?,
            follower: self,
        })
    }
}

impl mr::Adapter for Arc<Follower> {
    type Backend = Registrar;
    type Ports = Members;

    fn with<T>(&self, f: impl FnOnce(&mut Registration, &Members) -> T) -> T {
        f(&mut self.lock(), &self.members)
    }
}

/// Registration of the memory map, locked. Users see what was done with it when this is dropped.
pub(super) struct LockedRegistration<'a> {
    registration: MutexGuard<'a, Registration>,
    follower: &'a Follower,
}

impl Deref for LockedRegistration<'_> {
    type Target = Registration;

    fn deref(&self) -> &Registration {
        &self.registration
    }
}

impl DerefMut for LockedRegistration<'_> {
    fn deref_mut(&mut self) -> &mut Registration {
        &mut self.registration
    }
}

impl Drop for LockedRegistration<'_> {
    fn drop(&mut self) {
        let now = Snapshot::of(&self.registration, &self.follower.empty);
        let before = core::mem::replace(&mut *self.follower.snapshot.lock(), now);
        // Freed here, not under the lock.
        drop(before);
    }
}
