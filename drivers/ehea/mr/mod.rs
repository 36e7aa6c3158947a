// SPDX-License-Identifier: GPL-2.0

//! Memory regions: hypercalls with their retry policy, registration of pages, and what to do when
//! memory comes or goes (eHEA ABI §3 and §8).
//!
//! The code talks to the platform through the traits [`Hypervisor`] and [`PageList`] only. In the
//! kernel they make real hypercalls, in the tests they talk to the adapter model.
//!
//! A memory region is an owned value: dropping a [`MemoryRegion`] or [`SharedRegion`] frees it in
//! firmware. Hypercalls sleep, therefore both may only be dropped in process context. A shared
//! region keeps the region that it is made of alive, so that a region is freed only when nothing
//! uses it any more.

mod alive;
mod hypervisor;
mod miss;
mod pages;
mod policy;
mod region;
mod replace;
#[cfg(test)]
mod tests;

pub use alive::{Alive, AliveCount};
pub use hypervisor::{Firmware, HcallError, Hypervisor, BUSY_TIMEOUT_MS};
pub use miss::MissReport;
pub use pages::PageList;
pub use policy::{
    Action, Event, Exclusions, Generation, Outcome, Policy, Rebuild, TooManyRanges, MAX_EXCLUSIONS,
};
pub use region::{MemoryRegion, RegisterError, SharedRegion, PROTECTION_DOMAIN};
pub use replace::{move_ports, replace, Port, Ports, Regions, Replaced};
