// SPDX-License-Identifier: GPL-2.0

//! An adapter with two open ports, whose memory map follows memory by means of the driver's own
//! code: policy, order of a rebuild, maps, regions, queues.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::slice;

use ehea_core::abi::cb::adapter::PageSizes;
use ehea_core::abi::cb::port::MacAddress;
use ehea_core::abi::hcall::ReturnCode;
use ehea_core::abi::ring::QueueSize;
use ehea_core::bmap::{RealRange, SECTION_SIZE};
use ehea_core::hcall::HcallError;
use ehea_core::moving::{self, Pair as _};
use ehea_core::mr::{
    self, AliveCount, Backend, Failure, MemoryEvent, MissReport, Obstacle, Rebuild, RegisterError,
    Registration, Replaced, Source,
};
use ehea_model::testkit::TestMachine;
use ehea_model::Temper;

use super::generation::{register, Generation, Region};
use super::guest::{map_of, Guest, Map, Runs};
use super::port::{Port, Stuck};

/// Size of a memory block in bytes.
pub(crate) const BLOCK: u64 = 2 * SECTION_SIZE;
/// Size of the memory that is never removed, which begins at address 0 and holds rings and control
/// blocks.
pub(crate) const BASE: u64 = 8 * SECTION_SIZE;

const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

/// Returns the addresses of removable memory block `block`.
pub(crate) fn block_range(block: u64) -> RealRange {
    // Every third block has a hole before it.
    let hole = BASE + block / 3 * BLOCK;
    RealRange::new(hole + block * BLOCK, BLOCK).unwrap()
}

/// Returns a machine with two ports, the base memory and the blocks `blocks`.
pub(crate) fn machine(sizes: PageSizes, max_mrs: u32, blocks: &[u64]) -> TestMachine {
    tempered_machine(sizes, max_mrs, blocks, Temper::Calm)
}

/// Returns the same as [`machine`], with an adapter of temper `temper`.
pub(crate) fn tempered_machine(
    sizes: PageSizes,
    max_mrs: u32,
    blocks: &[u64],
    temper: Temper,
) -> TestMachine {
    let mut config = TestMachine::default_config();
    config.temper = temper;
    config.mr_page_sizes = sizes;
    config.max_mrs = max_mrs;
    config.macs = MACS.map(MacAddress).to_vec();
    let mut ram = vec![(0, BASE)];
    ram.extend(blocks.iter().map(|&block| {
        let range = block_range(block);
        (range.start(), range.len())
    }));
    TestMachine::with_ram(config, &ram)
}

/// Reason why the memory map cannot be changed.
#[derive(Debug)]
pub(crate) enum Error {
    Register(RegisterError),
    /// A port does not move.
    Move,
    Obstacle(Obstacle),
}

impl From<Obstacle> for Error {
    fn from(obstacle: Obstacle) -> Self {
        Self::Obstacle(obstacle)
    }
}

/// The memory of the machine, of which maps are made.
pub(crate) struct Machine {
    /// Numbers of the blocks that are online.
    pub(crate) online: BTreeSet<u64>,
}

impl Machine {
    /// Returns all memory, as start and length of ranges.
    fn ranges(&self) -> Vec<(u64, u64)> {
        let blocks = self.online.iter().map(|&block| block_range(block));
        let blocks = blocks.map(|range| (range.start(), range.len()));
        [(0, BASE)].into_iter().chain(blocks).collect()
    }
}

impl Source for Machine {
    type Runs = Runs;
    type Map = Rc<Map>;
    type Error = Error;

    fn walk(&mut self, excluded: &[RealRange]) -> Result<Rc<Map>, Error> {
        Ok(Rc::new(map_of(&self.ranges(), excluded)))
    }
}

/// The firmware with which maps are registered.
pub(crate) struct Registrar<'a> {
    guest: &'a Guest,
    sizes: PageSizes,
    pub(crate) broke_first: u64,
}

impl<'a> Backend for Registrar<'a> {
    type Map = Rc<Map>;
    type Region = Region<'a>;
    type Count = Rc<AliveCount>;
    type Generation = Rc<Generation<'a>>;
    type Error = Error;

    fn register(&mut self, map: &Rc<Map>) -> Result<Region<'a>, Error> {
        register(self.guest, self.sizes, map).map_err(Error::Register)
    }

    fn share(&mut self, generation: Generation<'a>) -> Result<Rc<Generation<'a>>, Error> {
        Ok(Rc::new(generation))
    }

    fn status(error: &Error) -> Option<ReturnCode> {
        match error {
            Error::Register(RegisterError::Hcall(HcallError { code, .. })) => Some(*code),
            _ => None,
        }
    }

    fn has_leftovers(&mut self) -> bool {
        !self.guest.not_freed.borrow().is_empty()
    }

    fn made(&mut self, _generation: &Rc<Generation<'a>>) {}

    fn rebuild_begins(&mut self, _rebuild: &Rebuild) {}

    fn replacement_begins(&mut self) {}

    fn breaks_first(&mut self) {
        self.broke_first += 1;
    }

    fn rebuild_ends(
        &mut self,
        _rebuild: &Rebuild,
        _outcome: Option<Replaced>,
        _published: Option<&Rc<Generation<'a>>>,
    ) {
    }
}

/// The memory map.
pub(crate) type Memory = mr::Memory<Machine>;

/// A port of the adapter.
pub(crate) struct Member<'a> {
    pub(crate) number: u16,
    /// The open port, or `None` if it is closed because it could not be opened again.
    port: RefCell<Option<Port<'a>>>,
    /// The port while it is being closed.
    closing: RefCell<Option<Port<'a>>>,
    reset: Cell<bool>,
}

impl<'a> Member<'a> {
    /// Returns the port if it is open.
    pub(crate) fn port(&self) -> Option<RefMut<'_, Port<'a>>> {
        RefMut::filter_map(self.port.borrow_mut(), Option::as_mut).ok()
    }

    /// Checks whether the port carries traffic.
    pub(crate) fn is_up(&self) -> bool {
        self.port().is_some() && !self.is_to_be_reset()
    }

    fn is_to_be_reset(&self) -> bool {
        self.reset.get() || self.port().is_some_and(|port| port.needs_reset)
    }

    fn each(&self, f: impl FnOnce(&mut Port<'a>) -> Result<(), Stuck>) -> Result<(), Error> {
        match self.port() {
            Some(mut port) => f(&mut port).map_err(|_| Error::Move),
            None => Ok(()),
        }
    }

    /// Begins to close the port, or ends that.
    pub(crate) fn begin_close(&self) {
        self.closing.replace(self.port.take());
    }

    fn end_close(&self) {
        if let Some(port) = self.closing.take() {
            port.shut();
        }
    }

    /// Returns the destination address of frames to the port.
    pub(crate) fn mac(&self) -> [u8; 6] {
        MACS[usize::from(self.number) - 1]
    }
}

impl<'a> mr::Port for Member<'a> {
    type Generation = Rc<Generation<'a>>;
    type Error = Error;

    fn prepare(&self, to: &Rc<Generation<'a>>) -> Result<(), Error> {
        self.each(|port| moving::prepare(port, to))
    }

    fn switch(&self) -> Result<(), Error> {
        self.each(moving::switch)
    }

    fn discard(&self) {
        if let Some(mut port) = self.port() {
            moving::discard(&mut *port);
        }
    }

    fn pause(&self) -> Result<(), Error> {
        self.each(moving::pause)
    }

    fn release_keys(&self) {
        if let Some(mut port) = self.port() {
            port.release_keys();
        }
    }

    fn go_on(&self, generation: &Rc<Generation<'a>>) -> Result<(), Error> {
        self.each(|port| moving::go_on(port, generation))
    }

    fn wait_closed(&self) {
        self.end_close();
    }

    fn reset(&self, _step: mr::FailedStep, _error: &Error) {
        self.reset.set(true);
    }
}

/// The table of ports.
pub(crate) struct Members<'a>(pub(crate) [Member<'a>; 2]);

impl<'a> mr::Ports for Members<'a> {
    type Port = Member<'a>;

    fn with<T>(&self, f: impl FnOnce(&[Member<'a>]) -> T) -> T {
        f(&self.0)
    }
}

/// The adapter, as the memory map sees it.
pub(crate) struct Follower<'a> {
    registration: RefCell<Registration<Registrar<'a>>>,
    pub(crate) members: Members<'a>,
}

impl<'a> mr::Adapter for Follower<'a> {
    type Backend = Registrar<'a>;
    type Ports = Members<'a>;

    fn with<T>(&self, f: impl FnOnce(&mut Registration<Registrar<'a>>, &Members<'a>) -> T) -> T {
        f(&mut self.registration.borrow_mut(), &self.members)
    }
}

/// The adapter.
pub(crate) struct Adapter<'a> {
    pub(crate) guest: &'a Guest,
    pub(crate) memory: Memory,
    follower: Follower<'a>,
    missed: MissReport,
    /// True if the worker is queued.
    pub(crate) queued: bool,
}

impl<'a> Adapter<'a> {
    /// Opens both ports.
    pub(crate) fn new(guest: &'a Guest, online: impl IntoIterator<Item = u64>) -> Self {
        let registrar = Registrar {
            guest,
            sizes: guest.machine.borrow().config().mr_page_sizes,
            broke_first: 0,
        };
        let machine = Machine {
            online: online.into_iter().collect(),
        };
        let mut adapter = Self {
            guest,
            memory: Memory::new(machine, Rc::new(map_of(&[], &[]))),
            follower: Follower {
                registration: RefCell::new(Registration::new(registrar, Rc::default())),
                members: Members([1, 2].map(|number| Member {
                    number,
                    port: RefCell::new(None),
                    closing: RefCell::new(None),
                    // The ports come up in the same way as after an error.
                    reset: Cell::new(true),
                })),
            },
            missed: MissReport::new(),
            queued: false,
        };
        adapter.reset_ports();
        assert!(adapter.are_all_up());
        adapter
    }

    /// Returns the ports.
    pub(crate) fn members(&self) -> &[Member<'a>] {
        &self.follower.members.0
    }

    /// Checks whether all ports carry traffic.
    pub(crate) fn are_all_up(&self) -> bool {
        self.members().iter().all(Member::is_up)
    }

    /// Returns the generation in use.
    pub(crate) fn published(&self) -> Option<Rc<Generation<'a>>> {
        self.follower.registration.borrow().published().cloned()
    }

    /// Returns how often a region had to be freed before another one could be registered.
    pub(crate) fn broke_first(&self) -> u64 {
        self.follower.registration.borrow().backend.broke_first
    }

    /// Resets the ports that asked for it. A port stays closed if firmware does not let it open.
    pub(crate) fn reset_ports(&mut self) {
        for member in &self.follower.members.0 {
            if !member.is_to_be_reset() && member.port().is_some() {
                continue;
            }
            if let Some(port) = member.port.take() {
                port.shut();
            }
            member.end_close();
            member.reset.set(true);
            let mut registration = self.follower.registration.borrow_mut();
            if let Ok(generation) = self.memory.current(&mut registration) {
                let size = QueueSize::MIN;
                let port = Port::open_with(self.guest, member.number, size, &generation);
                *member.port.borrow_mut() = Some(port);
                member.reset.set(false);
            }
        }
    }

    /// Reports that a buffer of a port is not mapped.
    pub(crate) fn miss(&mut self, address: u64) {
        if self.missed.report(address) {
            assert!(!self.queued, "queued twice");
            self.queued = true;
        }
    }

    /// Runs the worker if it is queued.
    pub(crate) fn work(&mut self) -> Result<(), Error> {
        if !std::mem::take(&mut self.queued) {
            return Ok(());
        }
        let adapters = slice::from_ref(&self.follower);
        let memory = &mut self.memory;
        let result = self
            .missed
            .take(|address| memory.map_missed(adapters, address));
        self.followed(result.expect("queued for nothing"))
    }

    /// Maps memory that a port waits for while it is opened.
    pub(crate) fn request(&mut self, address: u64) -> Result<(), Error> {
        let adapters = slice::from_ref(&self.follower);
        let result = self.memory.map_requested(adapters, address);
        self.followed(result)
    }

    /// Notifies the driver of what happens to memory.
    pub(crate) fn notify(&mut self, event: MemoryEvent) -> Result<(), Error> {
        let adapters = slice::from_ref(&self.follower);
        let result = self.memory.follow(adapters, event);
        self.followed(result)
    }

    fn followed(&self, result: Result<Replaced, Failure<Error>>) -> Result<(), Error> {
        if result.map_err(|failure| failure.error)? == Replaced::Published {
            // The map has all that there is, and nothing else.
            let excluded = self.memory.excluded().as_slice();
            assert!(**self.memory.map() == map_of(&self.memory.source.ranges(), excluded));
        }
        Ok(())
    }

    /// Returns the numbers of the blocks that are online.
    pub(crate) fn online(&self) -> &BTreeSet<u64> {
        &self.memory.source.online
    }

    /// Returns the numbers of the blocks in the map.
    pub(crate) fn mapped(&self) -> BTreeSet<u64> {
        let map = self.memory.map();
        let online = self.online().iter().copied();
        online
            .filter(|&block| map.intersects(&block_range(block)))
            .collect()
    }

    /// Closes everything.
    pub(crate) fn close(self) {
        for member in self.follower.members.0 {
            if let Some(port) = member.port.take() {
                port.shut();
            }
            member.end_close();
        }
    }

    /// Asserts what holds at any time.
    pub(crate) fn check(&self, leaving: &BTreeSet<u64>) {
        let map = self.memory.map();
        assert!(self.mapped().is_disjoint(leaving));
        let mut bus = ehea_core::bmap::START;
        let mut sections = 0;
        for run in map.runs() {
            assert_eq!(run.bus(), bus, "a hole");
            bus += run.len();
            sections += run.len() / SECTION_SIZE;
        }
        let base = u64::from(!map.is_empty()) * BASE / SECTION_SIZE;
        let blocks = self.mapped().len() as u64 * BLOCK / SECTION_SIZE;
        assert_eq!(sections, base + blocks, "mapped without being there");

        let stats = self.guest.machine.borrow().stats();
        assert!(stats.mrs.len() <= 2 && self.guest.most_regions.get() <= 2);
        assert_eq!(stats.refused_accesses, 0);
        assert_eq!(stats.removed_while_registered, 0);
        if self.guest.not_freed.borrow().is_empty() {
            let registration = self.follower.registration.borrow();
            assert_eq!(stats.mrs.len(), registration.alive().get() as usize);
            for run in stats.mrs.iter().flat_map(|mr| &mr.runs) {
                let run = RealRange::new(run.0, run.1).unwrap();
                for &block in leaving {
                    assert!(!run.intersects(&block_range(block)), "{block} is in reach");
                }
            }
        }
        if let Some(generation) = self.published() {
            let region = stats.mrs.iter();
            let mut region = region.filter(|mr| mr.handle == generation.region().handle());
            let runs: Vec<_> = map.runs().iter().map(|r| (r.real(), r.len())).collect();
            assert_eq!(region.next().expect("no region").runs, runs);
        }
        for port in self.members().iter().filter_map(Member::port) {
            let Some(handle) = port.region() else {
                continue;
            };
            let mr = stats.mrs.iter().find(|mr| mr.handle == handle);
            let runs = &mr.expect("the port's region is gone").runs;
            for (real, bus) in port.posted() {
                assert_eq!(resolve(runs, bus), Some(real));
            }
        }
    }
}

/// Returns the real address that the adapter address `bus` of a region leads to.
fn resolve(runs: &[(u64, u64)], bus: u64) -> Option<u64> {
    let mut offset = bus - ehea_core::bmap::START;
    for &(real, len) in runs {
        if offset < len {
            return Some(real + offset);
        }
        offset -= len;
    }
    None
}
