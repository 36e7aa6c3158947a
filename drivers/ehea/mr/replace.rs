// SPDX-License-Identifier: GPL-2.0

//! Replacement of the memory map in use, with its region, by another one.
//!
//! The new region is registered while the old one still carries traffic. Then the ports move one
//! after the other. Then the old region, which nobody uses any more, is freed. A port pauses only
//! while it is moved. As far as possible, everything that takes memory, and every call that
//! firmware may refuse, comes before the first pause.
//!
//! If the adapter has no room for a second region, all ports pause, and the old region is freed before
//! the new one is registered.
//!
//! If anything fails, the old map stays in use. A port that cannot use it is reset, and works again
//! as soon as firmware permits.

use core::fmt;
use core::ops::Deref;

use super::memory::{Backend, Memory, Obstacle};
use super::policy::{Rebuild, Replaced};
use crate::abi::hcall::ReturnCode;

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

/// Port whose work requests refer to a memory map.
pub trait Port {
    /// Shared owner of a memory map and its region.
    type Generation;
    /// Reason for a failure.
    type Error;

    /// Prepares all queue pairs for the memory map `to`. Queue pairs that use it already need no
    /// preparation.
    fn prepare(&self, to: &Self::Generation) -> Result<(), Self::Error>;

    /// Moves all queue pairs to the memory map for which they are prepared. Each pauses meanwhile.
    ///
    /// After an error, some of them have been moved. All carry traffic.
    fn switch(&self) -> Result<(), Self::Error>;

    /// Drops what was prepared.
    fn discard(&self);

    /// Makes all queue pairs pause.
    ///
    /// After an error, some of them pause. [`Port::go_on`] may be called for queue pairs that pause
    /// and for others.
    fn pause(&self) -> Result<(), Self::Error>;

    /// Makes queue pairs that pause drop their owners of the region of their memory map.
    fn release_keys(&self);

    /// Resumes queue pairs that pause, with the memory map `generation`.
    ///
    /// After an error, the port must be reset.
    fn go_on(&self, generation: &Self::Generation) -> Result<(), Self::Error>;

    /// Waits until the port is closed, if it is being closed. Others cannot open it meanwhile.
    fn wait_closed(&self);

    /// Requests a reset of the port, because it could not do `step`.
    fn reset(&self, step: FailedStep, error: &Self::Error);
}

/// Owner of a port, which is as good as the port.
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

    fn wait_closed(&self) {
        (**self).wait_closed();
    }

    fn reset(&self, step: FailedStep, error: &Self::Error) {
        (**self).reset(step, error);
    }
}

/// Ports of an adapter.
pub trait Ports {
    /// One of the ports.
    type Port: Port;

    /// Calls `f` with all ports. No port is added or removed meanwhile.
    fn with<T>(&self, f: impl FnOnce(&[Self::Port]) -> T) -> T;
}

/// Checks whether firmware has refused a region because the adapter has no room for it.
fn is_no_room(code: ReturnCode) -> bool {
    matches!(
        code,
        ReturnCode::NOT_ENOUGH_RESOURCES | ReturnCode::RESOURCE | ReturnCode::TABLE_FULL
    )
}

/// Does a rebuild: makes a map of the memory that is online now, and moves all ports to it.
///
/// # Errors
///
/// The old map is in use. If firmware has refused even that one, no map is in use, and all ports
/// are reset.
pub(super) fn replace<B, P>(
    memory: &mut Memory<B>,
    ports: &P,
    rebuild: &Rebuild,
) -> Result<Replaced, B::Error>
where
    B: Backend,
    P: Ports<Port: Port<Generation = B::Generation, Error = B::Error>>,
{
    let Some(old) = memory.published().cloned() else {
        return Ok(Replaced::Unchanged);
    };
    let map = memory.backend.walk(rebuild.excluded())?;
    if *map == **old.map() {
        return Ok(Replaced::Unchanged);
    }
    // A port that could not be moved, and waits to be reset, may use another one. There are never more
    // than two.
    memory.settle(ports);
    if !memory.is_only() {
        return Err(Obstacle::SecondRegion.into());
    }
    memory.backend.replacement_begins();
    match memory.register(rebuild.generation(), &map) {
        Ok(new) => {
            move_ports(ports, &new, &old)?;
            memory.publish(Some(new));
        }
        Err(error) if B::status(&error).is_some_and(is_no_room) => {
            memory.backend.breaks_first();
            ports.with(|ports| break_before_make(memory, ports, rebuild, old, &map))?;
        }
        Err(error) => return Err(error),
    }
    Ok(Replaced::Published)
}

/// Moves all ports from one map to another.
///
/// # Errors
///
/// All ports use the map `from` again. A port that cannot be moved back is reset.
pub(super) fn move_ports<P: Ports>(
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

/// Makes all ports pause, frees the region of `old`, registers one for `map`, and resumes the ports
/// with it. If it cannot be registered, the ports resume with the old map.
fn break_before_make<B, P>(
    memory: &mut Memory<B>,
    ports: &[P],
    rebuild: &Rebuild,
    old: B::Generation,
    map: &B::Map,
) -> Result<(), B::Error>
where
    B: Backend,
    P: Port<Generation = B::Generation, Error = B::Error>,
{
    if let Err(error) = ports.iter().try_for_each(Port::pause) {
        go_on(ports, &old);
        return Err(error);
    }
    for port in ports {
        port.release_keys();
    }
    // One that has closed instead of pausing still owned the region.
    for port in ports {
        port.wait_closed();
    }
    let (number, old_map) = (old.number(), old.map().clone());
    memory.publish(None);
    drop(old);

    let (result, generation) = match memory.register(rebuild.generation(), map) {
        Ok(new) => (Ok(()), Ok(new)),
        Err(error) => {
            let again = memory.register(number, &old_map);
            (Err(error), again)
        }
    };
    match generation {
        Ok(generation) => {
            memory.publish(Some(generation.clone()));
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

/// Resumes the ports with `generation`. Ports that cannot resume are reset.
fn go_on<P: Port>(ports: &[P], generation: &P::Generation) {
    for port in ports {
        if let Err(error) = port.go_on(generation) {
            port.reset(FailedStep::Resume, &error);
        }
    }
}
