// SPDX-License-Identifier: GPL-2.0

//! Hypercalls, repeated while firmware is busy (eHEA ABI §3.0).

use core::borrow::Borrow;
use core::fmt;

use crate::abi::hcall::{FreeResource, Opcode, Regs, ReturnCode};

/// Time in milliseconds of sleep for which a call is repeated while firmware is busy.
pub const BUSY_TIMEOUT_MS: u32 = 60_000;

/// The protection domain of all queue pairs and memory regions.
pub const PROTECTION_DOMAIN: u32 = 0xaabc_deff;

/// Time to sleep in milliseconds after `H_BUSY`, which carries no hint.
const BUSY_SLEEP_MS: u32 = 1;

/// Platform, which makes hypercalls and sleeps.
///
/// Everything that uses it runs in process context.
pub trait Hypervisor {
    /// A page that firmware reads or writes during a call: a control block, or a list of pages.
    type Block;

    /// A page of a queue.
    type QueuePage: QueuePage;

    /// The registers of an answer.
    type Results: Borrow<Regs>;

    /// Makes one hypercall with the argument registers `regs`, which name the real address of
    /// `memory`. Returns its code and its result registers.
    fn call(
        &self,
        opcode: Opcode,
        regs: Regs,
        memory: Memory<'_, Self>,
    ) -> (ReturnCode, Self::Results);

    /// Sleeps, uninterruptibly, for at least `ms` milliseconds.
    fn sleep_ms(&self, ms: u32);

    /// Reports that firmware has refused to free the resource with the handle `resource`, whose owner is
    /// gone. The call has to be tried again before anything relies on the resource being gone.
    fn not_freed(&self, resource: u64, error: &HcallError);
}

impl<T: Hypervisor + ?Sized> Hypervisor for &T {
    type Block = T::Block;
    type QueuePage = T::QueuePage;
    type Results = T::Results;

    fn call(
        &self,
        opcode: Opcode,
        regs: Regs,
        memory: Memory<'_, Self>,
    ) -> (ReturnCode, T::Results) {
        let memory = match memory {
            Memory::None => Memory::None,
            Memory::Block(block) => Memory::Block(block),
            Memory::Queue(page) => Memory::Queue(page),
        };
        T::call(self, opcode, regs, memory)
    }

    fn sleep_ms(&self, ms: u32) {
        T::sleep_ms(self, ms);
    }

    fn not_freed(&self, resource: u64, error: &HcallError) {
        T::not_freed(self, resource, error);
    }
}

/// A page of a queue, which the adapter reads and writes until the queue is freed.
pub trait QueuePage {
    /// Returns its real address, a multiple of 4 KiB.
    fn real_address(&self) -> u64;
}

impl QueuePage for u64 {
    fn real_address(&self) -> u64 {
        *self
    }
}

/// Memory that a call names by its real address.
#[derive(Debug)]
pub enum Memory<'a, H: Hypervisor + ?Sized> {
    /// No memory.
    None,
    /// A page for the time of the call.
    Block(&'a H::Block),
    /// A page of a queue.
    Queue(&'a H::QueuePage),
}

impl<H: Hypervisor + ?Sized> Clone for Memory<'_, H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H: Hypervisor + ?Sized> Copy for Memory<'_, H> {}

/// A hypercall that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HcallError {
    /// The call.
    pub opcode: Opcode,
    /// Its answer. A busy code means that firmware was busy for all of [`BUSY_TIMEOUT_MS`].
    pub code: ReturnCode,
    /// Subject of the call, for messages.
    pub what: &'static str,
}

impl fmt::Display for HcallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) failed: {}", self.opcode, self.what, self.code)
    }
}

/// Caller of hypercalls for one adapter.
#[derive(Clone, Copy, Debug)]
pub struct Caller<H> {
    hypervisor: H,
    adapter: u64,
}

/// End of a call, after all repetitions.
pub(super) struct Answer<R> {
    pub(super) code: ReturnCode,
    pub(super) regs: R,
    /// Number of calls that were made.
    pub(super) calls: u64,
}

impl<H: Hypervisor> Caller<H> {
    /// Returns the caller for the adapter with the handle `adapter`.
    pub const fn new(hypervisor: H, adapter: u64) -> Self {
        Self {
            hypervisor,
            adapter,
        }
    }

    /// Returns the adapter's handle, the first argument of all its calls.
    pub const fn adapter(&self) -> u64 {
        self.adapter
    }

    /// Returns the platform.
    pub const fn hypervisor(&self) -> &H {
        &self.hypervisor
    }

    /// Makes a call. While firmware is busy, repeats it with the same arguments, and sleeps in
    /// between for as long as firmware hints.
    pub(super) fn answer(
        &self,
        opcode: Opcode,
        regs: Regs,
        memory: Memory<'_, H>,
    ) -> Answer<H::Results> {
        let mut left = BUSY_TIMEOUT_MS;
        let mut calls = 0u64;
        loop {
            let (code, out) = self.hypervisor.call(opcode, regs, memory);
            calls = calls.saturating_add(1);
            let hint = match code {
                ReturnCode::BUSY => Some(BUSY_SLEEP_MS),
                code => code.long_busy_ms(),
            };
            match hint {
                Some(ms) if left > 0 => {
                    let ms = ms.min(left);
                    self.hypervisor.sleep_ms(ms);
                    left = left.saturating_sub(ms);
                }
                _ => {
                    return Answer {
                        code,
                        regs: out,
                        calls,
                    }
                }
            }
        }
    }

    /// Makes a call that must return `H_SUCCESS`, and returns its result registers. `what` says in
    /// error messages what the call is about.
    ///
    /// # Errors
    ///
    /// Every other answer, and firmware that is busy for longer than [`BUSY_TIMEOUT_MS`].
    pub fn call(
        &self,
        opcode: Opcode,
        regs: Regs,
        what: &'static str,
    ) -> Result<H::Results, HcallError> {
        self.call_with(opcode, regs, Memory::None, what)
    }

    /// Makes a call whose arguments name a page that firmware reads or writes; see [`Caller::call`].
    ///
    /// # Errors
    ///
    /// Those of [`Caller::call`].
    pub fn call_block(
        &self,
        opcode: Opcode,
        regs: Regs,
        block: &H::Block,
        what: &'static str,
    ) -> Result<H::Results, HcallError> {
        self.call_with(opcode, regs, Memory::Block(block), what)
    }

    fn call_with(
        &self,
        opcode: Opcode,
        regs: Regs,
        memory: Memory<'_, H>,
        what: &'static str,
    ) -> Result<H::Results, HcallError> {
        match self.answer(opcode, regs, memory) {
            Answer { code, regs, .. } if code.is_success() => Ok(regs),
            Answer { code, .. } => Err(HcallError { opcode, code, what }),
        }
    }

    /// Frees a resource; with `force` even if something depends on it.
    ///
    /// # Errors
    ///
    /// Those of [`Caller::call`].
    pub fn free(&self, resource: u64, force: bool, what: &'static str) -> Result<(), HcallError> {
        let call = FreeResource {
            adapter: self.adapter,
            resource,
            force,
        };
        self.call(Opcode::FREE_RESOURCE, call.pack(), what)?;
        Ok(())
    }

    /// Frees, with force, a resource whose owner can't be told of a failure any more.
    pub fn free_or_report(&self, resource: u64, what: &'static str) {
        if let Err(error) = self.free(resource, true, what) {
            self.hypervisor.not_freed(resource, &error);
        }
    }
}
