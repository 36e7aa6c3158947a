// SPDX-License-Identifier: GPL-2.0

//! The parts of the driver that need no kernel, for tests and benchmarks on the host.
//!
//! The kernel build compiles the same files as modules of the driver's crate, under the same paths.

#![cfg_attr(not(test), no_std)]

pub use ehea_abi as abi;

pub mod bmap;
pub mod cmo;
#[path = "port/difference.rs"]
pub mod difference;
pub mod hcall;
#[path = "port/moving.rs"]
pub mod moving;
pub mod mr;
pub mod queue;

/// Atomic variables, as `sync.rs` has them in the kernel.
mod sync {
    pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}
