// SPDX-License-Identifier: GPL-2.0

//! A machine around the adapter, and a guest that uses the adapter well, for tests of this and
//! other crates.
//!
//! [`TestMachine`] has sparse memory with holes. It is also an oracle: it panics if the adapter
//! touches memory that no successful call registered or, in a CMO partition, no TCE maps. It also
//! panics if it is dropped while objects are alive. [`TestGuest`] brings everything up like a
//! driver, sends and receives, and takes everything down again.
//!
//! Nothing depends on real time: virtual time passes only in [`TestMachine::advance`].

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
