// SPDX-License-Identifier: GPL-2.0

//! Adapters of one memory map, and its replacement for all of them.
//!
//! Each step is done for all adapters before the next one: first all register a region for the new map,
//! then the ports move. Adapters without room for a second region come last, because they cannot return as
//! easily. Old regions are freed when all ports of all adapters have moved. If a step fails, all adapters
//! return to the old map.

use super::memory::{Memory, Source};
use super::obstacle::Failure;
use super::policy::{Rebuild, Replaced};
use super::registration::{Backend, Registration};
use super::replace::{Port, Ports};

/// Adapter that follows the memory map.
pub trait Adapter {
    /// Means by which the map is registered.
    type Backend: Backend;
    /// Ports.
    type Ports: Ports<
        Port: Port<
            Generation = <Self::Backend as Backend>::Generation,
            Error = <Self::Backend as Backend>::Error,
        >,
    >;

    /// Calls `f` with the registration, locked, and the ports.
    fn with<T>(&self, f: impl FnOnce(&mut Registration<Self::Backend>, &Self::Ports) -> T) -> T;
}

/// Error of an adapter.
pub(super) type ErrorOf<A> = <<A as Adapter>::Backend as Backend>::Error;

/// Calls `f` for each adapter, until it fails.
pub(super) fn each<A: Adapter>(
    adapters: &[A],
    mut f: impl FnMut(&mut Registration<A::Backend>, &A::Ports) -> Result<(), ErrorOf<A>>,
) -> Result<(), Failure<ErrorOf<A>>> {
    for (index, adapter) in adapters.iter().enumerate() {
        adapter
            .with(|registration, ports| f(registration, ports))
            .map_err(|error| Failure {
                adapter: Some(index),
                error,
            })?;
    }
    Ok(())
}

/// Does a rebuild: makes a map of the memory that is online now, and moves all ports of all adapters to it.
///
/// # Errors
///
/// All adapters use the old map. An adapter whose firmware has refused even that one has no region, and all of
/// its ports are reset.
pub(super) fn replace<S, A>(
    memory: &mut Memory<S>,
    adapters: &[A],
    rebuild: &Rebuild,
) -> Result<Replaced, Failure<S::Error>>
where
    S: Source,
    A: Adapter<Backend: Backend<Map = S::Map, Error = S::Error>>,
{
    let Some(old) = memory.made().cloned() else {
        return Ok(Replaced::Unchanged);
    };
    let map = memory
        .source
        .walk(rebuild.excluded())
        .map_err(Failure::of_all)?;
    if *map == *old {
        return Ok(Replaced::Unchanged);
    }
    // A port that could not be moved, and waits to be reset, may use another one. There are never more
    // than two.
    each(adapters, |registration, ports| {
        registration.check_only(ports)
    })?;
    match carry(adapters, rebuild, &map) {
        Ok(()) => {
            memory.set(map);
            for adapter in adapters {
                adapter.with(|registration, _| registration.keep_new());
            }
            Ok(Replaced::Published)
        }
        Err(failure) => {
            for adapter in adapters.iter().rev() {
                adapter.with(|registration, ports| registration.return_to_old(ports));
            }
            Err(failure)
        }
    }
}

/// Moves all ports of all adapters to `map`. After an error, some of them have been moved.
fn carry<A: Adapter>(
    adapters: &[A],
    rebuild: &Rebuild,
    map: &<A::Backend as Backend>::Map,
) -> Result<(), Failure<ErrorOf<A>>> {
    let number = rebuild.generation();
    each(adapters, |registration, _| {
        registration.prepare(number, map)
    })?;
    each(adapters, |registration, ports| {
        registration.make_before_break(ports)
    })?;
    each(adapters, |registration, ports| {
        registration.break_before_make(ports, number, map)
    })
}
