// SPDX-License-Identifier: GPL-2.0

//! Ledger of the resources that firmware holds for an adapter.
//!
//! A resource usually has an owner, which gives it back. If firmware refuses to take it back, the
//! owner goes all the same, and the resource stays in the ledger without one. Firmware is asked
//! again to take such resources.
//!
//! When the kernel crashes, all resources are given back. Nothing else would do that: the kernel
//! that takes the dump knows none of the handles, and a crash does not reset the machine.

use crate::{
    abi::hcall::{
        Held,
        Opcode,
        Regs,
        ReturnCode, //
    },
    kernel_ext::{
        crash,
        dma::QueueMemory,
        hypercall,
        net::stats::Counter, //
    }, //
};
use core::mem::ManuallyDrop;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    time::{
        delay::udelay,
        Delta, //
    }, //
};

/// Total time in milliseconds for which firmware may be busy when the kernel has crashed.
const PATIENCE_MS: u32 = 2_000;

/// Owner of a resource.
enum Owner {
    /// An object that gives the resource back.
    Alive,
    /// No owner: a memory region that firmware has refused to take back.
    GoneFromRegion,
    /// No owner: a queue or queue pair that firmware has refused to take back. The adapter may still
    /// write to its memory.
    GoneFromQueue { _memory: KVec<Arc<QueueMemory>> },
}

struct Entry {
    held: Held,
    owner: Owner,
}

/// Ledger of the resources that firmware holds for an adapter.
#[pin_data]
pub(super) struct Ledger {
    adapter: u64,
    /// Resources in the order in which they were taken. While this is locked, nothing else gets
    /// locked, and no hypercall is made.
    #[pin]
    entries: Mutex<KVVec<Entry>>,
    /// Number of resources that there was no memory to note.
    missing: Counter,
    /// Number of memory regions among them that firmware has refused to take back.
    lost: Counter,
}

impl Ledger {
    /// Returns the empty ledger of the adapter with the handle `adapter`.
    pub(super) fn new(adapter: u64) -> impl PinInit<Self> {
        pin_init!(Self {
            adapter,
            entries <- new_mutex!(KVVec::new()),
            missing: Counter::default(),
            lost: Counter::default(),
        })
    }

    /// Notes the resource that a successful call has taken or given back. Process context.
    pub(super) fn note(&self, opcode: Opcode, args: &Regs, results: &Regs) {
        if let Some(held) = Held::taken(opcode, args, results) {
            let owner = Owner::Alive;
            let mut entries = self.entries.lock();
            if entries.push(Entry { held, owner }, GFP_KERNEL).is_err() {
                self.missing.inc();
            }
        } else if let Some(back) = Held::given_back(opcode, args) {
            let mut entries = self.entries.lock();
            // What was taken last is often given back first.
            let index = entries.iter().rposition(|entry| entry.held == back);
            let entry = index.and_then(|index| entries.remove(index).ok());
            drop(entries);
            // Memory of a queue is freed here, not under the lock.
            drop(entry);
        }
    }

    /// Replaces the owner of a resource. Returns the new owner if the ledger does not have the
    /// resource and has no memory to note it.
    fn set_owner(&self, resource: u64, owner: Owner) -> core::result::Result<(), Owner> {
        let mut entries = self.entries.lock();
        let held = Held::Resource(resource);
        if let Some(entry) = entries.iter_mut().rfind(|entry| entry.held == held) {
            entry.owner = owner;
            return Ok(());
        }
        // There was no memory to write it down when it was taken.
        let entry = Entry { held, owner };
        entries
            .push_within_capacity(entry)
            .map_err(|error| error.0.owner)
    }

    /// Notes that firmware has refused to take a memory region back, and that its owner is gone.
    pub(super) fn region_refused(&self, resource: u64) {
        if self.set_owner(resource, Owner::GoneFromRegion).is_err() {
            self.lost.inc();
        }
    }

    /// Notes that firmware has refused to take a queue or queue pair back, and that its owner is
    /// gone. `memory` is kept until firmware takes the resource.
    pub(super) fn queue_refused(&self, resource: u64, memory: KVec<Arc<QueueMemory>>) {
        if let Err(owner) = self.set_owner(resource, Owner::GoneFromQueue { _memory: memory }) {
            // The adapter may still write to the memory: it can't be given back.
            core::mem::forget(owner);
        }
    }

    /// Returns the number of memory regions that firmware has refused to take back.
    pub(super) fn regions_refused(&self) -> u64 {
        let entries = self.entries.lock();
        let refused = entries
            .iter()
            .filter(|entry| matches!(entry.owner, Owner::GoneFromRegion))
            .count() as u64;
        refused.wrapping_add(self.lost.get())
    }

    /// Finds the last resource without an owner among the first `below` ones. Returns its place and
    /// its handle.
    fn ownerless(&self, below: usize) -> Option<(usize, u64)> {
        let entries = self.entries.lock();
        let mut entries = entries.iter().enumerate().take(below).rev();
        entries.find_map(|(index, entry)| match (&entry.owner, entry.held) {
            (Owner::GoneFromRegion | Owner::GoneFromQueue { .. }, Held::Resource(resource)) => {
                Some((index, resource))
            }
            _ => None,
        })
    }

    /// Calls `free` for each resource without an owner, the last one first, because later resources
    /// depend on earlier ones. [`Ledger::note`] removes a resource that firmware takes back.
    pub(super) fn free_again(&self, mut free: impl FnMut(u64)) {
        let mut below = usize::MAX;
        while let Some((index, resource)) = self.ownerless(below) {
            free(resource);
            below = index;
        }
    }

    /// Gives a resource back. Returns whether firmware has taken it. Firmware may be busy for
    /// `patience` milliseconds.
    fn give_back(&self, held: &Held, patience: &mut u32) -> bool {
        let (opcode, args) = held.give_back(self.adapter);
        loop {
            let answer = hypercall::hea_call9(opcode.0, args, hypercall::Memory::None);
            let code = ReturnCode(answer.status());
            let busy = code == ReturnCode::BUSY || code.long_busy_ms().is_some();
            match patience.checked_sub(1) {
                Some(left) if busy => *patience = left,
                _ => return code.is_success(),
            }
            udelay(Delta::from_millis(1));
        }
    }

    /// Leaks the memory of queues that firmware has not taken back, because the adapter may still
    /// write to it. It is called when firmware will not be asked again.
    pub(super) fn close(&self) {
        for entry in self.entries.lock().drain_all() {
            core::mem::forget(entry);
        }
    }
}

/// Handler that gives all resources back when the kernel has crashed.
pub(super) struct Crash(pub(super) Arc<Ledger>);

impl crash::Handler for Crash {
    /// Gives back queue pairs first, which makes the adapter stop, and the memory region last.
    fn crashed(&self) {
        let ledger = &*self.0;
        let Some(entries) = ledger.entries.try_lock() else {
            pr_warn!("crashed while resources changed: firmware keeps all of an adapter\n");
            return;
        };
        // It stays locked: nobody else runs any more, and to wake who waits for it could hang.
        let entries = ManuallyDrop::new(entries);
        let mut patience = PATIENCE_MS;
        let kept = entries
            .iter()
            .rev()
            .filter(|entry| !ledger.give_back(&entry.held, &mut patience))
            .count() as u64;
        let kept = kept.saturating_add(ledger.missing.get());
        if kept != 0 {
            pr_warn!("firmware keeps {} resources of an adapter\n", kept);
        }
    }
}
