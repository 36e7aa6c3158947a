// SPDX-License-Identifier: GPL-2.0

//! Memory-mapped registers (§5).
//!
//! Every queue pair and every completion queue has a block of 4 KiB of 64-bit big-endian registers,
//! at the real address that its allocation returned. Only eight-byte accesses are legal.

use super::bits::Bits64;

/// Size of a register block in bytes.
pub const BLOCK_SIZE: usize = 4096;

/// Registers of a queue pair: byte offsets in its block (§5.2).
pub mod qp {
    /// SQA: adds to the number of valid send work requests.
    pub const SQA: usize = 0x020;
    /// RQ1A: adds to the number of free slots of receive queue 1.
    pub const RQ1A: usize = 0x030;
    /// RQ2A: adds to the number of valid receive work requests of receive queue 2.
    pub const RQ2A: usize = 0x300;
    /// RQ3A: adds to the number of valid receive work requests of receive queue 3.
    pub const RQ3A: usize = 0x338;
    /// AER: affiliated error register, read.
    pub const AER: usize = 0x018;
    /// SQC: send queue entries not yet taken by the adapter, read.
    pub const SQC: usize = 0x028;
    /// RQ1C: free slots of receive queue 1 as the adapter counts them, read.
    pub const RQ1C: usize = 0x038;
    /// RQ2C: receive work requests of receive queue 2 not yet used, read.
    pub const RQ2C: usize = 0x308;
    /// RQ3C: receive work requests of receive queue 3 not yet used, read.
    pub const RQ3C: usize = 0x340;
}

/// Registers of a completion queue: byte offsets in its block (§5.3).
pub mod cq {
    /// FEC: free entry count, read.
    pub const FEC: usize = 0x30;
    /// FECA: adds to the free entry count.
    pub const FECA: usize = 0x38;
    /// EP: event pending; writing 0 clears it.
    pub const EP: usize = 0x40;
    /// N1: writing [`super::N1_ARM`] requests one event at the next completion. Reading the
    /// register back orders earlier stores.
    pub const N1: usize = 0x60;
}

/// Field of SQA, RQ1A, RQ2A and RQ3A that holds the count.
pub const WORK_QUEUE_ADDER: Bits64 = Bits64::range(48, 63);
/// Field of FECA that holds the count.
pub const FECA_COUNT: Bits64 = Bits64::range(32, 63);
/// Event-pending bit of EP.
pub const EP_PENDING: Bits64 = Bits64::bit(0);
/// Arming bit of N1.
pub const N1_ARM: Bits64 = Bits64::bit(0);
