// SPDX-License-Identifier: GPL-2.0

//! Course of events: how the memory map follows memory that comes and goes.
//!
//! [`Policy`](super::Policy) decides what to do, [`replace`] does it.

use super::adapters::{each, replace, Adapter};
use super::memory::{Memory, Source};
use super::obstacle::{Failure, Obstacle};
use super::policy::{Action, MemoryEvent, Rebuild, Replaced};
use super::registration::Backend;
use crate::bmap::RealRange;

impl<S: Source> Memory<S> {
    /// Maps the memory at real address `address`, which a buffer has missed, unless it is mapped or is not
    /// to be mapped now. After fruitless attempts, a number of misses is ignored.
    ///
    /// # Errors
    ///
    /// Those of [`replace`].
    pub fn map_missed<A>(
        &mut self,
        adapters: &[A],
        address: u64,
    ) -> Result<Replaced, Failure<S::Error>>
    where
        A: Adapter<Backend: Backend<Map = S::Map, Error = S::Error>>,
    {
        self.map_for(adapters, address, MemoryEvent::Miss)
    }

    /// Maps the memory at real address `address`, which somebody waits for, unless it is mapped or is not to
    /// be mapped now. What was tried before does not matter.
    ///
    /// # Errors
    ///
    /// Those of [`replace`].
    pub fn map_requested<A>(
        &mut self,
        adapters: &[A],
        address: u64,
    ) -> Result<Replaced, Failure<S::Error>>
    where
        A: Adapter<Backend: Backend<Map = S::Map, Error = S::Error>>,
    {
        self.map_for(adapters, address, MemoryEvent::Request)
    }

    fn map_for<A>(
        &mut self,
        adapters: &[A],
        address: u64,
        event: fn(RealRange) -> MemoryEvent,
    ) -> Result<Replaced, Failure<S::Error>>
    where
        A: Adapter<Backend: Backend<Map = S::Map, Error = S::Error>>,
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
            Some(rebuild) => self.rebuild(adapters, rebuild),
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
    pub fn follow<A>(
        &mut self,
        adapters: &[A],
        event: MemoryEvent,
    ) -> Result<Replaced, Failure<S::Error>>
    where
        A: Adapter<Backend: Backend<Map = S::Map, Error = S::Error>>,
    {
        let map = self.map().clone();
        let action = self.policy.handle(event, &map);
        match (action, event) {
            (
                Ok(Action::RebuildNow),
                MemoryEvent::GoingOffline(range) | MemoryEvent::Offline(range),
            ) => match self.policy.begin_removal(range, &map) {
                Some(rebuild) => {
                    let replaced = self.rebuild(adapters, rebuild)?;
                    check_reach(adapters)?;
                    Ok(replaced)
                }
                None => Ok(Replaced::Unchanged),
            },
            (Ok(_), MemoryEvent::GoingOffline(_)) => {
                check_reach(adapters)?;
                Ok(Replaced::Unchanged)
            }
            (Ok(_), _) => Ok(Replaced::Unchanged),
            (Err(_), _) => Err(Failure::of_all(Obstacle::TooManyRanges)),
        }
    }

    /// Does a rebuild and tells the adapters and the policy how it ended.
    fn rebuild<A>(
        &mut self,
        adapters: &[A],
        rebuild: Rebuild,
    ) -> Result<Replaced, Failure<S::Error>>
    where
        A: Adapter<Backend: Backend<Map = S::Map, Error = S::Error>>,
    {
        for adapter in adapters {
            adapter.with(|registration, _| registration.begin(&rebuild));
        }
        let result = replace(self, adapters, &rebuild);
        let outcome = result.as_ref().ok().copied();
        for adapter in adapters {
            adapter.with(|registration, _| registration.end(&rebuild, outcome));
        }
        self.policy.finish(rebuild, outcome);
        result
    }
}

/// Fails if an adapter may reach memory that is not in the map.
fn check_reach<S, A>(adapters: &[A]) -> Result<(), Failure<S>>
where
    A: Adapter<Backend: Backend<Error = S>>,
{
    each(adapters, |registration, ports| {
        registration.check_reach(ports)
    })
}
