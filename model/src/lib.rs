// SPDX-License-Identifier: GPL-2.0

//! A model of the eHEA adapter: everything of it that a guest can see.
//!
//! [`Adapter`] is a state machine without threads and without a clock of its own. A [`Host`] (QEMU
//! through `ffi`, or a test through `testkit`) calls it with hypercalls, register accesses, frames
//! and deadlines. The adapter answers at once and reaches guest memory, interrupts, the timer and
//! the wire through the same trait. It never trusts what the guest says: a wrong call is a
//! [`Refusal`] with its documented return code, and a wrong work request is a [`Violation`] that
//! puts its queue pair into the error state.
//!
//! "§" in comments refers to the eHEA ABI, Documentation/abi.rst. Where that leaves something to
//! the implementation, the comment says "choice".
//!
//! The folders follow the hardware. Each line imports only from those above it:
//!
//! | files | what |
//! |---|---|
//! | `limits` | limits on what a guest can make the adapter store or do at a time |
//! | `agenda`, `config`, `fault`, `refusal`, `stats`, `temper` | deadlines; configuration; faults on demand; refusals; statistics; behaviour that the interface leaves open |
//! | `object/` | objects that a guest allocates and the tables that hold them; ports |
//! | `memory/` | translation through memory regions, memory that was given back, mappings of a CMO partition |
//! | `host` | calls out of the model |
//! | `events` | notifications, completion events, interrupts |
//! | `life` | objects that fail, are freed or lose their memory |
//! | `traffic/` | sending and receiving |
//! | `mmio`, `hcall/` | registers, hypercalls |
//! | `run` | work that is done when its time has come |
//! | `adapter`, `ffi` | calls into the model |

#![deny(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

mod adapter;
mod agenda;
mod config;
mod events;
pub mod fault;
pub mod ffi;
mod hcall;
mod host;
mod life;
mod limits;
mod memory;
mod mmio;
mod object;
mod refusal;
mod run;
pub mod stats;
mod temper;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
#[cfg(test)]
mod tests;
mod traffic;

pub use adapter::Adapter;
pub use config::{Config, InvalidConfig};
pub use ehea_abi::cb::port::MAX_PORTS;
pub use host::{Host, NotRam, TraceLevel};
pub use refusal::{Refusal, Violation};
pub use temper::{Busy, Rough, Temper};
