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
        BcmcArgs,
        Held,
        Opcode,
        Regs,
        ReturnCode, //
    },
    kernel_ext::{
        crash,
        dma::{
            Abandon,
            QueueMemory, //
        },
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
    /// No owner: a broadcast or multicast registration that firmware has refused to remove.
    GoneFromGroup,
    /// No owner: a memory region that firmware has refused to take back.
    GoneFromRegion,
    /// No owner: a queue or queue pair that firmware has refused to take back. The adapter may still
    /// reach its memory. A queue is not taken back by force: it is in use as long as its queue pair is there.
    GoneFromQueue { memory: Memory, by_force: bool },
}

/// Memory that the adapter reaches because of a queue or queue pair.
#[derive(Default)]
pub(super) struct Memory {
    /// Memory of the queues.
    pub(super) queues: KVec<Arc<QueueMemory>>,
    /// Buffers that are posted in them.
    pub(super) buffers: Option<KBox<dyn Abandon>>,
}

impl Memory {
    /// Gives the memory up: it is not mapped any more, and is never free.
    fn abandon(self) {
        for queue in self.queues {
            // Its other owners were those who used the queue.
            if let Some(mut queue) = Arc::into_unique_or_drop(queue) {
                queue.abandon();
            }
        }
        if let Some(mut buffers) = self.buffers {
            buffers.abandon();
        }
    }
}

impl Owner {
    /// Gives up what the adapter may still reach.
    fn abandon(self) {
        if let Self::GoneFromQueue { memory, .. } = self {
            memory.abandon();
        }
    }
}

struct Entry {
    held: Held,
    owner: Owner,
}

impl Entry {
    /// Checks whether this is the registration `held`, which nobody wanted any more.
    fn is_given_up(&self, held: &Held) -> bool {
        matches!(self.owner, Owner::GoneFromGroup) && self.held == *held
    }
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
            if let Some(entry) = entries.iter_mut().find(|entry| entry.is_given_up(&held)) {
                entry.owner = owner;
            } else if entries.push(Entry { held, owner }, GFP_KERNEL).is_err() {
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

    /// Notes that firmware has refused to remove the registration `group`, and that nobody wants it any more.
    pub(super) fn group_refused(&self, group: BcmcArgs) {
        let mut entries = self.entries.lock();
        let held = Held::Group(group);
        if let Some(entry) = entries.iter_mut().rfind(|entry| entry.held == held) {
            entry.owner = Owner::GoneFromGroup;
        }
    }

    /// Notes that firmware has refused to take a queue or queue pair back, and that its owner is
    /// gone. `memory` is kept until firmware takes the resource, by force if `by_force`.
    pub(super) fn queue_refused(&self, resource: u64, memory: Memory, by_force: bool) {
        let owner = Owner::GoneFromQueue { memory, by_force };
        if let Err(owner) = self.set_owner(resource, owner) {
            owner.abandon();
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

    /// Finds the last resource without an owner among the first `below` ones. Returns its place, and whether it
    /// is to be given back by force.
    fn ownerless(&self, below: usize) -> Option<(usize, Held, bool)> {
        let entries = self.entries.lock();
        let mut entries = entries.iter().enumerate().take(below).rev();
        entries.find_map(|(index, entry)| match entry.owner {
            Owner::Alive => None,
            Owner::GoneFromQueue { by_force, .. } => Some((index, entry.held, by_force)),
            Owner::GoneFromGroup | Owner::GoneFromRegion => Some((index, entry.held, true)),
        })
    }

    /// Calls `give_back` for each resource without an owner, the last one first, because later resources
    /// depend on earlier ones. The second argument says whether that is to be done by force. [`Ledger::note`]
    /// removes a resource that firmware takes back.
    pub(super) fn give_back_again(&self, mut give_back: impl FnMut(&Held, bool)) {
        let mut below = usize::MAX;
        while let Some((index, held, by_force)) = self.ownerless(below) {
            give_back(&held, by_force);
            below = index;
        }
    }

    /// Gives a resource back. Returns whether firmware has taken it. Firmware may be busy for
    /// `patience` milliseconds.
    fn give_back(&self, held: &Held, patience: &mut u32) -> bool {
        let (opcode, args) = held.give_back(self.adapter, true);
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

    /// Gives up the memory of queues that firmware has not taken back, because the adapter may still
    /// reach it. It is called when firmware will not be asked again.
    pub(super) fn close(&self) {
        let entries = core::mem::take(&mut *self.entries.lock());
        for entry in entries {
            entry.owner.abandon();
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
