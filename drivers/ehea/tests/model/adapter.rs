// SPDX-License-Identifier: GPL-2.0

//! An adapter with two open ports, whose memory map follows memory by means of the driver's own
//! code: policy, order of a rebuild, maps, regions, queues.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::BTreeSet;
use std::rc::Rc;

use ehea_core::abi::cb::adapter::PageSizes;
use ehea_core::abi::cb::port::MacAddress;
use ehea_core::abi::hcall::ReturnCode;
use ehea_core::abi::ring::QueueSize;
use ehea_core::bmap::{RealRange, SECTION_SIZE};
use ehea_core::hcall::HcallError;
use ehea_core::moving::{self, Pair as _};
use ehea_core::mr::{
    self, Action, AliveCount, MemoryEvent, MissReport, Policy, Rebuild, Regions as _,
    RegisterError, Replaced,
};
use ehea_model::testkit::TestMachine;
use ehea_model::Temper;

use super::generation::Generation;
use super::guest::{map_of, Guest, Map};
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
    /// The adapter may reach memory that is not in the map.
    Reach,
    /// The policy refuses.
    Policy,
}

/// The memory of the machine and the map of it.
pub(crate) struct Memory<'a> {
    guest: &'a Guest,
    sizes: PageSizes,
    pub(crate) policy: Policy,
    published: Option<Rc<Generation<'a>>>,
    alive: Rc<AliveCount>,
    /// Numbers of the blocks that are online.
    pub(crate) online: BTreeSet<u64>,
    pub(crate) broke_first: u64,
}

impl<'a> Memory<'a> {
    /// Returns all memory, as start and length of ranges.
    fn ranges(&self) -> Vec<(u64, u64)> {
        let blocks = self.online.iter().map(|&block| block_range(block));
        let blocks = blocks.map(|range| (range.start(), range.len()));
        [(0, BASE)].into_iter().chain(blocks).collect()
    }

    pub(crate) fn map(&self) -> Rc<Map> {
        match &self.published {
            Some(generation) => generation.map.clone(),
            None => Rc::new(map_of(&[], &[])),
        }
    }

    /// Returns the map in use, and makes one if there is none.
    fn current(&mut self) -> Result<Rc<Generation<'a>>, RegisterError> {
        if let Some(generation) = &self.published {
            return Ok(generation.clone());
        }
        let map = map_of(&self.ranges(), self.policy.excluded().as_slice());
        let (guest, number) = (self.guest, self.policy.generation());
        let generation = Generation::register(guest, self.sizes, number, map, &self.alive)?;
        self.published = Some(generation.clone());
        Ok(generation)
    }
}

impl<'a> mr::Regions for Memory<'a> {
    type Map = Rc<Map>;
    type Generation = Rc<Generation<'a>>;
    type Error = Error;

    fn walk(&mut self, excluded: &[RealRange]) -> Result<Rc<Map>, Error> {
        Ok(Rc::new(map_of(&self.ranges(), excluded)))
    }

    fn register(
        &mut self,
        number: mr::MapNumber,
        map: &Rc<Map>,
    ) -> Result<Rc<Generation<'a>>, Error> {
        Generation::register(self.guest, self.sizes, number, map.clone(), &self.alive)
            .map_err(Error::Register)
    }

    fn published(&self) -> Option<Rc<Generation<'a>>> {
        self.published.clone()
    }

    fn publish(&mut self, generation: Option<Rc<Generation<'a>>>) {
        self.published = generation;
    }

    fn number_of(generation: &Rc<Generation<'a>>) -> mr::MapNumber {
        generation.number
    }

    fn map_of(generation: &Rc<Generation<'a>>) -> Rc<Map> {
        generation.map.clone()
    }

    fn is_same(one: &Rc<Map>, other: &Rc<Map>) -> bool {
        **one == **other
    }

    fn is_only(&self) -> bool {
        self.alive.get() == u32::from(self.published.is_some())
    }

    fn not_only() -> Error {
        Error::Reach
    }

    fn is_no_room(error: &Error) -> bool {
        let Error::Register(RegisterError::Hcall(HcallError { code, .. })) = error else {
            return false;
        };
        [
            ReturnCode::NOT_ENOUGH_RESOURCES,
            ReturnCode::RESOURCE,
            ReturnCode::TABLE_FULL,
        ]
        .contains(code)
    }

    fn breaks_first(&mut self) {
        self.broke_first += 1;
    }
}

/// A port of the adapter.
pub(crate) struct Member<'a> {
    pub(crate) number: u16,
    /// The open port, or `None` if it is closed because it could not be opened again.
    port: RefCell<Option<Port<'a>>>,
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

/// The adapter.
pub(crate) struct Adapter<'a> {
    pub(crate) guest: &'a Guest,
    pub(crate) memory: Memory<'a>,
    pub(crate) members: Members<'a>,
    missed: MissReport,
    /// True if the worker is queued.
    pub(crate) queued: bool,
}

impl<'a> Adapter<'a> {
    /// Opens both ports.
    pub(crate) fn new(guest: &'a Guest, online: impl IntoIterator<Item = u64>) -> Self {
        let sizes = guest.machine.borrow().config().mr_page_sizes;
        let adapter = Self {
            guest,
            memory: Memory {
                guest,
                sizes,
                policy: Policy::new(),
                published: None,
                alive: Rc::default(),
                online: online.into_iter().collect(),
                broke_first: 0,
            },
            members: Members([1, 2].map(|number| Member {
                number,
                port: RefCell::new(None),
                // The ports come up in the same way as after an error.
                reset: Cell::new(true),
            })),
            missed: MissReport::new(),
            queued: false,
        };
        let mut adapter = adapter;
        adapter.reset_ports();
        assert!(adapter.members.0.iter().all(Member::is_up));
        adapter
    }

    /// Resets the ports that asked for it. A port stays closed if firmware does not let it open.
    pub(crate) fn reset_ports(&mut self) {
        for member in &self.members.0 {
            if !member.is_to_be_reset() && member.port().is_some() {
                continue;
            }
            if let Some(port) = member.port.take() {
                port.shut();
            }
            member.reset.set(true);
            if let Ok(generation) = self.memory.current() {
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
        let memory = &mut self.memory;
        let members = &self.members;
        let result = self.missed.take(|address| {
            let range = RealRange::new(address, 1).unwrap();
            let map = memory.map();
            match memory.policy.handle(MemoryEvent::Miss(range), &map) {
                Ok(Action::QueueRebuild) => {}
                Ok(Action::Nothing) => return Ok(()),
                other => panic!("{other:?}"),
            }
            let rebuild = memory.policy.begin_queued().unwrap();
            rebuild_map(memory, members, rebuild)
        });
        result.expect("queued for nothing")
    }

    /// Notifies the driver of what happens to memory.
    pub(crate) fn notify(&mut self, event: MemoryEvent) -> Result<(), Error> {
        let map = self.memory.map();
        match self.memory.policy.handle(event, &map) {
            Ok(Action::RebuildNow) => {
                let (MemoryEvent::GoingOffline(range) | MemoryEvent::Offline(range)) = event else {
                    panic!("{event:?}")
                };
                if let Some(rebuild) = self.memory.policy.begin_removal(range, &map) {
                    rebuild_map(&mut self.memory, &self.members, rebuild)?;
                    self.check_reach()?;
                }
                Ok(())
            }
            Ok(_) if matches!(event, MemoryEvent::GoingOffline(_)) => self.check_reach(),
            Ok(Action::Nothing) => Ok(()),
            Ok(action) => panic!("{action:?}"),
            Err(_) => Err(Error::Policy),
        }
    }

    fn check_reach(&self) -> Result<(), Error> {
        if !self.memory.is_only() {
            if let Some(current) = &self.memory.published {
                let _ = mr::move_ports(&self.members, current, current);
            }
        }
        if !self.memory.is_only() || !self.guest.not_freed.borrow().is_empty() {
            return Err(Error::Reach);
        }
        Ok(())
    }

    /// Returns the numbers of the blocks in the map.
    pub(crate) fn mapped(&self) -> BTreeSet<u64> {
        let map = self.memory.map();
        let online = self.memory.online.iter().copied();
        online
            .filter(|&block| map.intersects(&block_range(block)))
            .collect()
    }

    /// Closes everything.
    pub(crate) fn close(self) {
        for member in self.members.0 {
            if let Some(port) = member.port.take() {
                port.shut();
            }
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
        let base = u64::from(self.memory.published.is_some()) * BASE / SECTION_SIZE;
        let blocks = self.mapped().len() as u64 * BLOCK / SECTION_SIZE;
        assert_eq!(sections, base + blocks, "mapped without being there");

        let stats = self.guest.machine.borrow().stats();
        assert!(stats.mrs.len() <= 2 && self.guest.most_regions.get() <= 2);
        assert_eq!(stats.refused_accesses, 0);
        assert_eq!(stats.removed_while_registered, 0);
        if self.guest.not_freed.borrow().is_empty() {
            assert_eq!(stats.mrs.len(), self.memory.alive.get() as usize);
            for run in stats.mrs.iter().flat_map(|mr| &mr.runs) {
                let run = RealRange::new(run.0, run.1).unwrap();
                for &block in leaving {
                    assert!(!run.intersects(&block_range(block)), "{block} is in reach");
                }
            }
        }
        if let Some(generation) = &self.memory.published {
            let region = stats.mrs.iter();
            let mut region = region.filter(|mr| mr.handle == generation.region.handle());
            let runs: Vec<_> = map.runs().iter().map(|r| (r.real(), r.len())).collect();
            assert_eq!(region.next().expect("no region").runs, runs);
        }
        for port in self.members.0.iter().filter_map(Member::port) {
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

/// Does a rebuild and reports its outcome to the policy.
fn rebuild_map<'a>(
    memory: &mut Memory<'a>,
    members: &Members<'a>,
    rebuild: Rebuild,
) -> Result<(), Error> {
    let result = mr::replace(memory, members, &rebuild);
    let outcome = result.as_ref().ok().copied();
    if outcome == Some(Replaced::Published) {
        // The map has all that there is, and nothing else.
        let expected = map_of(&memory.ranges(), rebuild.excluded());
        assert!(*memory.map() == expected);
    }
    memory.policy.finish(rebuild, outcome);
    result.map(drop)
}
