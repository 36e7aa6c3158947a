// SPDX-License-Identifier: GPL-2.0

//! Hypercalls: made through a trait, repeated while firmware is busy, with errors that name the call
//! (eHEA ABI §3).
//!
//! The code talks to the platform through the traits [`Hypervisor`] and [`PageList`] only. In the
//! kernel they make real hypercalls, in the tests they talk to the adapter model.

mod caller;
mod pages;
#[cfg(test)]
mod tests;

pub use caller::{
    Caller, HcallError, Hypervisor, Memory, QueuePage, BUSY_TIMEOUT_MS, PROTECTION_DOMAIN,
};
pub use pages::{next_count, PageList};
