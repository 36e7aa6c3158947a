// SPDX-License-Identifier: GPL-2.0
//! Scenarios that both drivers must pass, and parts of scenarios that only one has.

pub mod cmo;
pub mod crash;
pub mod drops;
pub mod faults;
pub mod filters;
pub mod memory;
pub mod offload;
pub mod quirks;
pub mod settings;
pub mod traffic;
pub mod vlan;
