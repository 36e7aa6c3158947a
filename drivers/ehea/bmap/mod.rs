// SPDX-License-Identifier: GPL-2.0

//! The busmap: translation of real addresses to adapter addresses (eHEA ABI §8.1).
//!
//! The adapter sees memory through one memory region. The region covers all online system RAM in
//! sections of 16 MiB, in ascending order of real address and without holes. The busmap tells where
//! in the region a real address is. It stores *runs* of physically adjacent sections, so that a
//! machine with contiguous RAM needs one run, whatever its size.
//!
//! Memory with many holes also has an index. The range from the first to the last run is cut into
//! *buckets* of equal size, about as many as there are runs. Each bucket stores the last run that
//! starts in it or below it. The run of an address is that run or one of the few before it, however
//! many runs there are.
//!
//! A [`Busmap`] never changes once a [`Builder`] has made it, so readers need no lock. When memory
//! is added or removed, a new map is built and replaces the old one.
//!
//! The store of runs is a parameter ([`RunStore`]), because memory allocation differs between the
//! kernel and the host.

mod builder;
mod index;
mod map;
mod range;
mod run;
#[cfg(test)]
mod tests;

pub use builder::{BuildError, Builder};
pub use map::{Busmap, Pages};
pub use range::{RealRange, SECTION_SIZE};
pub use run::{OutOfMemory, Run, RunStore, START};
