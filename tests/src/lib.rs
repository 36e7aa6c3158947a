// SPDX-License-Identifier: GPL-2.0
//! End-to-end tests of the driver against a booted guest: the parts that scenarios, demo and
//! benchmarks share.

#![forbid(unsafe_code)]

pub mod background;
pub mod bench;
pub mod checks;
pub mod cmo;
pub mod counters;
pub mod demo;
pub mod known;
pub mod lab;
pub mod machine;
pub mod memory;
pub mod observe;
pub mod peer;
pub mod selftests;
pub mod soak;
pub mod suite;
pub mod system;
pub mod totals;

// The harness does not know the adapter model.
const _: () = assert!(ehea_harness::MAX_PORTS == ehea_model::MAX_PORTS);
