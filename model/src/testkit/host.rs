// SPDX-License-Identifier: GPL-2.0

//! Memory, interrupts, time and wires of a test machine.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::host::{Host, NotRam, TraceLevel};

const PAGE: u64 = 4096;
/// Number of the first interrupt.
const IRQ_BASE: u32 = 0x1280;

/// Host side of a [`super::TestMachine`].
#[derive(Debug, Default)]
pub struct TestHost {
    /// Ranges of RAM as start and length in bytes, ascending.
    pub(super) ram: Vec<(u64, u64)>,
    pages: BTreeMap<u64, Box<[u8]>>,
    /// Ranges that calls registered, as start and length in bytes, by handle.
    pub(super) registered: BTreeMap<u64, Vec<(u64, u64)>>,
    /// Addresses of pages that the call being handled may touch.
    pub(super) call_pages: Vec<u64>,
    pub(super) irq_limit: u32,
    /// True if the guest's processors have something to do.
    pub guest_is_busy: bool,
    irqs: BTreeSet<u32>,
    pulses: BTreeMap<u32, u64>,
    pub(super) now: u64,
    pub(super) deadline: Option<u64>,
    /// Frames that were sent, by port index.
    pub(super) sent: BTreeMap<usize, VecDeque<Vec<u8>>>,
    /// Ports whose backend is busy.
    pub(super) tx_busy: BTreeSet<usize>,
    pub(super) flushes: BTreeMap<usize, u64>,
    pub(super) traces: Vec<(TraceLevel, String)>,
    /// Accesses that the adapter made, as address, length in bytes, and whether it wrote.
    pub(super) accesses: Vec<(u64, u64, bool)>,
    /// Writes of the adapter, as address and bytes, while they are recorded.
    pub(super) writes: Option<Vec<(u64, Vec<u8>)>>,
    /// The adapter's TCE table in a CMO partition.
    pub(super) tces: Option<BTreeMap<u64, u64>>,
    /// Number of bytes of RAM that the machine claims to have, if that is not the sum of its RAM.
    pub(super) claimed_ram: Option<u64>,
}

impl TestHost {
    fn is_ram(&self, gpa: u64, len: u64) -> bool {
        let Some(end) = gpa.checked_add(len) else {
            return false;
        };
        let mut at = gpa;
        for &(start, bytes) in &self.ram {
            if at >= start && at < start + bytes {
                at = start + bytes;
            }
        }
        at >= end
    }

    /// Checks whether a call made this memory known to the adapter.
    fn is_known(&self, gpa: u64, len: u64) -> bool {
        let end = gpa + len;
        let in_call = |page| self.call_pages.contains(&(page * PAGE));
        if (gpa / PAGE..end.div_ceil(PAGE)).all(in_call) {
            return true;
        }
        let mut at = gpa;
        while at < end {
            let call = self.call_pages.iter().map(|&page| (page, PAGE));
            let known = self.registered.values().flatten().copied().chain(call);
            let reach = known
                .filter(|&(start, bytes)| start <= at && at < start + bytes)
                .map(|(start, bytes)| start + bytes)
                .max();
            match reach {
                Some(next) => at = next,
                None => return false,
            }
        }
        true
    }

    /// Checks whether the adapter may access a page according to its table, if it has one.
    fn is_mapped(&self, page: u64, write: bool) -> bool {
        let bit = if write { 2 } else { 1 };
        self.tces.as_ref().is_none_or(|table| {
            table
                .values()
                .any(|tce| tce / PAGE == page && tce & bit != 0)
        })
    }

    fn access(&mut self, gpa: u64, len: u64, write: bool) -> Result<(), NotRam> {
        if gpa.checked_add(len).is_none() || !self.is_known(gpa, len) {
            let traces = &self.traces;
            panic!("access to {gpa:#x}+{len:#x}, which is not registered; traces: {traces:#?}");
        }
        let of_call = |page| self.call_pages.contains(&(page * PAGE));
        let unmapped = (gpa / PAGE..(gpa + len).div_ceil(PAGE))
            .find(|&page| !of_call(page) && !self.is_mapped(page, write));
        if let Some(page) = unmapped {
            panic!("access to {gpa:#x}+{len:#x}, page {page:#x} is not mapped, write: {write}");
        }
        self.accesses.push((gpa, len, write));
        if self.is_ram(gpa, len) {
            Ok(())
        } else {
            Err(NotRam)
        }
    }

    /// Copies guest memory, on behalf of the guest.
    pub fn peek(&self, gpa: u64, buf: &mut [u8]) {
        assert!(self.is_ram(gpa, buf.len() as u64), "peek at {gpa:#x}");
        let mut at = gpa;
        let mut rest = buf;
        while !rest.is_empty() {
            let inside = (at % PAGE) as usize;
            let take = rest.len().min(PAGE as usize - inside);
            let (now, later) = rest.split_at_mut(take);
            match self.pages.get(&(at / PAGE)) {
                Some(page) => now.copy_from_slice(&page[inside..inside + take]),
                None => now.fill(0),
            }
            at += take as u64;
            rest = later;
        }
    }

    /// Writes guest memory, on behalf of the guest.
    pub fn poke(&mut self, gpa: u64, bytes: &[u8]) {
        assert!(self.is_ram(gpa, bytes.len() as u64), "poke at {gpa:#x}");
        let mut at = gpa;
        let mut rest = bytes;
        while !rest.is_empty() {
            let inside = (at % PAGE) as usize;
            let take = rest.len().min(PAGE as usize - inside);
            let page = self
                .pages
                .entry(at / PAGE)
                .or_insert_with(|| vec![0; PAGE as usize].into());
            page[inside..inside + take].copy_from_slice(&rest[..take]);
            at += take as u64;
            rest = &rest[take..];
        }
    }

    /// Returns the number of times that an interrupt was raised since the last call.
    pub fn take_pulses(&mut self, irq: u32) -> u64 {
        self.pulses.remove(&irq).unwrap_or(0)
    }

    /// Returns the number of interrupt numbers in use.
    pub fn irqs_in_use(&self) -> usize {
        self.irqs.len()
    }

    /// Returns the trace messages so far.
    pub fn traces(&self) -> &[(TraceLevel, String)] {
        &self.traces
    }

    /// Returns the accesses since the last call, as address, length in bytes, and whether the
    /// adapter wrote.
    pub fn take_accesses(&mut self) -> Vec<(u64, u64, bool)> {
        std::mem::take(&mut self.accesses)
    }

    /// Starts to record what the adapter writes.
    pub fn record_writes(&mut self) {
        self.writes = Some(Vec::new());
    }

    /// Ends the recording of writes and returns them in order, as address and bytes.
    pub fn take_writes(&mut self) -> Vec<(u64, Vec<u8>)> {
        self.writes.take().unwrap_or_default()
    }

    fn stored(&mut self, gpa: u64, bytes: &[u8]) {
        if let Some(writes) = &mut self.writes {
            writes.push((gpa, bytes.into()));
        }
        self.poke(gpa, bytes);
    }

    /// Removes memory from the machine. Its contents are lost.
    pub(super) fn remove(&mut self, gpa: u64, len: u64) {
        let end = gpa + len;
        let mut kept = Vec::new();
        for &(start, bytes) in &self.ram {
            let stop = start + bytes;
            if start < gpa {
                kept.push((start, stop.min(gpa) - start));
            }
            if stop > end {
                kept.push((start.max(end), stop - start.max(end)));
            }
        }
        self.ram = kept;
        self.pages
            .retain(|&page, _| page * PAGE + PAGE <= gpa || page * PAGE >= end);
    }
}

impl Host for TestHost {
    fn mem_read(&mut self, gpa: u64, buf: &mut [u8]) -> Result<(), NotRam> {
        self.access(gpa, buf.len() as u64, false)?;
        self.peek(gpa, buf);
        Ok(())
    }

    fn mem_write(&mut self, gpa: u64, buf: &[u8]) -> Result<(), NotRam> {
        self.access(gpa, buf.len() as u64, true)?;
        self.stored(gpa, buf);
        Ok(())
    }

    fn mem_write_u64_be(&mut self, gpa: u64, value: u64) -> Result<(), NotRam> {
        assert_eq!(gpa % 8, 0, "store at {gpa:#x}");
        self.access(gpa, 8, true)?;
        self.stored(gpa, &value.to_be_bytes());
        Ok(())
    }

    fn mem_is_ram(&mut self, gpa: u64, len: u64) -> bool {
        self.is_ram(gpa, len)
    }

    fn ram_size(&mut self) -> u64 {
        self.claimed_ram
            .unwrap_or_else(|| self.ram.iter().map(|&(_, bytes)| bytes).sum())
    }

    fn irq_alloc(&mut self) -> Option<u32> {
        let irq = (IRQ_BASE..IRQ_BASE + self.irq_limit).find(|irq| !self.irqs.contains(irq))?;
        self.irqs.insert(irq);
        Some(irq)
    }

    fn irq_free(&mut self, irq: u32) {
        assert!(self.irqs.remove(&irq), "interrupt {irq:#x} freed twice");
    }

    fn irq_pulse(&mut self, irq: u32) {
        assert!(self.irqs.contains(&irq), "interrupt {irq:#x} is not ours");
        *self.pulses.entry(irq).or_default() += 1;
    }

    fn guest_is_idle(&mut self) -> bool {
        !self.guest_is_busy
    }

    fn now_ns(&mut self) -> u64 {
        self.now
    }

    fn timer_set(&mut self, deadline_ns: Option<u64>) {
        self.deadline = deadline_ns;
    }

    fn tx_frame(&mut self, port: usize, frame: &[u8]) -> bool {
        if self.tx_busy.contains(&port) {
            return false;
        }
        self.sent.entry(port).or_default().push_back(frame.into());
        true
    }

    fn rx_flush(&mut self, port: usize) {
        *self.flushes.entry(port).or_default() += 1;
    }

    fn trace_enabled(&mut self, _level: TraceLevel) -> bool {
        true
    }

    fn trace(&mut self, level: TraceLevel, message: &str) {
        self.traces.push((level, message.into()));
    }
}
