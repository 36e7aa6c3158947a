// SPDX-License-Identifier: GPL-2.0

//! What firmware keeps for an adapter, to be given back when the kernel crashes.
//!
//! Nothing else would: the kernel that takes the dump knows none of the handles, and a crash doesn't
//! reset the machine. It would have to get along with what is left, and so would the adapter's
//! memory regions, of which there are few.

use crate::{
    abi::hcall::{
        Held,
        Opcode,
        Regs,
        ReturnCode, //
    },
    kernel_ext::{
        crash,
        hypercall,
        net::stats::Counter, //
    }, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::Mutex,
    time::{
        delay::udelay,
        Delta, //
    }, //
};

/// For how many milliseconds in all firmware may be busy when the kernel has crashed.
const PATIENCE_MS: u32 = 2_000;

/// A list of what firmware keeps for an adapter. It gives all of it back when the kernel has crashed.
#[pin_data]
pub(super) struct Ledger {
    adapter: u64,
    /// In the order in which it was taken. Nothing else is locked meanwhile.
    #[pin]
    held: Mutex<KVVec<Held>>,
    /// How much there was no memory for.
    missing: Counter,
}

impl Ledger {
    /// For the adapter with that handle, of which firmware keeps nothing yet.
    pub(super) fn new(adapter: u64) -> impl PinInit<Self> {
        pin_init!(Self {
            adapter,
            held <- new_mutex!(KVVec::new()),
            missing: Counter::default(),
        })
    }

    /// Takes note of a call that has succeeded. Process context.
    pub(super) fn note(&self, opcode: Opcode, args: &Regs, results: &Regs) {
        if let Some(taken) = Held::taken(opcode, args, results) {
            if self.held.lock().push(taken, GFP_KERNEL).is_err() {
                self.missing.inc();
            }
        } else if let Some(back) = Held::given_back(opcode, args) {
            let mut held = self.held.lock();
            // What was taken last is often given back first.
            if let Some(index) = held.iter().rposition(|held| *held == back) {
                let _ = held.remove(index);
            }
        }
    }

    /// Gives one back; whether firmware has taken it. It may be busy for `patience` milliseconds.
    fn give_back(&self, held: &Held, patience: &mut u32) -> bool {
        let (opcode, args) = held.give_back(self.adapter);
        loop {
            let (status, _) = hypercall::hea_call9(opcode.0, args);
            let code = ReturnCode(status);
            let busy = code == ReturnCode::BUSY || code.long_busy_ms().is_some();
            match patience.checked_sub(1) {
                Some(left) if busy => *patience = left,
                _ => return code.is_success(),
            }
            udelay(Delta::from_millis(1));
        }
    }
}

impl crash::Handler for Ledger {
    /// Queue pairs first, which makes the adapter stop, and the memory region last: what was taken
    /// last depends on what was taken first.
    fn crashed(&self) {
        let Some(held) = self.held.try_lock() else {
            pr_warn!("crashed while resources changed: firmware keeps all of an adapter\n");
            return;
        };
        let mut patience = PATIENCE_MS;
        let kept = held
            .iter()
            .rev()
            .filter(|held| !self.give_back(held, &mut patience))
            .count() as u64;
        let kept = kept.saturating_add(self.missing.get());
        if kept != 0 {
            pr_warn!("firmware keeps {} resources of an adapter\n", kept);
        }
    }
}
