// SPDX-License-Identifier: GPL-2.0

//! The driver's side of a test machine.

use std::cell::{Cell, RefCell};
use std::ops::RangeInclusive;

use ehea_core::abi::hcall::{Opcode, Regs, ReturnCode};
use ehea_core::bmap::{Builder, Busmap, OutOfMemory, RealRange, Run, RunStore};
use ehea_core::hcall::{Caller, HcallError, Hypervisor, Memory, PageList};
use ehea_model::testkit::TestMachine;
use zerocopy::byteorder::big_endian::U64;

/// Runs of a busmap.
#[derive(Debug, Default)]
pub(crate) struct Runs(Vec<Run>);

impl RunStore for Runs {
    fn try_push(&mut self, run: Run) -> Result<(), OutOfMemory> {
        self.0.push(run);
        Ok(())
    }

    fn as_slice(&self) -> &[Run] {
        &self.0
    }
}

pub(crate) type Map = Busmap<Runs>;

/// Returns a map of the ranges in `memory`, each given as start and length.
pub(crate) fn map_of(memory: &[(u64, u64)], excluded: &[RealRange]) -> Map {
    let mut builder = Builder::new(Runs::default(), excluded);
    for &(base, len) in memory {
        builder.add(base, len).unwrap();
    }
    builder.finish().unwrap()
}

/// Refusal of calls: the calls, counted from 1, and the code that is answered in place of the
/// adapter.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// Opcode of the refused calls; `None` refuses calls with any opcode.
    pub(crate) opcode: Option<Opcode>,
    pub(crate) calls: RangeInclusive<u64>,
    /// True if calls that free something are not refused.
    pub(crate) spare_free: bool,
    pub(crate) code: ReturnCode,
}

/// A machine as the hypervisor of the driver's code.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) machine: RefCell<TestMachine>,
    refusal: RefCell<Option<Refusal>>,
    /// Number of calls that matched the refusal since it was set.
    seen: Cell<u64>,
    /// All calls, including those refused here.
    pub(crate) calls: RefCell<Vec<(Opcode, ReturnCode)>>,
    pub(crate) not_freed: RefCell<Vec<HcallError>>,
    /// Maximum number of memory regions that existed at the same time.
    pub(crate) most_regions: Cell<u64>,
    list: u64,
}

impl Guest {
    pub(crate) fn new(mut machine: TestMachine) -> Self {
        Self {
            list: machine.alloc_pages(1),
            machine: RefCell::new(machine),
            refusal: RefCell::default(),
            seen: Cell::new(0),
            calls: RefCell::default(),
            not_freed: RefCell::default(),
            most_regions: Cell::new(0),
        }
    }

    /// Returns the firmware interface of the adapter.
    pub(crate) fn firmware(&self) -> Caller<&Self> {
        Caller::new(self, self.machine.borrow().handle())
    }

    /// Returns the page that holds lists of pages.
    pub(crate) fn list(&self) -> List<'_> {
        List(self)
    }

    /// Returns a map of all memory.
    pub(crate) fn map(&self) -> Map {
        map_of(self.machine.borrow().ram(), &[])
    }

    /// Refuses calls from now on, as `refusal` says.
    pub(crate) fn refuse(&self, refusal: Option<Refusal>) {
        *self.refusal.borrow_mut() = refusal;
        self.seen.set(0);
    }

    /// Checks whether a refusal was met since it was set.
    pub(crate) fn refused(&self) -> bool {
        self.refusal
            .borrow()
            .as_ref()
            .is_some_and(|refusal| self.seen.get() >= *refusal.calls.start())
    }

    /// Returns the number of calls with the opcode `opcode`.
    pub(crate) fn count(&self, opcode: Opcode) -> u64 {
        let calls = self.calls.borrow();
        calls.iter().filter(|call| call.0 == opcode).count() as u64
    }

    fn refusal(&self, opcode: Opcode) -> Option<ReturnCode> {
        let refusal = self.refusal.borrow();
        let refusal = refusal
            .as_ref()
            .filter(|refusal| refusal.opcode.is_none_or(|only| only == opcode))
            .filter(|refusal| !refusal.spare_free || opcode != Opcode::FREE_RESOURCE)?;
        self.seen.set(self.seen.get() + 1);
        refusal
            .calls
            .contains(&self.seen.get())
            .then_some(refusal.code)
    }
}

impl Hypervisor for Guest {
    type Block = ();
    type QueuePage = u64;
    type Results = Regs;

    fn call(&self, opcode: Opcode, mut regs: Regs, _: Memory<'_, Self>) -> (ReturnCode, Regs) {
        let code = self
            .refusal(opcode)
            .unwrap_or_else(|| self.machine.borrow_mut().hcall_once(opcode, &mut regs));
        self.calls.borrow_mut().push((opcode, code));
        if opcode == Opcode::ALLOC_HEA_RESOURCE {
            let regions = self.machine.borrow().stats().live.mr;
            self.most_regions.set(self.most_regions.get().max(regions));
        }
        (code, regs)
    }

    fn sleep_ms(&self, ms: u32) {
        self.machine.borrow_mut().advance(u64::from(ms) * 1_000_000);
    }

    fn not_freed(&self, _resource: u64, error: &HcallError) {
        self.not_freed.borrow_mut().push(*error);
    }
}

/// The page list of a guest.
pub(crate) struct List<'a>(&'a Guest);

impl PageList for List<'_> {
    type Block = ();

    fn block(&self) -> &() {
        &()
    }

    fn real_address(&self) -> u64 {
        self.0.list
    }

    fn set(&mut self, index: usize, page: u64) {
        assert!(index < 512);
        let address = self.0.list + 8 * index as u64;
        self.0.machine.borrow_mut().write(address, &U64::new(page));
    }
}
