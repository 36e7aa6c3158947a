// SPDX-License-Identifier: GPL-2.0

//! Objects of an adapter: those that a guest allocates, and its ports.

pub(crate) mod bcmc;
pub(crate) mod cq;
pub(crate) mod eq;
pub(crate) mod fifo;
pub(crate) mod flight;
pub(crate) mod mr;
pub(crate) mod port;
pub(crate) mod qp;
pub(crate) mod ring;
mod snapshot;
pub(crate) mod state;
pub(crate) mod table;
