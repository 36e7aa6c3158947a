// SPDX-License-Identifier: GPL-2.0

//! The ports of an adapter, as what they share sees them.

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

/// A port of an adapter: what [`mr::Port`] says, and what else is asked of it.
pub(crate) trait Member:
    mr::Port<Generation = Arc<Generation>, Error = Error> + Send + Sync
{
    /// Returns the logical port number.
    fn number(&self) -> u16;

    /// Takes note that the link came up or went down. Process context.
    fn link_changed(&self, up: bool);

    /// Recovers from a malfunction that the adapter has reported. Process context.
    fn malfunction(&self);

    /// Has each queue pair follow `limits`, if the port is open. The memory map doesn't change
    /// meanwhile.
    fn follow_entitlement(&self, limits: &Limits);

    /// Adds what it has counted to `values`, which are in the order of the ports' table of counters.
    fn add_counts(&self, values: &mut [u64]);
}

/// A member, in a shape that the table can point to.
pub(crate) struct Entry(KBox<dyn Member>);

impl Deref for Entry {
    type Target = dyn Member;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

/// The ports of an adapter.
///
/// The list is for those who have to do with all of them: while it is locked, none comes or goes. The
/// table is for events, which name a port by its number and don't wait for anything.
#[pin_data]
pub(crate) struct Members {
    #[pin]
    list: Mutex<KVec<Arc<Entry>>>,
    // Its lock is a spinlock.
    #[pin]
    by_number: XArray<Arc<Entry>>,
}

impl Members {
    /// There are none.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            list <- new_mutex!(KVec::new()),
            by_number <- XArray::new(AllocKind::Alloc),
        })
    }

    /// Adds a port.
    ///
    /// # Errors
    ///
    /// There is one of that number; `ENOMEM`.
    pub(super) fn add(&self, member: KBox<dyn Member>) -> Result {
        let number = member.number();
        let entry = Arc::new(Entry(member), GFP_KERNEL)?;
        let mut list = self.list.lock();
        list.reserve(1, GFP_KERNEL)?;
        if self.contains(number) {
            return Err(Error::Invalid("port number, used twice"));
        }
        let mut by_number = self.by_number.lock();
        by_number
            .store(number.into(), entry.clone(), GFP_KERNEL)
            .map_err(|error| error.error)?;
        drop(by_number);
        // There is room for it.
        Ok(list.push(entry, GFP_KERNEL)?)
    }

    /// Takes the port of that number out. Whoever has found it before may still use it.
    pub(super) fn remove(&self, number: u16) {
        let mut list = self.list.lock();
        let entry = self.by_number.lock().remove(number.into());
        list.retain(|member| member.number() != number);
        drop(entry);
    }

    /// Returns whether there is a port of that number.
    pub(crate) fn contains(&self, number: u16) -> bool {
        self.by_number.lock().get(number.into()).is_some()
    }

    /// Finds the port of that number. It is not unregistered as long as somebody has it, so it must
    /// be given up soon.
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

    /// Calls `f` for each port. None comes or goes meanwhile.
    pub(crate) fn for_each(&self, mut f: impl FnMut(&dyn Member)) {
        for member in self.list.lock().iter() {
            f(&***member);
        }
    }
}

impl mr::Ports for Members {
    type Port = Arc<Entry>;

    fn with<T>(&self, f: impl FnOnce(&[Self::Port]) -> T) -> T {
        f(&self.list.lock())
    }
}
