// SPDX-License-Identifier: GPL-2.0

//! Safe abstractions that the `kernel` crate lacks, laid out as they would be upstreamed.
//!
//! The only place of the module with `unsafe` code; the C side is in `rust/helpers`. See
//! `rust/README.md` for rules, contexts and locks.

mod attribute;
pub mod binding;
mod bound;
mod callback;
pub mod command;
pub mod common;
pub mod crash;
pub mod debugfs;
pub mod dma;
pub mod ethtool;
pub mod hypercall;
pub mod ibmebus;
pub mod io_be;
pub mod irq;
pub mod memory;
pub mod memory_hotplug;
mod module_lock;
pub mod net;
pub mod of;
pub mod page;
pub mod part;
pub mod vio;
pub mod workqueue;

pub(crate) use crate::bindings;
