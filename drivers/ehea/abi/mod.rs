// SPDX-License-Identifier: GPL-2.0

//! The firmware and hardware interface of the eHEA adapter, as types.
//!
//! Everything that crosses the line between driver and adapter is described here once: hypercalls
//! and their register images ([`hcall`]), control blocks in memory ([`cb`]), memory-mapped
//! registers ([`regs`]), queue entries ([`wqe`], [`cqe`], [`eqe`]) and the geometry of rings
//! ([`ring`]). The driver and the adapter model are both written against this module and contain no
//! offset, shift or mask of their own.
//!
//! Bit positions are given in IBM numbering (bit 0 is the most significant one), as in the
//! adapter's documentation; see [`bits`]. Multi-byte fields in memory are big-endian by type,
//! whatever the byte order of the processor.
//!
//! The files use nothing but `core` and `zerocopy`: the kernel build compiles them into the module,
//! cargo compiles them as the crate `ehea-abi`. The sources of the facts are listed in
//! Documentation/abi.rst; "§" in comments refers to it.

pub mod bits;
pub mod cb;
pub mod cqe;
pub mod eqe;
pub mod hcall;
pub mod regs;
pub mod ring;
pub mod wqe;
