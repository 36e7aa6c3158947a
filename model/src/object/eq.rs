// SPDX-License-Identifier: GPL-2.0

//! Event queues: entries in memory and an interrupt (§3.1, §6.6).

use ehea_abi::hcall::EqKind;
use ehea_abi::ring::{EQES_PER_PAGE, EQE_SIZE};

use crate::object::ring::{Cursor, QueuePages};

/// An event queue.
#[derive(Debug)]
pub(crate) struct Eq {
    pub(crate) kind: EqKind,
    pub(crate) number: u32,
    pub(crate) irq: u32,
    pub(crate) pages: QueuePages,
    pub(crate) cursor: Cursor,
    /// True if an entry was written and its interrupt was not raised.
    pub(crate) withheld: bool,
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
}
