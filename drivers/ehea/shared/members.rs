// SPDX-License-Identifier: GPL-2.0

//! Ports of an adapter, as the part sees them that they share.

use super::memory::Generation;
use crate::{
    cmo::Limits,
    error::{
        Error,
        Result, //
    },
    mr, //
};
use core::ops::Deref;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    xarray::{
        AllocKind,
        XArray, //
    }, //
};

/// Port of an adapter: an [`mr::Port`] that also handles events, follows the entitlement, and
/// counts.
pub(crate) trait Member:
    mr::Port<Generation = Arc<Generation>, Error = Error> + Send + Sync
{
    /// Returns the logical port number.
    fn number(&self) -> u16;

    /// Follows a change of the link. Process context.
    fn link_changed(&self, up: bool);

    /// Handles a malfunction that the adapter has reported. Process context.
    fn malfunction(&self);

    /// Makes each queue pair follow `limits`, if the port is open. The memory map does not change
    /// meanwhile.
    fn follow_entitlement(&self, limits: &Limits);

    /// Adds the port's counts to `values`, which are in the order of the ports' table of counters.
    fn add_counts(&self, values: &mut [u64]);
}

/// Member, in a form to which the table can point.
pub(crate) struct Entry(KBox<dyn Member>);

impl Deref for Entry {
    type Target = dyn Member;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

/// Ports of an adapter.
///
/// The list is for operations on all ports, which may take long. While it is locked, no port is added or
/// removed. The table is for events, which name a port by its number and wait for nothing. The second list is
/// for users who want to see counts, and do not wait for operations either.
#[pin_data]
pub(crate) struct Members {
    #[pin]
    list: Mutex<KVec<Arc<Entry>>>,
    // The same ports.
    #[pin]
    counted: Mutex<KVec<Arc<Entry>>>,
    // Its lock is a spinlock.
    #[pin]
    by_number: XArray<Arc<Entry>>,
}

impl Members {
    /// Returns a list of no ports.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            list <- new_mutex!(KVec::new()),
            counted <- new_mutex!(KVec::new()),
            by_number <- XArray::new(AllocKind::Alloc),
        })
    }

    /// Adds a port.
    ///
    /// # Errors
    ///
    /// There is a port of the same number, or there is no memory.
    pub(super) fn add(&self, member: KBox<dyn Member>) -> Result {
        let number = member.number();
        let entry = Arc::new(Entry(member), GFP_KERNEL)?;
        let mut list = self.list.lock();
        list.reserve(1, GFP_KERNEL)?;
        let mut counted = self.counted.lock();
        counted.reserve(1, GFP_KERNEL)?;
        if self.contains(number) {
            return Err(Error::Invalid("port number, used twice"));
        }
        let mut by_number = self.by_number.lock();
        by_number
            .store(number.into(), entry.clone(), GFP_KERNEL)
            .map_err(|error| error.error)?;
        drop(by_number);
        // There is room for it.
        counted.push(entry.clone(), GFP_KERNEL)?;
        Ok(list.push(entry, GFP_KERNEL)?)
    }

    /// Removes the port `number`. Somebody who has found it before may still use it.
    pub(super) fn remove(&self, number: u16) {
        let mut list = self.list.lock();
        let entry = self.by_number.lock().remove(number.into());
        self.counted
            .lock()
            .retain(|member| member.number() != number);
        list.retain(|member| member.number() != number);
        drop(entry);
    }

    /// Checks whether there is a port `number`.
    pub(crate) fn contains(&self, number: u16) -> bool {
        self.by_number.lock().get(number.into()).is_some()
    }

    /// Finds the port `number`. Its unregistration waits until the result is dropped, which must be
    /// soon.
    pub(super) fn get(&self, number: u16) -> Option<Arc<Entry>> {
        let by_number = self.by_number.lock();
        by_number.get(number.into()).map(Arc::from)
    }

    /// Returns the lowest number of a port that is not below `first`.
    pub(super) fn next_number(&self, first: u16) -> Option<u16> {
        let list = self.list.lock();
        let numbers = list.iter().map(|member| member.number());
        numbers.filter(|&number| number >= first).min()
    }

    /// Adds the counts of all ports to `values`, which are in the order of the ports' table of counters.
    /// Waits for no operation on a port.
    pub(crate) fn add_counts(&self, values: &mut [u64]) {
        for member in self.counted.lock().iter() {
            member.add_counts(values);
        }
    }
}

impl mr::Ports for Members {
    type Port = Arc<Entry>;

    fn with<T>(&self, f: impl FnOnce(&[Self::Port]) -> T) -> T {
        f(&self.list.lock())
    }
}
