// SPDX-License-Identifier: GPL-2.0

//! Errors of the driver.
//!
//! Functions that can fail return an [`Error`]. An error of a hypercall names the call and its
//! answer. Each error is logged once, by a caller that knows the adapter or port. That caller turns
//! it into an error number, too. An error of something that is tried again by itself is logged once, however
//! long it lasts ([`LastingFailure`]).

use crate::{
    abi::hcall::ReturnCode,
    hcall::HcallError,
    mr::{
        Obstacle,
        RegisterError, //
    },
    queue::GeometryError, //
};
use core::sync::atomic::{
    AtomicBool,
    Ordering::Relaxed, //
};
use kernel::{
    fmt,
    prelude::*, //
};

/// Result of functions of the driver.
pub(crate) type Result<T = ()> = core::result::Result<T, Error>;

/// Reason for which something could not be done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Error {
    /// Firmware refused a call.
    Refused(HcallError),
    /// Firmware or the device tree returned a value that makes no sense.
    Invalid(&'static str),
    /// Firmware allocated a queue of impossible size.
    Geometry(GeometryError),
    /// Memory at this real address is not in the memory map.
    NotMapped(u64),
    /// The adapter does not complete what was posted to the send queue of this number.
    NotDrained(u16),
    /// The memory map cannot be changed now, or memory cannot be removed.
    Obstacle(Obstacle),
    /// A function of the kernel failed.
    Kernel(kernel::error::Error),
}

/// Failure of something that is tried again by itself.
#[derive(Default)]
pub(crate) struct LastingFailure(AtomicBool);

impl LastingFailure {
    /// Returns the state before the first attempt.
    pub(crate) const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Records how an attempt ended. Returns an error to be logged: the first one since an attempt
    /// succeeded.
    pub(crate) fn note(&self, result: Result) -> Option<Error> {
        let lasts = self.0.swap(result.is_err(), Relaxed);
        result.err().filter(|_| !lasts)
    }
}

impl Error {
    /// Returns the answer of firmware, if the error is about a hypercall.
    pub(crate) fn status(&self) -> Option<ReturnCode> {
        match self {
            Self::Refused(refusal) => Some(refusal.code),
            _ => None,
        }
    }

    /// Returns the error number for user space and the driver core.
    pub(crate) fn to_errno(self) -> kernel::error::Error {
        match self {
            Self::Refused(refusal) => match refusal.code {
                ReturnCode::AUTHORITY | ReturnCode::PRIVILEGE => EPERM,
                ReturnCode::NO_MEM => ENOMEM,
                ReturnCode::NOT_ENOUGH_RESOURCES
                | ReturnCode::TABLE_FULL
                | ReturnCode::MCG_FULL => ENOSPC,
                ReturnCode::BUSY => EBUSY,
                _ => EIO,
            },
            Self::Invalid(_) | Self::Geometry(_) => EIO,
            Self::NotMapped(_) => ENOMEM,
            Self::NotDrained(_) => ETIMEDOUT,
            Self::Obstacle(_) => EBUSY,
            Self::Kernel(error) => error,
        }
    }
}

impl From<HcallError> for Error {
    fn from(error: HcallError) -> Self {
        Self::Refused(error)
    }
}

impl From<RegisterError> for Error {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::NoMemory => Self::Kernel(ENOMEM),
            RegisterError::Hcall(error) => Self::Refused(error),
        }
    }
}

impl From<Obstacle> for Error {
    fn from(obstacle: Obstacle) -> Self {
        Self::Obstacle(obstacle)
    }
}

impl From<GeometryError> for Error {
    fn from(error: GeometryError) -> Self {
        Self::Geometry(error)
    }
}

impl From<kernel::error::Error> for Error {
    fn from(error: kernel::error::Error) -> Self {
        Self::Kernel(error)
    }
}

impl From<kernel::alloc::AllocError> for Error {
    fn from(error: kernel::alloc::AllocError) -> Self {
        Self::Kernel(error.into())
    }
}

impl From<Error> for kernel::error::Error {
    fn from(error: Error) -> Self {
        error.to_errno()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => core::fmt::Display::fmt(refusal, f),
            Self::Invalid(what) => write!(f, "invalid value from firmware: {what}"),
            Self::Geometry(error) => write!(f, "invalid size from firmware: {error}"),
            Self::NotMapped(address) => write!(f, "memory at {address:#x} is not mapped"),
            Self::Obstacle(obstacle) => core::fmt::Display::fmt(obstacle, f),
            Self::NotDrained(index) => write!(
                f,
                "send queue {index} does not drain: the adapter sends nothing, or the link partner takes too little"
            ),
            Self::Kernel(error) => match error.name() {
                Some(name) => f.write_str(name.to_str().unwrap_or("unknown error")),
                None => write!(f, "error {}", error.to_errno()),
            },
        }
    }
}
