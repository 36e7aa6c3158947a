// SPDX-License-Identifier: GPL-2.0

//! What the adapter needs from the machine it is in.

use std::fmt;

use ehea_abi::cb;
use ehea_abi::hcall::{Opcode, Regs, ReturnCode};

use crate::fault::Faults;
use crate::memory::removed::Removed;
use crate::memory::tce::Mappings;
use crate::memory::Access;
use crate::refusal::{Refusal, Violation};
use crate::stats::Counters;

/// A guest address that is not RAM (any more).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotRam;

/// Why the adapter could not access memory of its own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DmaError {
    NotRam,
    /// In a CMO partition: no TCE maps it, or not for this kind of access.
    NotMapped,
}

impl From<NotRam> for DmaError {
    fn from(NotRam: NotRam) -> Self {
        Self::NotRam
    }
}

impl DmaError {
    /// It was memory behind a descriptor.
    pub(crate) const fn of_data(self) -> Violation {
        match self {
            Self::NotRam => Violation::MemoryGone,
            Self::NotMapped => Violation::NotMapped,
        }
    }

    /// It was memory of a queue.
    pub(crate) const fn of_queue(self) -> Violation {
        match self {
            Self::NotRam => Violation::QueueMemoryGone,
            Self::NotMapped => Violation::QueueNotMapped,
        }
    }
}

/// Kinds of trace messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TraceLevel {
    /// Something that the guest asked for was refused; says why.
    Refused,
    /// An object, a state or a link changed.
    Event,
    /// Every frame.
    Verbose,
}

/// The machine. Addresses are guest real addresses; times are virtual nanoseconds.
pub trait Host {
    /// Copies guest memory into `buf`; after an error its contents are unspecified.
    fn mem_read(&mut self, gpa: u64, buf: &mut [u8]) -> Result<(), NotRam>;
    /// Copies `buf` into guest memory.
    fn mem_write(&mut self, gpa: u64, buf: &[u8]) -> Result<(), NotRam>;
    /// One naturally aligned 64-bit big-endian store, after all earlier stores are visible.
    fn mem_write_u64_be(&mut self, gpa: u64, value: u64) -> Result<(), NotRam>;
    /// Whether all of the range is RAM.
    fn mem_is_ram(&mut self, gpa: u64, len: u64) -> bool;
    /// Bytes of RAM that the machine has now.
    fn ram_size(&mut self) -> u64;
    /// A free interrupt number, if there is one.
    fn irq_alloc(&mut self) -> Option<u32>;
    /// Gives an interrupt number back.
    fn irq_free(&mut self, irq: u32);
    /// Raises an interrupt once.
    fn irq_pulse(&mut self, irq: u32);
    /// Whether all processors of the guest wait for an interrupt and none has one: nothing that was asked of
    /// it is still to be done.
    fn guest_is_idle(&mut self) -> bool;
    /// Virtual time.
    fn now_ns(&mut self) -> u64;
    /// Asks for a call of [`crate::Adapter::run`] at that time; none cancels.
    fn timer_set(&mut self, deadline_ns: Option<u64>);
    /// Sends a frame without CRC from port index `port`; `false`: the backend is busy and
    /// [`crate::Adapter::tx_ready`] will follow.
    fn tx_frame(&mut self, port: usize, frame: &[u8]) -> bool;
    /// [`crate::Adapter::can_rx`] of this port became true again.
    fn rx_flush(&mut self, port: usize);
    /// Whether messages of that level go anywhere.
    fn trace_enabled(&mut self, level: TraceLevel) -> bool;
    /// A trace message.
    fn trace(&mut self, level: TraceLevel, message: &str);
}

/// The host together with what is counted and injected on the way to it.
pub(crate) struct Env<'a> {
    pub(crate) host: &'a mut dyn Host,
    pub(crate) counters: &'a mut Counters,
    pub(crate) faults: &'a mut Faults,
    /// What is not the guest's memory any more.
    pub(crate) removed: &'a Removed,
    /// What is mapped; none outside CMO partitions, where everything may be accessed.
    pub(crate) mappings: Option<&'a Mappings>,
}

impl Env<'_> {
    /// Fails for memory that the guest gave back, whether or not the machine still has it.
    fn check(&self, gpa: u64, bytes: usize) -> Result<(), NotRam> {
        if self.removed.intersects(gpa, bytes as u64) {
            return Err(NotRam);
        }
        Ok(())
    }

    /// Whether all of a range that a hypercall names is memory of the guest.
    pub(crate) fn is_ram(&mut self, gpa: u64, len: u64) -> bool {
        if self.removed.intersects(gpa, len) {
            self.counters.removed_access();
            self.trace(
                TraceLevel::Refused,
                format_args!("memory {gpa:#x}+{len:#x} was given back, and is not to be used"),
            );
            return false;
        }
        self.host.mem_is_ram(gpa, len)
    }

    fn check_mapped(&mut self, gpa: u64, len: usize, access: Access) -> Result<(), DmaError> {
        match self.mappings {
            Some(mappings) if !mappings.allow(gpa, len, access) => {
                self.counters.cmo_refused();
                Err(DmaError::NotMapped)
            }
            _ => Ok(()),
        }
    }

    /// The adapter reads, on its own and not for a hypercall.
    pub(crate) fn dma_read(&mut self, gpa: u64, buf: &mut [u8]) -> Result<(), DmaError> {
        self.check_mapped(gpa, buf.len(), Access::Read)?;
        Ok(self.read(gpa, buf)?)
    }

    /// The adapter writes, on its own and not for a hypercall.
    pub(crate) fn dma_write(&mut self, gpa: u64, buf: &[u8]) -> Result<(), DmaError> {
        self.check_mapped(gpa, buf.len(), Access::Write)?;
        Ok(self.write(gpa, buf)?)
    }

    /// As [`Self::dma_write`]: one aligned 64-bit store, after all earlier ones are visible.
    pub(crate) fn dma_write_u64(&mut self, gpa: u64, value: u64) -> Result<(), DmaError> {
        self.check_mapped(gpa, size_of::<u64>(), Access::Write)?;
        self.check(gpa, size_of::<u64>())?;
        self.counters.dma_written(size_of::<u64>());
        Ok(self.host.mem_write_u64_be(gpa, value)?)
    }

    /// Reads for a hypercall: no adapter's access, so nothing has to be mapped for it.
    pub(crate) fn read(&mut self, gpa: u64, buf: &mut [u8]) -> Result<(), NotRam> {
        self.check(gpa, buf.len())?;
        self.counters.dma_read(buf.len());
        self.host.mem_read(gpa, buf)
    }

    /// Writes for a hypercall.
    pub(crate) fn write(&mut self, gpa: u64, buf: &[u8]) -> Result<(), NotRam> {
        self.check(gpa, buf.len())?;
        self.counters.dma_written(buf.len());
        self.host.mem_write(gpa, buf)
    }

    pub(crate) fn trace(&mut self, level: TraceLevel, message: fmt::Arguments<'_>) {
        if self.host.trace_enabled(level) {
            self.host.trace(level, &message.to_string());
        }
    }

    /// The one place where a hypercall is refused.
    pub(crate) fn refuse(&mut self, opcode: Opcode, regs: &Regs, why: Refusal) -> ReturnCode {
        self.counters.refused(why.name());
        let code = why.code();
        self.trace(
            TraceLevel::Refused,
            format_args!("{opcode} refused: {why}: {code}, arguments {regs:x?}"),
        );
        code
    }

    /// The one place where an access or work request of a queue pair is refused.
    pub(crate) fn refuse_work(&mut self, qp: u32, why: Violation) {
        self.counters.refused(why.name());
        if why.is_access() {
            self.counters.refused_access();
        }
        if matches!(why, Violation::MemoryGone | Violation::QueueMemoryGone) {
            self.counters.removed_access();
        }
        self.trace(
            TraceLevel::Refused,
            format_args!("queue pair {qp:#x} stopped: {why}"),
        );
    }

    /// The one place where an access comes too late for what it is for.
    pub(crate) fn late_access(&mut self, qp: u32, what: &str) {
        self.counters.late_access();
        self.trace(
            TraceLevel::Refused,
            format_args!("queue pair {qp:#x}: an access was under way when {what} was freed"),
        );
    }

    /// The one place where a register access is ignored.
    pub(crate) fn ignore_mmio(&mut self, offset: u64, why: &str) {
        self.counters.ignored_mmio();
        self.trace(
            TraceLevel::Refused,
            format_args!("register access at {offset:#x} ignored: {why}"),
        );
    }

    /// Checks the address of a control block or page list.
    pub(crate) fn block_address(&mut self, gpa: u64) -> Result<u64, Refusal> {
        if !gpa.is_multiple_of(cb::ALIGNMENT as u64) || !self.is_ram(gpa, cb::ALIGNMENT as u64) {
            return Err(Refusal::BlockAddress);
        }
        Ok(gpa)
    }
}
