// SPDX-License-Identifier: GPL-2.0

//! Replacement of the memory map that an adapter uses, with its region, by another one.
//!
//! The new region is registered while the old one still carries traffic. Then the ports move one
//! after the other. The old region stays until all adapters have moved, so that the ports can
//! return. A port pauses only while it is moved. As far as possible, everything that takes memory, and
//! every call that firmware may refuse, comes before the first pause.
//!
//! If the adapter has no room for a second region, all ports pause, and the old region is freed before
//! the new one is registered. The return takes the same steps, so it may fail, too.
//!
//! If anything fails, the old map stays in use. A port that cannot use it is reset, and works again
//! as soon as firmware permits.

use core::fmt;
use core::mem;
use core::ops::Deref;

use super::obstacle::Obstacle;
use super::policy::MapNumber;
use super::registration::{Backend, Registration, Stage};
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

impl<B: Backend> Registration<B> {
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
            let _ = ports.with(|ports| move_ports(ports, current, current));
        }
        // A port that is being closed cannot be moved any more, and still uses its map.
        if !self.is_only() {
            ports.with(|ports| ports.iter().for_each(Port::wait_closed));
        }
    }

    /// Fails if a port uses a map other than that in use, and cannot be moved.
    pub(super) fn check_only<P>(&self, ports: &P) -> Result<(), B::Error>
    where
        P: Ports<Port: Port<Generation = B::Generation, Error = B::Error>>,
    {
        self.settle(ports);
        match self.is_only() {
            true => Ok(()),
            false => Err(Obstacle::SecondRegion.into()),
        }
    }

    /// Fails if the adapter may reach memory that is not in the map. This is so if a port still
    /// uses an older map, or if firmware has not taken a region back.
    pub(super) fn check_reach<P>(&mut self, ports: &P) -> Result<(), B::Error>
    where
        P: Ports<Port: Port<Generation = B::Generation, Error = B::Error>>,
    {
        self.settle(ports);
        let leftovers = self.backend.has_leftovers();
        match leftovers || !self.is_only() {
            true => Err(Obstacle::InReach.into()),
            false => Ok(()),
        }
    }

    /// Registers a region for the new map, if the adapter has room for it. An adapter without a region gets
    /// none now.
    pub(super) fn prepare(&mut self, number: MapNumber, map: &B::Map) -> Result<(), B::Error> {
        if self.published.is_none() {
            return Ok(());
        }
        self.backend.replacement_begins();
        self.stage = match self.register(number, map) {
            Ok(new) => Stage::Registered(new),
            Err(error) if B::status(&error).is_some_and(is_no_room) => Stage::NoRoom,
            Err(error) => return Err(error),
        };
        Ok(())
    }

    /// Moves all ports to the new map, if it has a region.
    ///
    /// # Errors
    ///
    /// All ports use the old map again. A port that cannot be moved back is reset.
    pub(super) fn make_before_break<P>(&mut self, ports: &P) -> Result<(), B::Error>
    where
        P: Ports<Port: Port<Generation = B::Generation, Error = B::Error>>,
    {
        match (
            mem::replace(&mut self.stage, Stage::Idle),
            self.published.take(),
        ) {
            (Stage::Registered(new), Some(old)) => {
                let result = ports.with(|ports| move_ports(ports, &new, &old));
                match result {
                    Ok(()) => {
                        self.published = Some(new);
                        self.stage = Stage::Moved(old);
                    }
                    Err(_) => self.published = Some(old),
                }
                result
            }
            (stage, published) => {
                (self.stage, self.published) = (stage, published);
                Ok(())
            }
        }
    }

    /// Makes all ports pause, frees the region of the old map, registers one for the new map, and resumes the
    /// ports with it. It has no effect if there was room for both regions.
    ///
    /// # Errors
    ///
    /// The ports resume with the old map. If firmware has refused even that one, the adapter has no region, and
    /// all ports are reset.
    pub(super) fn break_before_make<P>(
        &mut self,
        ports: &P,
        number: MapNumber,
        map: &B::Map,
    ) -> Result<(), B::Error>
    where
        P: Ports<Port: Port<Generation = B::Generation, Error = B::Error>>,
    {
        if !matches!(self.stage, Stage::NoRoom) {
            return Ok(());
        }
        self.stage = Stage::Idle;
        let Some(old) = self.published.clone() else {
            return Ok(());
        };
        self.backend.breaks_first();
        let before = (old.number(), old.map().clone());
        ports.with(|ports| {
            self.pause(ports, old)?;
            let result = match self.register(number, map) {
                Ok(new) => {
                    self.resume(ports, Ok(new));
                    self.stage = Stage::Remade(before.0, before.1);
                    return Ok(());
                }
                result => result.map(drop),
            };
            let again = self.register(before.0, &before.1);
            self.resume(ports, again);
            result
        })
    }

    /// Returns to the old map, because another adapter could not be moved.
    ///
    /// Ports that cannot return are reset, with the old map. Where its region had been freed, it is registered
    /// again. If firmware refuses it, the adapter has no region, and all ports are reset.
    pub(super) fn return_to_old<P>(&mut self, ports: &P)
    where
        P: Ports<Port: Port<Generation = B::Generation, Error = B::Error>>,
    {
        match mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Moved(old) => {
                ports.with(|ports| move_back(ports, &old));
                self.published = Some(old);
            }
            Stage::Remade(number, map) => {
                let Some(new) = self.published.clone() else {
                    return;
                };
                ports.with(|ports| {
                    if let Err(error) = self.pause(ports, new) {
                        // They keep the new map until they are reset.
                        self.published = None;
                        reset(ports, FailedStep::MoveBack, &error);
                        return;
                    }
                    let old = self.register(number, &map);
                    self.resume(ports, old);
                });
            }
            Stage::Idle | Stage::Registered(_) | Stage::NoRoom => {}
        }
    }

    /// Ends the replacement: frees the region of the old map, unless a port still uses it.
    pub(super) fn keep_new(&mut self) {
        self.stage = Stage::Idle;
    }

    /// Makes all ports pause, and frees the region of `generation`, which they use.
    ///
    /// # Errors
    ///
    /// A port does not pause. All carry traffic.
    fn pause<P>(&mut self, ports: &[P], generation: B::Generation) -> Result<(), B::Error>
    where
        P: Port<Generation = B::Generation, Error = B::Error>,
    {
        if let Err(error) = ports.iter().try_for_each(Port::pause) {
            go_on(ports, &generation);
            return Err(error);
        }
        for port in ports {
            port.release_keys();
        }
        // One that has closed instead of pausing still owned the region.
        for port in ports {
            port.wait_closed();
        }
        self.published = None;
        drop(generation);
        Ok(())
    }

    /// Resumes ports that pause, with a region that was registered, or resets them for want of one.
    fn resume<P>(&mut self, ports: &[P], registered: Result<B::Generation, B::Error>)
    where
        P: Port<Generation = B::Generation, Error = B::Error>,
    {
        match registered {
            Ok(generation) => {
                go_on(ports, &generation);
                self.published = Some(generation);
            }
            // A reset registers it anew, and is tried again until that works.
            Err(error) => reset(ports, FailedStep::GetMapBack, &error),
        }
    }
}

/// Moves all ports from one map to another.
///
/// # Errors
///
/// All ports use the map `from` again. A port that cannot be moved back is reset.
fn move_ports<P: Port>(
    ports: &[P],
    to: &P::Generation,
    from: &P::Generation,
) -> Result<(), P::Error> {
    let prepared = ports.iter().try_for_each(|port| port.prepare(to));
    let result = prepared.and_then(|()| ports.iter().try_for_each(Port::switch));
    if result.is_err() {
        move_back(ports, from);
    }
    result
}

/// Moves all ports to the map `to`, which they have used before. Ports that cannot be moved are reset.
fn move_back<P: Port>(ports: &[P], to: &P::Generation) {
    for port in ports {
        port.discard();
        if let Err(error) = port.prepare(to).and_then(|()| port.switch()) {
            port.discard();
            port.reset(FailedStep::MoveBack, &error);
        }
    }
}

/// Resumes the ports with `generation`. Ports that cannot resume are reset.
fn go_on<P: Port>(ports: &[P], generation: &P::Generation) {
    for port in ports {
        if let Err(error) = port.go_on(generation) {
            port.reset(FailedStep::Resume, &error);
        }
    }
}

/// Resets all ports.
fn reset<P: Port>(ports: &[P], step: FailedStep, error: &P::Error) {
    for port in ports {
        port.reset(step, error);
    }
}
