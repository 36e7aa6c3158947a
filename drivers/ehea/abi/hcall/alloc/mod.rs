// SPDX-License-Identifier: GPL-2.0

//! H_ALLOC_HEA_RESOURCE in its four kinds (§3.1 to §3.4).

mod mr;
mod qp;
mod queue;

pub(super) use mr::MrAccess;
pub use mr::{AllocMr, MrAllocated, ACCESS_LOCAL_WRITE, ACCESS_REMOTE};
pub use qp::{AllocQp, QpAllocated, RqSlots};
pub use queue::{AllocCq, AllocEq, CqAllocated, EqAllocated, EqKind};

use super::super::bits::Bits64;
use super::Regs;

const TYPE: Bits64 = Bits64::range(56, 63);
const LOW_WORD: Bits64 = Bits64::range(32, 63);
const HIGH_WORD: Bits64 = Bits64::range(0, 31);

/// Type of the object that H_ALLOC_HEA_RESOURCE allocates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceType(pub u8);

impl ResourceType {
    /// A queue pair.
    pub const QP: Self = Self(1);
    /// A completion queue.
    pub const CQ: Self = Self(2);
    /// An event queue.
    pub const EQ: Self = Self(3);
    /// A memory region.
    pub const MR: Self = Self(5);

    /// Returns the type that the call with the registers `regs` asks for.
    pub const fn of(regs: &Regs) -> Self {
        Self(TYPE.get(regs[1]) as u8)
    }
}
