// SPDX-License-Identifier: GPL-2.0

//! Transmission.
//!
//! - [`send`]: the posting side of a transmit queue; [`frame`]: frames as work requests describe them.
//! - [`bounce`]: memory to copy frames to that the adapter can't read where they are.
//! - [`complete`]: the completing side; [`ring`]: what both sides share.

pub(crate) mod bounce;
pub(crate) mod complete;
pub(crate) mod frame;
pub(crate) mod ring;
pub(crate) mod send;
