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
//! The files follow the hardware:
//!
//! | files | what |
//! |---|---|
//! | `adapter`, `host`, `config` | the outside: calls into the model and out of it |
//! | `hcall`, `alloc`, `pages`, `query`, `portctl` | hypercalls |
//! | `mmio` | registers |
//! | `eq`, `cq`, `qp`, `mr`, `port` | objects; `table`, `ring` what they are kept in and made of |
//! | `translate` | memory regions at work |
//! | `tce` | what the adapter may reach in a CMO partition |
//! | `tx`, `segment`, `checksum` | sending |
//! | `rx`, `filter` | receiving |
//! | `event` | notifications, errors, deadlines |
//! | `refusal`, `fault`, `stats` | what was refused, faults on demand, what is counted |

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
mod alloc;
mod checksum;
mod config;
mod cq;
mod eq;
mod event;
pub mod fault;
pub mod ffi;
mod filter;
mod hcall;
mod host;
mod mmio;
mod mr;
mod pages;
mod port;
mod portctl;
mod qp;
mod query;
mod refusal;
mod removed;
mod ring;
mod rx;
mod segment;
mod state;
pub mod stats;
mod table;
mod tce;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
#[cfg(test)]
mod tests;
mod translate;
mod tx;

pub use adapter::Adapter;
pub use config::{Config, InvalidConfig, MAX_PORTS};
pub use host::{Host, NotRam, TraceLevel};
pub use refusal::{Refusal, Violation};
