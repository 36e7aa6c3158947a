// SPDX-License-Identifier: GPL-2.0

//! Sending and receiving.

pub(crate) mod budget;
pub(crate) mod checksum;
mod complete;
pub(crate) mod filter;
mod flight;
pub(crate) mod rx;
pub(crate) mod segment;
pub(crate) mod tx;
pub(crate) mod work;
