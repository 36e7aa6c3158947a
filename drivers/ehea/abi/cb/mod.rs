// SPDX-License-Identifier: GPL-2.0

//! Control blocks: structures in memory that query and modify calls fill or read (§4).
//!
//! Every block starts on a 4 KiB boundary and is at most that long. A *selection mask* in a
//! register says which fields a call reads or writes: bit n of the mask (IBM numbering) stands for
//! field n of the block.

pub mod adapter;
pub mod error;
pub mod port;
pub mod qp;

/// Alignment and maximum length of a control block, in bytes.
pub const ALIGNMENT: usize = 4096;
