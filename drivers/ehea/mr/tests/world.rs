// SPDX-License-Identifier: GPL-2.0

//! Adapters with ports and queue pairs, of which any steps fail.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::vec::Vec;

use super::{map, sections, Store};
use crate::abi::hcall::ReturnCode;
use crate::bmap::{Busmap, RealRange};
use crate::mr::{
    self, AliveCount, Backend as _, FailedStep, Failure, GenerationOf, Memory, MemoryEvent,
    Obstacle, Rebuild, Registration, Replaced,
};

/// Ports of each adapter, and queue pairs of each port.
const PORTS: usize = 2;
const PAIRS: usize = 2;

type Map = Rc<Busmap<Store>>;
type Generation = Rc<GenerationOf<Firmware>>;

/// Event of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Memory is missed that came online.
    Add,
    /// Memory in the map is about to go offline.
    Remove,
}

impl Event {
    /// Returns the memory that comes or goes.
    pub(super) fn range(self) -> RealRange {
        match self {
            Self::Add => sections(8, 2),
            Self::Remove => sections(2, 2),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Error {
    Step,
    NoRoom,
    Obstacle(Obstacle),
}

impl From<Obstacle> for Error {
    fn from(obstacle: Obstacle) -> Self {
        Self::Obstacle(obstacle)
    }
}

/// Numbers of the steps that fail, counted from 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fails {
    single: [u32; 2],
    from: u32,
}

impl Fails {
    pub(super) fn never() -> Self {
        Self::from(u32::MAX)
    }

    pub(super) fn twice(n: u32, later: u32) -> Self {
        Self {
            single: [n, later],
            ..Self::never()
        }
    }

    /// Checks whether at most one step fails.
    pub(super) fn is_one(&self) -> bool {
        self.from == u32::MAX && self.single[1] == 0
    }

    pub(super) fn from(n: u32) -> Self {
        Self {
            single: [0; 2],
            from: n,
        }
    }
}

/// Steps that were taken, of all adapters.
struct Steps {
    fails: Cell<Fails>,
    taken: Cell<u32>,
}

impl Steps {
    fn step(&self) -> Result<(), Error> {
        let number = self.taken.get() + 1;
        self.taken.set(number);
        let fails = self.fails.get();
        match number >= fails.from || fails.single.contains(&number) {
            true => Err(Error::Step),
            false => Ok(()),
        }
    }
}

/// Memory that is online.
struct Online {
    steps: Rc<Steps>,
    ranges: Vec<RealRange>,
    walks: u32,
}

impl mr::Source for Online {
    type Runs = Store;
    type Map = Map;
    type Error = Error;

    fn walk(&mut self, excluded: &[RealRange]) -> Result<Map, Error> {
        self.walks += 1;
        self.steps.step()?;
        Ok(Rc::new(map(&self.ranges, excluded)))
    }
}

/// Maps that firmware has regions for. Some of these have no owner any more.
#[derive(Default)]
struct Regions {
    owned: Vec<Map>,
    left: Vec<Map>,
}

/// Region, which is freed on drop.
pub(super) struct Region {
    steps: Rc<Steps>,
    regions: Rc<RefCell<Regions>>,
    map: Map,
}

impl Drop for Region {
    fn drop(&mut self) {
        let regions = &mut *self.regions.borrow_mut();
        let owned = regions.owned.iter();
        let index = owned.clone().position(|map| Rc::ptr_eq(map, &self.map));
        let map = regions.owned.remove(index.expect("freed twice"));
        if self.steps.step().is_err() {
            regions.left.push(map);
        }
    }
}

/// Firmware of an adapter.
pub(super) struct Firmware {
    steps: Rc<Steps>,
    regions: Rc<RefCell<Regions>>,
    /// Number of regions for which there is room.
    room: usize,
    /// True if no region is registered any more.
    refuses: bool,
    rebuilding: bool,
}

impl mr::Backend for Firmware {
    type Map = Map;
    type Region = Region;
    type Count = Rc<AliveCount>;
    type Generation = Generation;
    type Error = Error;

    fn register(&mut self, map: &Map) -> Result<Region, Error> {
        self.steps.step()?;
        let mut regions = self.regions.borrow_mut();
        if regions.owned.len() + regions.left.len() >= self.room {
            return Err(Error::NoRoom);
        }
        if self.refuses {
            return Err(Error::Step);
        }
        regions.owned.push(map.clone());
        assert!(regions.owned.len() <= 2);
        Ok(Region {
            steps: self.steps.clone(),
            regions: self.regions.clone(),
            map: map.clone(),
        })
    }

    fn share(&mut self, generation: GenerationOf<Self>) -> Result<Generation, Error> {
        self.steps.step()?;
        Ok(Rc::new(generation))
    }

    fn status(error: &Error) -> Option<ReturnCode> {
        (*error == Error::NoRoom).then_some(ReturnCode::NOT_ENOUGH_RESOURCES)
    }

    fn has_leftovers(&mut self) -> bool {
        let left = &mut self.regions.borrow_mut().left;
        left.retain(|_| self.steps.step().is_err());
        !left.is_empty()
    }

    fn made(&mut self, _generation: &Generation) {}

    fn rebuild_begins(&mut self, _rebuild: &Rebuild) {
        assert!(!core::mem::replace(&mut self.rebuilding, true));
    }

    fn replacement_begins(&mut self) {
        assert!(self.rebuilding);
    }

    fn breaks_first(&mut self) {
        assert!(self.rebuilding);
    }

    fn rebuild_ends(
        &mut self,
        _rebuild: &Rebuild,
        _outcome: Option<Replaced>,
        _published: Option<&Generation>,
    ) {
        assert!(core::mem::replace(&mut self.rebuilding, false));
    }
}

#[derive(Default)]
struct Pair {
    uses: Option<Generation>,
    next: Option<Generation>,
    pauses: bool,
}

impl Pair {
    fn uses(&self, generation: &Generation) -> bool {
        let own = self.uses.as_ref();
        own.is_some_and(|own| Rc::ptr_eq(own, generation))
    }
}

pub(super) struct Port {
    steps: Rc<Steps>,
    /// Queue pairs; `None` while the port is closed.
    pairs: RefCell<Option<[Pair; PAIRS]>>,
    reset: Cell<bool>,
}

impl Port {
    fn each(&self, f: impl FnMut(&mut Pair) -> Result<(), Error>) -> Result<(), Error> {
        let mut pairs = self.pairs.borrow_mut();
        pairs.iter_mut().flatten().try_for_each(f)
    }

    fn is_up(&self) -> bool {
        self.pairs.borrow().is_some() && !self.reset.get()
    }
}

impl mr::Port for Port {
    type Generation = Generation;
    type Error = Error;

    fn prepare(&self, to: &Generation) -> Result<(), Error> {
        self.each(|pair| {
            if !pair.uses(to) {
                self.steps.step()?;
                pair.next = Some(to.clone());
            }
            Ok(())
        })
    }

    fn switch(&self) -> Result<(), Error> {
        self.each(|pair| {
            if let Some(next) = pair.next.take() {
                self.steps.step()?;
                pair.uses = Some(next);
                pair.pauses = false;
            }
            Ok(())
        })
    }

    fn discard(&self) {
        let _ = self.each(|pair| {
            pair.next = None;
            Ok(())
        });
    }

    fn pause(&self) -> Result<(), Error> {
        self.each(|pair| {
            self.steps.step()?;
            pair.pauses = true;
            Ok(())
        })
    }

    fn release_keys(&self) {
        let _ = self.each(|pair| {
            assert!(pair.pauses);
            pair.uses = None;
            Ok(())
        });
    }

    fn go_on(&self, generation: &Generation) -> Result<(), Error> {
        self.each(|pair| {
            if !pair.uses(generation) {
                self.steps.step()?;
                pair.uses = Some(generation.clone());
            }
            pair.pauses = false;
            Ok(())
        })
    }

    fn wait_closed(&self) {}

    fn reset(&self, _step: FailedStep, _error: &Error) {
        self.reset.set(true);
    }
}

pub(super) struct Ports([Port; PORTS]);

impl mr::Ports for Ports {
    type Port = Port;

    fn with<T>(&self, f: impl FnOnce(&[Port]) -> T) -> T {
        f(&self.0)
    }
}

pub(super) struct Adapter {
    registration: RefCell<Registration<Firmware>>,
    ports: Ports,
}

impl mr::Adapter for Adapter {
    type Backend = Firmware;
    type Ports = Ports;

    fn with<T>(&self, f: impl FnOnce(&mut Registration<Firmware>, &Ports) -> T) -> T {
        f(&mut self.registration.borrow_mut(), &self.ports)
    }
}

impl Adapter {
    /// Returns an adapter with room for `room` regions, whose ports are closed.
    fn new(steps: &Rc<Steps>, room: usize) -> Self {
        let firmware = Firmware {
            steps: steps.clone(),
            regions: Rc::default(),
            room,
            refuses: false,
            rebuilding: false,
        };
        Self {
            registration: RefCell::new(Registration::new(firmware, Rc::default())),
            ports: Ports([(); PORTS].map(|()| Port {
                steps: steps.clone(),
                pairs: RefCell::new(None),
                reset: Cell::new(true),
            })),
        }
    }

    /// Checks whether all ports carry traffic.
    pub(super) fn is_up(&self) -> bool {
        self.ports.0.iter().all(Port::is_up)
    }

    /// Makes firmware register no region any more, or lets it do so again.
    pub(super) fn refuse_regions(&self, refuses: bool) {
        self.registration.borrow_mut().backend.refuses = refuses;
    }

    /// Resets the ports that asked for it.
    fn reset(&self, memory: &mut Memory<Online>) {
        for port in self.ports.0.iter().filter(|port| !port.is_up()) {
            port.pairs.replace(None);
            port.reset.set(true);
            let mut registration = self.registration.borrow_mut();
            registration.backend.has_leftovers();
            if let Ok(generation) = memory.current(&mut registration) {
                port.pairs.replace(Some([(); PAIRS].map(|()| Pair {
                    uses: Some(generation.clone()),
                    ..Pair::default()
                })));
                port.reset.set(false);
            }
        }
    }

    /// Asserts what holds whenever nothing is under way, given the map in use.
    fn check(&self, map: &Map) {
        let registration = self.registration.borrow();
        let regions = registration.backend.regions.borrow();
        assert_eq!(regions.owned.len(), registration.alive().get() as usize);
        assert!(!registration.backend.rebuilding);
        assert!(registration.is_only() || !self.is_up());
        let published = registration.published();
        assert!(published.is_none_or(|own| **own.map() == **map));
        for port in self.ports.0.iter().filter(|port| port.is_up()) {
            for pair in port.pairs.borrow().iter().flatten() {
                assert!(!pair.pauses && pair.next.is_none());
                assert!(pair.uses(published.expect("traffic without a region")));
            }
        }
    }

    /// Checks whether the adapter reaches memory in `range`.
    fn reaches(&self, range: &RealRange) -> bool {
        let registration = self.registration.borrow();
        let regions = registration.backend.regions.borrow();
        let mut maps = regions.owned.iter().chain(&regions.left);
        maps.any(|map| map.intersects(range))
    }
}

/// Adapters with one memory map.
pub(super) struct World {
    steps: Rc<Steps>,
    memory: Memory<Online>,
    pub(super) adapters: Vec<Adapter>,
}

impl World {
    /// Returns adapters with room for the given numbers of regions, with open ports.
    pub(super) fn new(rooms: &[usize]) -> Self {
        let steps = Rc::new(Steps {
            fails: Cell::new(Fails::never()),
            taken: Cell::new(0),
        });
        let source = Online {
            steps: steps.clone(),
            ranges: [sections(0, 6)].into(),
            walks: 0,
        };
        let mut world = Self {
            steps,
            memory: Memory::new(source, Rc::new(map(&[], &[]))),
            adapters: Vec::new(),
        };
        rooms.iter().for_each(|&room| world.join(room));
        world
    }

    /// Adds an adapter with room for `room` regions, with open ports.
    pub(super) fn join(&mut self, room: usize) {
        let adapter = Adapter::new(&self.steps, room);
        adapter.reset(&mut self.memory);
        assert!(adapter.is_up());
        self.adapters.push(adapter);
    }

    /// Removes the adapter at `index`, of which nothing is left.
    pub(super) fn leave(&mut self, index: usize) {
        let adapter = self.adapters.remove(index);
        let regions = adapter.registration.borrow().backend.regions.clone();
        drop(adapter);
        assert!(regions.borrow().owned.is_empty() && regions.borrow().left.is_empty());
    }

    /// Makes steps fail from now on. Returns the number of steps that were taken before.
    pub(super) fn fail(&self, fails: Fails) -> u32 {
        self.steps.fails.set(fails);
        self.steps.taken.replace(0)
    }

    pub(super) fn walks(&self) -> u32 {
        self.memory.source.walks
    }

    pub(super) fn map(&self) -> Map {
        self.memory.map().clone()
    }

    /// Makes `event` happen, from the kernel's point of view.
    pub(super) fn prepare(&mut self, event: Event) {
        if event == Event::Add {
            self.memory.source.ranges.push(event.range());
            self.follow(MemoryEvent::Online(event.range())).unwrap();
        }
    }

    fn follow(&mut self, event: MemoryEvent) -> Result<Replaced, Failure<Error>> {
        self.memory.follow(&self.adapters, event)
    }

    /// Makes the adapters follow `event`.
    pub(super) fn act(&mut self, event: Event) -> Result<Replaced, Failure<Error>> {
        let range = event.range();
        match event {
            Event::Add => self.memory.map_missed(&self.adapters, range.start()),
            Event::Remove => {
                let result = self.follow(MemoryEvent::GoingOffline(range));
                if result.is_err() {
                    // The kernel tells everybody.
                    self.follow(MemoryEvent::CancelOffline(range)).unwrap();
                }
                result
            }
        }
    }

    /// Makes the adapters follow `event` again, however often it has failed.
    pub(super) fn act_again(&mut self, event: Event) -> Result<Replaced, Failure<Error>> {
        match event {
            Event::Add => {
                let address = event.range().start();
                self.memory.map_requested(&self.adapters, address)
            }
            Event::Remove => self.act(event),
        }
    }

    /// Checks whether `event` has had its effect.
    pub(super) fn is_done(&self, event: Event) -> bool {
        let mapped = self.memory.map().intersects(&event.range());
        mapped == (event == Event::Add)
    }

    /// Checks whether all adapters are up but the one at `index`, which may be.
    pub(super) fn are_up_except(&self, index: usize) -> bool {
        let mut adapters = self.adapters.iter().enumerate();
        adapters.all(|(other, adapter)| other == index || adapter.is_up())
    }

    /// Resets the ports that asked for it, until all are up that can.
    pub(super) fn reset(&mut self) {
        for _ in 0..PORTS {
            for adapter in &self.adapters {
                adapter.reset(&mut self.memory);
            }
        }
    }

    /// Asserts what holds whenever nothing is under way.
    pub(super) fn check(&self) {
        for adapter in &self.adapters {
            adapter.check(self.memory.map());
        }
    }

    /// Checks whether an adapter reaches the memory of `event`.
    pub(super) fn reaches(&self, event: Event) -> bool {
        let mut adapters = self.adapters.iter();
        adapters.any(|adapter| adapter.reaches(&event.range()))
    }

    /// Removes all adapters, of which nothing is left.
    pub(super) fn end(mut self) {
        while !self.adapters.is_empty() {
            let mut registration = self.adapters[0].registration.borrow_mut();
            registration.backend.has_leftovers();
            drop(registration);
            self.leave(0);
        }
    }
}
