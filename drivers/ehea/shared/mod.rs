// SPDX-License-Identifier: GPL-2.0

//! State that the ports of an adapter share, and work on it; and the memory map, which all adapters share.
//!
//! - [`worker`]: the adapter with its work; [`state`]: the state that ports share.
//! - [`members`]: its ports.
//! - [`map`]: the memory map of all adapters; [`follower`]: an adapter as the map sees it.
//! - [`memory`]: how maps are made and registered; [`runs`]: the memory that a map takes;
//!   [`rebuild`]: how the map follows memory hotplug.
//! - [`entitlement`]: the shares of the ports, in a CMO partition.
//! - [`events`]: the notification event queue.
//! - [`observe`]: the state that users see, with its [`snapshot`]; [`counters`]: counts and measurements of rebuilds.
//!
//! # Locks
//!
//! They are taken in this order; each may be left out:
//!
//! 1. RTNL, or the kernel's memory hotplug lock (held by callers of the memory notifier, which must
//!    not take RTNL; nobody who holds RTNL takes the hotplug lock).
//! 2. `MemoryMap::followers`: the memory map, and the list of adapters that follow it. Regions are registered
//!    and freed while it is held, and adapters come and go.
//! 3. `Follower::registration`: the region that an adapter uses. Whoever holds it decides which map a queue
//!    pair is opened with or moved to. It is held for one adapter at a time.
//! 4. The list of [`members`]: while it is locked, no port comes or goes.
//! 5. `Port::closing`: while it is locked, a port is being closed.
//! 6. `Port::running`: the queue pairs of a port that is open.
//! 7. A transmit queue's lock, or a NAPI instance that is disabled.
//!
//! Whoever holds RTNL waits for 2 and 3 for a moment only, and comes back later. The first adapter takes the lock
//! of the module ([`common`](crate::kernel_ext::common)) and registers the memory notifier under it; none of these
//! is held then. The last one unregisters it, without any of these, because that waits for notifications.
//!
//! The [`entitlement`], the table of ports by number, what users see of the memory map and of the ports'
//! counts ([`observe`]), and the list of what firmware holds have locks of
//! their own, under which none of these is taken.
//!
//! The packet path takes none of 1 to 6. Each queue pair has its own reference of the memory map
//! that its work requests use: one in the state of its transmit queue, one in that of its NAPI
//! instance. A rebuild exchanges them where it owns that state, so that the packet path translates
//! addresses with plain loads.

mod counters;
mod entitlement;
mod events;
mod follower;
mod map;
mod members;
mod memory;
mod observe;
mod rebuild;
mod runs;
mod snapshot;
mod state;
mod worker;

pub(crate) use counters::Measurement;
pub(crate) use entitlement::default_desired;
pub(crate) use events::{
    EventEntries,
    Notifications,
    WorkInterrupt, //
};
pub(crate) use members::Member;
pub(crate) use memory::{
    AdapterAddress,
    Generation,
    Keys,
    Map,
    Translation, //
};
pub(crate) use observe::MapState;
pub(crate) use rebuild::{
    Following,
    MapUser, //
};
pub(crate) use worker::{
    Adapter,
    Membership, //
};
