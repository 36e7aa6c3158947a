// SPDX-License-Identifier: GPL-2.0

//! A model of the eHEA adapter: all that a guest can see of it.
//!
//! [`Adapter`] is a state machine without threads or a clock of its own. A [`Host`] (QEMU through
//! `ffi`, or a test through `testkit`) calls it with hypercalls, register accesses, frames and
//! deadlines; the adapter answers at once and reaches guest memory, interrupts, the timer and the
//! wire through the same trait. What the guest says is never trusted: a wrong call is a
//! [`Refusal`] with its documented return code, a wrong work request a [`Violation`] that puts its
//! queue pair in the error state.
//!
//! "§" in comments refers to the eHEA ABI, Documentation/abi.rst. Where that leaves something to
//! the implementation, the comment says "choice".
//!
//! The folders follow the hardware:
//!
//! | files | what |
//! |---|---|
//! | `config`, `refusal`, `fault`, `stats` | limits; what was refused, faults on demand, what is counted |
//! | `object/` | what a guest allocates, and what that is kept in: event, completion and work queues, memory regions, ports |
//! | `memory/` | memory regions at work, memory that was given back, what is mapped in a CMO partition |
//! | `host` | the outside: calls out of the model |
//! | `events` | notifications, errors, completion events, deadlines |
//! | `traffic/` | sending and receiving |
//! | `hcall/`, `mmio` | hypercalls, registers |
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
mod config;
mod events;
pub mod fault;
pub mod ffi;
mod hcall;
mod host;
mod memory;
mod mmio;
mod object;
mod refusal;
pub mod stats;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
#[cfg(test)]
mod tests;
mod traffic;

pub use adapter::Adapter;
pub use config::{Config, InvalidConfig, MAX_PORTS};
pub use host::{Host, NotRam, TraceLevel};
pub use refusal::{Refusal, Violation};
