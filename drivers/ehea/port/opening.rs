// SPDX-License-Identifier: GPL-2.0

//! Times and occasions at which a port is opened, and what may be in the way.

use core::sync::atomic::{
    AtomicU32,
    AtomicU64,
    Ordering::Relaxed, //
};

/// Number of attempts to open a port whose buffers turn out not to be in the memory map.
const MAP_ATTEMPTS: u32 = 3;

/// Time at which a port is opened.
#[derive(Clone, Copy)]
pub(super) enum Opened {
    /// It is open.
    Now,
    /// It will be opened when the memory map is not rebuilt any more.
    Later,
}

/// Occasion on which a port is opened by the driver.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Occasion {
    /// The port is reset.
    Reset,
    /// The stack has opened the port, which was put off.
    Open,
}

/// Memory that is not in the map, and that a port needs to be opened. It changes under the instance lock, except
/// for being taken.
pub(super) struct Missing {
    /// Real address, or [`Missing::NONE`].
    address: AtomicU64,
    /// Number of attempts that have failed because of such memory.
    attempts: AtomicU32,
}

impl Missing {
    /// Value that is no address.
    const NONE: u64 = u64::MAX;

    /// Returns the value for nothing.
    pub(super) fn new() -> Self {
        Self {
            address: AtomicU64::new(Self::NONE),
            attempts: AtomicU32::new(0),
        }
    }

    /// Reports memory that is not in the map. Returns false if that was done so often that it is of no use.
    pub(super) fn report(&self, address: u64) -> bool {
        let attempts = self.attempts.load(Relaxed);
        self.attempts.store(attempts.saturating_add(1), Relaxed);
        self.address.store(address, Relaxed);
        attempts < MAP_ATTEMPTS
    }

    /// Forgets what was reported, because the port is open, is closed, or cannot be opened.
    pub(super) fn forget(&self) {
        self.attempts.store(0, Relaxed);
        self.address.store(Self::NONE, Relaxed);
    }

    /// Takes what was reported last.
    pub(super) fn take(&self) -> Option<u64> {
        let address = self.address.swap(Self::NONE, Relaxed);
        (address != Self::NONE).then_some(address)
    }
}
