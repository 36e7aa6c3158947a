// SPDX-License-Identifier: GPL-2.0

//! Times and occasions at which a port is opened, and what may be in the way.

use core::sync::atomic::{
    AtomicBool,
    AtomicU32,
    AtomicU64,
    Ordering::Relaxed, //
};
use kernel::fmt;

/// Number of attempts to open a port for which memory is not in the map, or for which the bus has no entitlement yet.
const ATTEMPTS: u32 = 3;

/// Time at which a port is opened.
#[derive(Clone, Copy)]
pub(super) enum Opened {
    /// It is open.
    Now,
    /// It will be opened when what is in the way has been waited for.
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

impl fmt::Display for Occasion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reset => "reset",
            Self::Open => "opening",
        })
    }
}

/// Record of a port whose opening was put off. It changes under the instance lock, except for the address being
/// taken.
pub(super) struct PutOff {
    /// Real address of memory that is not in the map, and that the port needs; or [`PutOff::NONE`].
    address: AtomicU64,
    /// Number of attempts that have failed.
    attempts: AtomicU32,
    /// True if the port is being reset.
    resets: AtomicBool,
}

impl PutOff {
    /// Value that is no address.
    const NONE: u64 = u64::MAX;

    /// Returns the value for a port of which nothing was put off.
    pub(super) fn new() -> Self {
        Self {
            address: AtomicU64::new(Self::NONE),
            attempts: AtomicU32::new(0),
            resets: AtomicBool::new(false),
        }
    }

    /// Counts an attempt that has failed. Returns false if there were so many that another one is of no use.
    pub(super) fn try_again(&self) -> bool {
        let attempts = self.attempts.load(Relaxed);
        self.attempts.store(attempts.saturating_add(1), Relaxed);
        attempts < ATTEMPTS
    }

    /// Counts an attempt that has failed because memory is not in the map, as [`PutOff::try_again`] does.
    pub(super) fn needs(&self, address: u64) -> bool {
        self.address.store(address, Relaxed);
        self.try_again()
    }

    /// Remembers on which occasion the port is opened.
    pub(super) fn remember(&self, occasion: Occasion) {
        self.resets.store(occasion == Occasion::Reset, Relaxed);
    }

    /// Returns the occasion on which the port is opened.
    pub(super) fn occasion(&self) -> Occasion {
        if self.resets.load(Relaxed) {
            Occasion::Reset
        } else {
            Occasion::Open
        }
    }

    /// Forgets everything, because the port is open, is closed, or cannot be opened.
    pub(super) fn forget(&self) {
        self.attempts.store(0, Relaxed);
        self.address.store(Self::NONE, Relaxed);
        self.resets.store(false, Relaxed);
    }

    /// Takes the address of memory that is not in the map.
    pub(super) fn take_address(&self) -> Option<u64> {
        let address = self.address.swap(Self::NONE, Relaxed);
        (address != Self::NONE).then_some(address)
    }
}
