// SPDX-License-Identifier: GPL-2.0

//! Course of events: how the memory map follows memory that comes and goes.
//!
//! [`Policy`](super::Policy) decides what to do, [`replace`] does it.

use super::memory::{Backend, Memory, Obstacle};
use super::policy::{Action, MemoryEvent, Rebuild, Replaced};
use super::replace::{move_ports, replace, Port, Ports};
use crate::bmap::RealRange;

impl<B: Backend> Memory<B> {
    /// Maps the memory at real address `address`, which a buffer has missed, unless it is mapped or is not
    /// to be mapped now. After fruitless attempts, a number of misses is ignored.
    ///
    /// # Errors
    ///
    /// Those of [`replace`].
    pub fn map_missed<P>(&mut self, ports: &P, address: u64) -> Result<Replaced, B::Error>
    where
        P: Ports<Port: Port<Generation = B::Generation, Error = B::Error>>,
    {
        self.map_for(ports, address, MemoryEvent::Miss)
    }

    /// Maps the memory at real address `address`, which somebody waits for, unless it is mapped or is not to
    /// be mapped now. What was tried before does not matter.
    ///
    /// # Errors
    ///
    /// Those of [`replace`].
    pub fn map_requested<P>(&mut self, ports: &P, address: u64) -> Result<Replaced, B::Error>
    where
        P: Ports<Port: Port<Generation = B::Generation, Error = B::Error>>,
    {
        self.map_for(ports, address, MemoryEvent::Request)
    }

    fn map_for<P>(
        &mut self,
        ports: &P,
        address: u64,
        event: fn(RealRange) -> MemoryEvent,
    ) -> Result<Replaced, B::Error>
    where
        P: Ports<Port: Port<Generation = B::Generation, Error = B::Error>>,
    {
        let Some(range) = RealRange::new(address, 1) else {
            return Ok(Replaced::Unchanged);
        };
        let map = self.map().clone();
        // Policy has nothing to refuse about these.
        if !matches!(
            self.policy.handle(event(range), &map),
            Ok(Action::QueueRebuild)
        ) {
            return Ok(Replaced::Unchanged);
        }
        match self.policy.begin_queued() {
            Some(rebuild) => self.rebuild(ports, rebuild),
            None => Ok(Replaced::Unchanged),
        }
    }

    /// Follows an event about memory. Returns [`Replaced::Published`] if memory was taken out of
    /// the map because of it.
    ///
    /// # Errors
    ///
    /// Those of [`replace`], or an [`Obstacle`]. In either case, memory that is about to go offline
    /// must not go.
    pub fn follow<P>(&mut self, ports: &P, event: MemoryEvent) -> Result<Replaced, B::Error>
    where
        P: Ports<Port: Port<Generation = B::Generation, Error = B::Error>>,
    {
        let map = self.map().clone();
        let action = self.policy.handle(event, &map);
        match (action, event) {
            (
                Ok(Action::RebuildNow),
                MemoryEvent::GoingOffline(range) | MemoryEvent::Offline(range),
            ) => match self.policy.begin_removal(range, &map) {
                Some(rebuild) => {
                    let replaced = self.rebuild(ports, rebuild)?;
                    self.check_reach(ports)?;
                    Ok(replaced)
                }
                None => Ok(Replaced::Unchanged),
            },
            (Ok(_), MemoryEvent::GoingOffline(_)) => {
                self.check_reach(ports)?;
                Ok(Replaced::Unchanged)
            }
            (Ok(_), _) => Ok(Replaced::Unchanged),
            (Err(_), _) => Err(Obstacle::TooManyRanges.into()),
        }
    }

    /// Moves ports that use an older map to the one in use, and waits for ports that are just being closed.
    /// Ports that cannot be moved are reset.
    pub fn settle<P>(&self, ports: &P)
    where
        P: Ports<Port: Port<Generation = B::Generation, Error = B::Error>>,
    {
        if self.is_only() {
            return;
        }
        if let Some(current) = self.published() {
            let _ = move_ports(ports, current, current);
        }
        // A port that is being closed cannot be moved any more, and still uses its map.
        if !self.is_only() {
            ports.with(|ports| ports.iter().for_each(Port::wait_closed));
        }
    }

    /// Fails if the adapter may reach memory that is not in the map. This is so if a port still
    /// uses an older map, or if firmware has not taken a region back.
    fn check_reach<P>(&mut self, ports: &P) -> Result<(), B::Error>
    where
        P: Ports<Port: Port<Generation = B::Generation, Error = B::Error>>,
    {
        self.settle(ports);
        let leftovers = self.backend.has_leftovers();
        if leftovers || !self.is_only() {
            return Err(Obstacle::InReach.into());
        }
        Ok(())
    }

    /// Does a rebuild and tells the policy how it ended.
    fn rebuild<P>(&mut self, ports: &P, rebuild: Rebuild) -> Result<Replaced, B::Error>
    where
        P: Ports<Port: Port<Generation = B::Generation, Error = B::Error>>,
    {
        self.backend.rebuild_begins(&rebuild);
        let result = replace(self, ports, &rebuild);
        let outcome = result.as_ref().ok().copied();
        let published = self.published().cloned();
        self.backend
            .rebuild_ends(&rebuild, outcome, published.as_ref());
        self.policy.finish(rebuild, outcome);
        result
    }
}
