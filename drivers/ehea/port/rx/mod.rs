// SPDX-License-Identifier: GPL-2.0

//! Reception.
//!
//! - [`receive`]: the receiving side of a queue pair, and frames on their way to the stack.
//! - [`buffers`]: receive queues 2 and 3 with their buffers; [`ring`]: the ring; [`free`]: buffers of any
//!   memory; [`charged`]: buffers in a CMO partition.

pub(crate) mod buffers;
pub(crate) mod charged;
pub(crate) mod free;
pub(crate) mod receive;
pub(crate) mod ring;
