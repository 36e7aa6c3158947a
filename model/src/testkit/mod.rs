// SPDX-License-Identifier: GPL-2.0

//! A machine around the adapter and a guest that uses it well, for tests of this and other crates.
//!
//! [`TestMachine`] has sparse memory with holes and is an oracle: it panics when the adapter touches
//! memory that no successful call registered or, in a CMO partition, no TCE maps, and when it is
//! dropped while objects are alive.
//! [`TestGuest`] brings everything up as a driver does, sends and receives, and takes it down again.
//!
//! Nothing depends on the wall clock: virtual time passes in [`TestMachine::advance`] only.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used
)]

mod alloc;
mod frame;
mod guest;
mod host;
mod machine;
mod port;
mod traffic;

pub use frame::Frame;
#[cfg(test)]
pub(crate) use guest::PD;
pub use guest::{GuestOptions, TestGuest};
pub use host::TestHost;
pub use machine::TestMachine;
pub use port::{Received, TestCq, TestEq, TestPort, TestQp, TestRing};
