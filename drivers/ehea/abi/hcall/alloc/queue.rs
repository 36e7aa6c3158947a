// SPDX-License-Identifier: GPL-2.0

//! Event queues and completion queues.

use super::super::super::bits::Bits64;
use super::super::Regs;
use super::{ResourceType, LOW_WORD, TYPE};

/// Kind of an event queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EqKind {
    /// Notification event queue: for port and adapter events.
    Notification,
    /// Affiliated event queue: for asynchronous errors of queue pairs and completion queues.
    /// Entries are written.
    Affiliated,
    /// Completion event queue: an interrupt source only. No entries are written.
    Completion,
}

/// H_ALLOC_HEA_RESOURCE of an event queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocEq {
    /// Adapter handle.
    pub adapter: u64,
    /// Kind of the queue.
    pub kind: EqKind,
    /// Number of interrupt sources, two bits.
    pub interrupt_sources: u8,
    /// Number of entries that the queue must have at least.
    pub max_eqes: u32,
}

impl AllocEq {
    const NEQ: Bits64 = Bits64::bit(0);
    const SOURCES: Bits64 = Bits64::range(6, 7);
    const INHIBIT_EQES: Bits64 = Bits64::bit(16);

    /// Returns the registers of the call.
    pub const fn pack(&self) -> Regs {
        let (neq, inhibit) = match self.kind {
            EqKind::Notification => (true, false),
            EqKind::Affiliated => (false, false),
            EqKind::Completion => (false, true),
        };
        let control = TYPE.set(ResourceType::EQ.0 as u64)
            | Self::NEQ.flag(neq)
            | Self::SOURCES.set(self.interrupt_sources as u64)
            | Self::INHIBIT_EQES.flag(inhibit);
        [
            self.adapter,
            control,
            self.max_eqes as u64,
            0,
            0,
            0,
            0,
            0,
            0,
        ]
    }

    /// Returns the call in registers, or `None` for a notification queue that inhibits its entries.
    pub const fn unpack(regs: &Regs) -> Option<Self> {
        let [adapter, control, max_eqes, ..] = *regs;
        let kind = match (
            Self::NEQ.is_set(control),
            Self::INHIBIT_EQES.is_set(control),
        ) {
            (true, false) => EqKind::Notification,
            (false, false) => EqKind::Affiliated,
            (false, true) => EqKind::Completion,
            (true, true) => return None,
        };
        Some(Self {
            adapter,
            kind,
            interrupt_sources: Self::SOURCES.get(control) as u8,
            max_eqes: LOW_WORD.get(max_eqes) as u32,
        })
    }
}

/// Answer to the allocation of an event queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EqAllocated {
    /// Handle of the queue.
    pub handle: u64,
    /// Number of entries.
    pub eqes: u32,
    /// Number of queue pages to register.
    pub pages: u32,
    /// Number of the interrupt, 24 bits.
    pub interrupt: u32,
}

impl EqAllocated {
    const SOURCES: Bits64 = Bits64::range(30, 31);
    const INTERRUPT: Bits64 = Bits64::range(40, 63);

    /// Returns the registers of the answer.
    pub const fn pack(&self) -> Regs {
        [
            self.handle,
            0,
            0,
            self.eqes as u64,
            self.pages as u64,
            Self::SOURCES.set(1) | Self::INTERRUPT.set(self.interrupt as u64),
            0,
            0,
            0,
        ]
    }

    /// Returns the answer in registers.
    pub const fn unpack(regs: &Regs) -> Self {
        let [handle, _, _, eqes, pages, interrupt, ..] = *regs;
        Self {
            handle,
            eqes: LOW_WORD.get(eqes) as u32,
            pages: LOW_WORD.get(pages) as u32,
            interrupt: Self::INTERRUPT.get(interrupt) as u32,
        }
    }
}

/// H_ALLOC_HEA_RESOURCE of a completion queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocCq {
    /// Adapter handle.
    pub adapter: u64,
    /// Handle of the event queue whose interrupt reports completions.
    pub eq: u64,
    /// Token, chosen by the driver; error events carry it.
    pub token: u32,
    /// Number of entries that the queue must have at least.
    pub cqes: u32,
}

impl AllocCq {
    /// Returns the registers of the call.
    pub const fn pack(&self) -> Regs {
        [
            self.adapter,
            TYPE.set(ResourceType::CQ.0 as u64),
            self.eq,
            self.token as u64,
            self.cqes as u64,
            0,
            0,
            0,
            0,
        ]
    }

    /// Returns the call in registers.
    pub const fn unpack(regs: &Regs) -> Self {
        let [adapter, _, eq, token, cqes, ..] = *regs;
        Self {
            adapter,
            eq,
            token: LOW_WORD.get(token) as u32,
            cqes: LOW_WORD.get(cqes) as u32,
        }
    }
}

/// Answer to the allocation of a completion queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CqAllocated {
    /// Handle of the queue.
    pub handle: u64,
    /// Number of entries.
    pub cqes: u32,
    /// Number of queue pages to register.
    pub pages: u32,
    /// Real address of the register block.
    pub registers: u64,
}

impl CqAllocated {
    /// Returns the registers of the answer.
    pub const fn pack(&self) -> Regs {
        [
            self.handle,
            0,
            0,
            self.cqes as u64,
            self.pages as u64,
            self.registers,
            self.registers,
            0,
            0,
        ]
    }

    /// Returns the answer in registers.
    pub const fn unpack(regs: &Regs) -> Self {
        let [handle, _, _, cqes, pages, registers, ..] = *regs;
        Self {
            handle,
            cqes: LOW_WORD.get(cqes) as u32,
            pages: LOW_WORD.get(pages) as u32,
            registers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the register images of §3.1.
    #[test]
    fn eq() {
        for (kind, control) in [
            (EqKind::Notification, 0x8100_0000_0000_0003),
            (EqKind::Affiliated, 0x0100_0000_0000_0003),
            (EqKind::Completion, 0x0100_8000_0000_0003),
        ] {
            let call = AllocEq {
                adapter: 7,
                kind,
                interrupt_sources: 1,
                max_eqes: 20,
            };
            assert_eq!(call.pack(), [7, control, 20, 0, 0, 0, 0, 0, 0]);
            assert_eq!(AllocEq::unpack(&call.pack()), Some(call));
            assert_eq!(ResourceType::of(&call.pack()), ResourceType::EQ);
        }
        assert_eq!(
            AllocEq::unpack(&[7, 0x8100_8000_0000_0003, 20, 0, 0, 0, 0, 0, 0]),
            None
        );
    }

    #[test]
    fn eq_answer() {
        let answer = EqAllocated {
            handle: 0x1_0000_0001,
            eqes: 511,
            pages: 1,
            interrupt: 0x1280,
        };
        assert_eq!(
            answer.pack(),
            [0x1_0000_0001, 0, 0, 511, 1, 0x0000_0001_0000_1280, 0, 0, 0]
        );
        assert_eq!(EqAllocated::unpack(&answer.pack()), answer);
    }

    #[test]
    fn cq() {
        let call = AllocCq {
            adapter: 1,
            eq: 2,
            token: 3,
            cqes: 2046,
        };
        assert_eq!(call.pack(), [1, 2, 2, 3, 2046, 0, 0, 0, 0]);
        assert_eq!(AllocCq::unpack(&call.pack()), call);
        let answer = CqAllocated {
            handle: 9,
            cqes: 2047,
            pages: 32,
            registers: 0x1f00_0000_0000,
        };
        assert_eq!(CqAllocated::unpack(&answer.pack()), answer);
        assert_eq!(answer.pack()[5], 0x1f00_0000_0000);
    }
}
