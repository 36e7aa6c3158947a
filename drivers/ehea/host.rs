// SPDX-License-Identifier: GPL-2.0
//! The parts of the driver that need no kernel, for tests and benchmarks on the host.
#![no_std]
pub use ehea_abi as abi;
