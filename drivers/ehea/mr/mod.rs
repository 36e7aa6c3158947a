// SPDX-License-Identifier: GPL-2.0

//! Memory regions: their registration, and the policy for memory that comes or goes (eHEA ABI §8).
//!
//! A memory region is an owned value: dropping a [`MemoryRegion`] or [`SharedRegion`] frees it in
//! firmware. Hypercalls sleep, so both may be dropped in process context only. A shared region is
//! an owner of the region that it is made of, so that a region is freed only when nothing uses it
//! any more.
//!
//! The memory map ([`Memory`]) is one for all adapters; each of them has a [`Registration`] of it.

mod adapters;
mod alive;
mod follow;
mod generation;
mod memory;
mod miss;
mod obstacle;
mod policy;
mod region;
mod registration;
mod replace;
#[cfg(test)]
mod tests;

pub use adapters::Adapter;
pub use alive::{Alive, AliveCount};
pub use generation::{Generation, Keys, Translation};
pub use memory::{Memory, Source};
pub use miss::MissReport;
pub use obstacle::{Failure, Obstacle};
pub use policy::{
    Action, Exclusions, MapNumber, MemoryEvent, Policy, Rebuild, Replaced, TooManyRanges,
    MAX_EXCLUSIONS,
};
pub use region::{MemoryRegion, RegisterError, SharedRegion};
pub use registration::{Backend, GenerationOf, Registration};
pub use replace::{FailedStep, Port, Ports};
