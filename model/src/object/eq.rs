// SPDX-License-Identifier: GPL-2.0

//! Event queues: entries in memory and an interrupt (§3.1, §6.6).

use ehea_abi::eqe::VALID;
use ehea_abi::hcall::EqKind;
use ehea_abi::ring::{EQES_PER_PAGE, EQE_SIZE};

use crate::host::{DmaError, Env, TraceLevel};
use crate::object::ring::{Cursor, QueuePages};

/// An event queue.
#[derive(Debug)]
pub(crate) struct Eq {
    pub(crate) kind: EqKind,
    pub(crate) number: u32,
    pub(crate) irq: u32,
    pub(crate) pages: QueuePages,
    cursor: Cursor,
    /// An entry was written and its interrupt was not raised.
    withheld: bool,
}

impl Eq {
    pub(crate) fn new(kind: EqKind, number: u32, irq: u32, pages: u32) -> Self {
        Self {
            kind,
            number,
            irq,
            pages: QueuePages::new(pages),
            cursor: Cursor::new(pages.saturating_mul(EQES_PER_PAGE), EQE_SIZE),
            withheld: false,
        }
    }

    /// Writes an entry and raises the interrupt, one for each entry (§6.7, choice). The adapter
    /// learns nothing of what the driver has read, so a slow driver can be overtaken (Q33).
    pub(crate) fn post(&mut self, env: &mut Env<'_>, entry: u64) {
        let address = self.pages.address(self.cursor.offset());
        let valid = VALID.flag(self.cursor.toggle().bit());
        let written = match address {
            Some(gpa) if self.pages.is_complete() => {
                env.dma_write_u64(gpa, VALID.replace(entry, 0) | valid)
            }
            _ => Err(DmaError::NotRam),
        };
        if let Err(why) = written {
            if why == DmaError::NotRam && self.pages.is_complete() {
                env.counters.removed_access();
            }
            env.trace(
                TraceLevel::Event,
                format_args!(
                    "event {entry:#018x} lost: memory of event queue {:#x}: {why:?}",
                    self.number
                ),
            );
            return;
        }
        self.cursor.advance();
        self.withheld = true;
        self.interrupt(env);
    }

    /// Raises the interrupt, unless a fault drops it.
    pub(crate) fn interrupt(&mut self, env: &mut Env<'_>) {
        if env.faults.drops_interrupt(self.kind) {
            env.trace(
                TraceLevel::Event,
                format_args!("interrupt {:#x} dropped by a fault", self.irq),
            );
            return;
        }
        self.withheld = false;
        env.counters.interrupt();
        env.host.irq_pulse(self.irq);
    }

    /// H_RESET_EVENTS: raises the interrupt if it is owed, never otherwise (M19).
    pub(crate) fn reset_events(&mut self, env: &mut Env<'_>) {
        if self.withheld {
            self.interrupt(env);
        }
    }
}
