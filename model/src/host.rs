// SPDX-License-Identifier: GPL-2.0

//! Services that the adapter needs from its machine.

use std::fmt;

use ehea_abi::cb;
use ehea_abi::hcall::{Opcode, Regs, ReturnCode};

use crate::fault::Faults;
use crate::memory::removed::Removed;
use crate::memory::tce::Mappings;
use crate::memory::Access;
use crate::refusal::{Refusal, Violation};
use crate::stats::Counters;

/// Error of an access to a guest address that is not RAM, or is no longer RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotRam;

/// Reason why the adapter could not access memory of its own accord.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DmaError {
    NotRam,
    /// No TCE maps the memory, or not for this kind of access. Possible in a CMO partition only.
    NotMapped,
}

impl From<NotRam> for DmaError {
    fn from(NotRam: NotRam) -> Self {
        Self::NotRam
    }
}

impl DmaError {
    /// Returns the violation if the memory belonged to a descriptor.
    pub(crate) const fn of_data(self) -> Violation {
        match self {
            Self::NotRam => Violation::MemoryGone,
            Self::NotMapped => Violation::NotMapped,
        }
    }

    /// Returns the violation if the memory belonged to a queue.
    pub(crate) const fn of_queue(self) -> Violation {
        match self {
            Self::NotRam => Violation::QueueMemoryGone,
            Self::NotMapped => Violation::QueueNotMapped,
        }
    }
}

/// Kind of a trace message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TraceLevel {
    /// A request of the guest was refused; the message says why.
    Refused,
    /// An object, a state or a link changed.
    Event,
    /// A frame was sent, received or filtered.
    Verbose,
}

/// The machine. Addresses are guest real addresses; times are nanoseconds of virtual time.
pub trait Host {
    /// Copies guest memory into `buf`. After an error, the contents of `buf` are unspecified.
    fn mem_read(&mut self, gpa: u64, buf: &mut [u8]) -> Result<(), NotRam>;
    /// Copies `buf` into guest memory.
    fn mem_write(&mut self, gpa: u64, buf: &[u8]) -> Result<(), NotRam>;
    /// Stores one naturally aligned 64-bit big-endian value, after all earlier stores are visible.
    fn mem_write_u64_be(&mut self, gpa: u64, value: u64) -> Result<(), NotRam>;
    /// Checks whether all of the range is RAM.
    fn mem_is_ram(&mut self, gpa: u64, len: u64) -> bool;
    /// Returns the number of bytes of RAM that the machine has now.
    fn ram_size(&mut self) -> u64;
    /// Allocates an interrupt number. Returns `None` if none is free.
    fn irq_alloc(&mut self) -> Option<u32>;
    /// Frees an interrupt number.
    fn irq_free(&mut self, irq: u32);
    /// Raises an interrupt once.
    fn irq_pulse(&mut self, irq: u32);
    /// Checks whether all processors of the guest wait for an interrupt and none is pending, so
    /// that the guest has nothing left to do.
    fn guest_is_idle(&mut self) -> bool;
    /// Returns the virtual time in nanoseconds.
    fn now_ns(&mut self) -> u64;
    /// Asks for a call of [`crate::Adapter::run`] at the time `deadline_ns`. `None` cancels it.
    fn timer_set(&mut self, deadline_ns: Option<u64>);
    /// Sends a frame, without its CRC, from port index `port`. Returns false if the backend is
    /// busy; [`crate::Adapter::tx_ready`] will then follow.
    fn tx_frame(&mut self, port: usize, frame: &[u8]) -> bool;
    /// Notes that [`crate::Adapter::can_rx`] of this port has become true again.
    fn rx_flush(&mut self, port: usize);
    /// Checks whether messages of level `level` are recorded anywhere.
    fn trace_enabled(&mut self, level: TraceLevel) -> bool;
    /// Emits a trace message.
    fn trace(&mut self, level: TraceLevel, message: &str);
}

/// The host, with the counters and faults on the way to it.
pub(crate) struct Env<'a> {
    pub(crate) host: &'a mut dyn Host,
    pub(crate) counters: &'a mut Counters,
    pub(crate) faults: &'a mut Faults,
    /// Memory that no longer belongs to the guest.
    pub(crate) removed: &'a Removed,
    /// Memory that is mapped for the adapter; `None` outside CMO partitions, where everything may
    /// be accessed.
    pub(crate) mappings: Option<&'a Mappings>,
}

impl Env<'_> {
    /// Checks that the guest did not give the memory back, whether or not the machine still has it.
    fn check(&self, gpa: u64, bytes: usize) -> Result<(), NotRam> {
        if self.removed.intersects(gpa, bytes as u64) {
            return Err(NotRam);
        }
        Ok(())
    }

    /// Checks whether all of a range that a hypercall names is memory of the guest.
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

    /// Reads memory for the adapter itself, not for a hypercall.
    pub(crate) fn dma_read(&mut self, gpa: u64, buf: &mut [u8]) -> Result<(), DmaError> {
        self.check_mapped(gpa, buf.len(), Access::Read)?;
        Ok(self.read(gpa, buf)?)
    }

    /// Writes memory for the adapter itself, not for a hypercall.
    pub(crate) fn dma_write(&mut self, gpa: u64, buf: &[u8]) -> Result<(), DmaError> {
        self.check_mapped(gpa, buf.len(), Access::Write)?;
        Ok(self.write(gpa, buf)?)
    }

    /// Stores like [`Self::dma_write`], with one aligned 64-bit store after all earlier ones are
    /// visible.
    pub(crate) fn dma_write_u64(&mut self, gpa: u64, value: u64) -> Result<(), DmaError> {
        self.check_mapped(gpa, size_of::<u64>(), Access::Write)?;
        self.check(gpa, size_of::<u64>())?;
        self.counters.dma_written(size_of::<u64>());
        Ok(self.host.mem_write_u64_be(gpa, value)?)
    }

    /// Reads memory for a hypercall. That is no access of the adapter, so it needs no mapping.
    pub(crate) fn read(&mut self, gpa: u64, buf: &mut [u8]) -> Result<(), NotRam> {
        self.check(gpa, buf.len())?;
        self.counters.dma_read(buf.len());
        self.host.mem_read(gpa, buf)
    }

    /// Writes memory for a hypercall.
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

    /// Refuses a hypercall. This is the only place that does.
    pub(crate) fn refuse(&mut self, opcode: Opcode, regs: &Regs, why: Refusal) -> ReturnCode {
        self.counters.refused(why.name());
        let code = why.code();
        self.trace(
            TraceLevel::Refused,
            format_args!("{opcode} refused: {why}: {code}, arguments {regs:x?}"),
        );
        code
    }

    /// Refuses an access or work request of a queue pair. This is the only place that does.
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

    /// Counts an access that arrived after its object was freed. This is the only place that does.
    pub(crate) fn late_access(&mut self, qp: u32, what: &str) {
        self.counters.late_access();
        self.trace(
            TraceLevel::Refused,
            format_args!("queue pair {qp:#x}: an access was under way when {what} was freed"),
        );
    }

    /// Ignores a register access. This is the only place that does.
    pub(crate) fn ignore_mmio(&mut self, offset: u64, why: &str) {
        self.counters.ignored_mmio();
        self.trace(
            TraceLevel::Refused,
            format_args!("register access at {offset:#x} ignored: {why}"),
        );
    }

    /// Checks the address of a control block or page list and returns it.
    pub(crate) fn block_address(&mut self, gpa: u64) -> Result<u64, Refusal> {
        if !gpa.is_multiple_of(cb::ALIGNMENT as u64) || !self.is_ram(gpa, cb::ALIGNMENT as u64) {
            return Err(Refusal::BlockAddress);
        }
        Ok(gpa)
    }
}
