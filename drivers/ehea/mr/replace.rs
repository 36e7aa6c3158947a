// SPDX-License-Identifier: GPL-2.0

//! Replacing the memory map in use, with its region, by another.
//!
//! The new region is registered while the old one still carries traffic; then the ports move over
//! one by one; then the old region, which nobody uses any more, is freed. A port pauses only while it
//! is moved, and everything that takes memory, or a call that firmware may refuse, is done before the
//! first of them pauses, as far as possible.
//!
//! If the adapter has no room for a second region, all ports pause, and the old region is freed before
//! the new one is registered.
//!
//! Whatever fails, the old map stays in use. A port for which that doesn't work is reset, and comes
//! back as soon as firmware lets it.

use core::fmt;
use core::ops::Deref;

use super::{MapNumber, Rebuild, Replaced};
use crate::bmap::RealRange;

/// Step of a rebuild that a port could not do. The port is reset for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailedStep {
    /// Return to the map that was in use before.
    MoveBack,
    /// Get a region again for the map that was in use before.
    GetMapBack,
    /// Carry traffic again after a pause.
    Resume,
}

impl fmt::Display for FailedStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MoveBack => "move back to its memory map",
            Self::GetMapBack => "get its memory map back",
            Self::Resume => "resume",
        })
    }
}

/// A port whose work requests refer to a memory map. `Generation` is a shared owner of a map and its
/// region.
pub trait Port {
    /// A memory map and its region.
    type Generation;
    /// Why something can't be done.
    type Error;

    /// Prepares all queue pairs for the memory map `to`, unless they use it already.
    fn prepare(&self, to: &Self::Generation) -> Result<(), Self::Error>;

    /// Moves all queue pairs to the memory map that they are prepared for. Each pauses meanwhile.
    ///
    /// On an error some have been moved, and all go on.
    fn switch(&self) -> Result<(), Self::Error>;

    /// Gives up what was prepared.
    fn discard(&self);

    /// Has all queue pairs pause.
    ///
    /// On an error some do. [`Port::go_on`] is good for both.
    fn pause(&self) -> Result<(), Self::Error>;

    /// Has queue pairs that pause give up what keeps the region of their memory map.
    fn release_keys(&self);

    /// Has queue pairs that pause go on with the memory map `generation`.
    ///
    /// On an error the port must be reset.
    fn go_on(&self, generation: &Self::Generation) -> Result<(), Self::Error>;

    /// Requests a reset of the port, because it could not do `step`.
    fn reset(&self, step: FailedStep, error: &Self::Error);
}

/// An owner of a port is as good as the port.
impl<T: Deref<Target: Port>> Port for T {
    type Generation = <T::Target as Port>::Generation;
    type Error = <T::Target as Port>::Error;

    fn prepare(&self, to: &Self::Generation) -> Result<(), Self::Error> {
        (**self).prepare(to)
    }

    fn switch(&self) -> Result<(), Self::Error> {
        (**self).switch()
    }

    fn discard(&self) {
        (**self).discard();
    }

    fn pause(&self) -> Result<(), Self::Error> {
        (**self).pause()
    }

    fn release_keys(&self) {
        (**self).release_keys();
    }

    fn go_on(&self, generation: &Self::Generation) -> Result<(), Self::Error> {
        (**self).go_on(generation)
    }

    fn reset(&self, step: FailedStep, error: &Self::Error) {
        (**self).reset(step, error);
    }
}

/// The ports of an adapter.
pub trait Ports {
    /// One of them.
    type Port: Port;

    /// Calls `f` with all ports; none comes or goes meanwhile.
    fn with<T>(&self, f: impl FnOnce(&[Self::Port]) -> T) -> T;
}

/// The memory map in use, and what it takes to make another.
pub trait Regions {
    /// A shared owner of a memory map.
    type Map;
    /// A shared owner of a memory map and its region.
    type Generation: Clone;
    /// Why something can't be done.
    type Error;

    /// Makes a map of all memory but the ranges in `excluded`.
    fn walk(&mut self, excluded: &[RealRange]) -> Result<Self::Map, Self::Error>;

    /// Registers a region for `map`.
    fn register(
        &mut self,
        number: MapNumber,
        map: &Self::Map,
    ) -> Result<Self::Generation, Self::Error>;

    /// The map in use, if there is one.
    fn published(&self) -> Option<Self::Generation>;

    /// Sets the map to be used from now on.
    fn publish(&mut self, generation: Option<Self::Generation>);

    /// The number of a generation.
    fn number_of(generation: &Self::Generation) -> MapNumber;

    /// The map of a generation.
    fn map_of(generation: &Self::Generation) -> Self::Map;

    /// Whether two maps translate every address alike.
    fn is_same(one: &Self::Map, other: &Self::Map) -> bool;

    /// Whether no map but the one in use has a region.
    fn is_only(&self) -> bool;

    /// What to fail with while another map has a region, too.
    fn not_only() -> Self::Error;

    /// Whether firmware has refused a region because there are too many.
    fn is_no_room(error: &Self::Error) -> bool;

    /// Takes note that the old region must go before the new one can come.
    fn breaks_first(&mut self);
}

/// Does a rebuild: makes a map of what memory there is now, and has all ports use it.
///
/// # Errors
///
/// The old map is in use, or, if firmware has refused even that one, none; ports are reset then.
pub fn replace<R, P>(regions: &mut R, ports: &P, rebuild: &Rebuild) -> Result<Replaced, R::Error>
where
    R: Regions,
    P: Ports,
    P::Port: Port<Generation = R::Generation, Error = R::Error>,
{
    let Some(old) = regions.published() else {
        return Ok(Replaced::Unchanged);
    };
    let map = regions.walk(rebuild.excluded())?;
    if R::is_same(&map, &R::map_of(&old)) {
        return Ok(Replaced::Unchanged);
    }
    // A port that could not be moved, and waits to be reset, may use another one. There are never more
    // than two.
    if !regions.is_only() {
        let _ = move_ports(ports, &old, &old);
        if !regions.is_only() {
            return Err(R::not_only());
        }
    }
    match regions.register(rebuild.generation(), &map) {
        Ok(new) => {
            move_ports(ports, &new, &old)?;
            regions.publish(Some(new));
        }
        Err(error) if R::is_no_room(&error) => {
            regions.breaks_first();
            ports.with(|ports| break_before_make(regions, ports, rebuild, old, &map))?;
        }
        Err(error) => return Err(error),
    }
    Ok(Replaced::Published)
}

/// Moves all ports from one map to another.
///
/// # Errors
///
/// All ports use the map `from` again. A port for which that doesn't work is reset.
pub fn move_ports<P: Ports>(
    ports: &P,
    to: &<P::Port as Port>::Generation,
    from: &<P::Port as Port>::Generation,
) -> Result<(), <P::Port as Port>::Error> {
    ports.with(|ports| {
        let prepared = ports.iter().try_for_each(|port| port.prepare(to));
        let result = prepared.and_then(|()| ports.iter().try_for_each(Port::switch));
        if result.is_err() {
            for port in ports {
                port.discard();
                if let Err(error) = port.prepare(from).and_then(|()| port.switch()) {
                    port.discard();
                    port.reset(FailedStep::MoveBack, &error);
                }
            }
        }
        result
    })
}

/// Has all ports pause, frees the region of `old`, registers one for `map`, and has the ports go on
/// with it. If it can't be registered, they go on with the old map.
fn break_before_make<R, P>(
    regions: &mut R,
    ports: &[P],
    rebuild: &Rebuild,
    old: R::Generation,
    map: &R::Map,
) -> Result<(), R::Error>
where
    R: Regions,
    P: Port<Generation = R::Generation, Error = R::Error>,
{
    if let Err(error) = ports.iter().try_for_each(Port::pause) {
        go_on(ports, &old);
        return Err(error);
    }
    for port in ports {
        port.release_keys();
    }
    let (number, old_map) = (R::number_of(&old), R::map_of(&old));
    regions.publish(None);
    drop(old);

    let (result, generation) = match regions.register(rebuild.generation(), map) {
        Ok(new) => (Ok(()), Ok(new)),
        Err(error) => {
            let again = regions.register(number, &old_map);
            (Err(error), again)
        }
    };
    match generation {
        Ok(generation) => {
            regions.publish(Some(generation.clone()));
            go_on(ports, &generation);
        }
        // A reset makes the map anew, and is tried again until that works.
        Err(error) => {
            for port in ports {
                port.reset(FailedStep::GetMapBack, &error);
            }
        }
    }
    result
}

/// Has the ports go on with `generation`; those that can't are reset.
fn go_on<P: Port>(ports: &[P], generation: &P::Generation) {
    for port in ports {
        if let Err(error) = port.go_on(generation) {
            port.reset(FailedStep::Resume, &error);
        }
    }
}
