// SPDX-License-Identifier: GPL-2.0

//! Work of an adapter: it follows misses and the entitlement.

use super::{
    entitlement::Entitlement,
    map::MemoryMap,
    members::Member,
    state::AdapterState, //
};
use crate::{
    error::Result,
    firmware::Firmware,
    kernel_ext::{
        net,
        workqueue::{
            self,
            Work,
            WorkRef, //
        }, //
    },
    trace::{
        self,
        Direction, //
    }, //
};
use core::{
    ops::Deref,
    sync::atomic::{
        AtomicBool,
        Ordering::Relaxed, //
    }, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    }, //
};

/// Interval in which open ports follow the entitlement, even if nobody requests it.
const ENTITLEMENT_INTERVAL: Delta = Delta::from_secs(1);

/// Time after which a rebuild that has failed is tried again. It doubles each time, up to the longest one.
const RETRY: Delta = Delta::from_millis(100);
const LONGEST_RETRY: Delta = Delta::from_secs(10);

/// Rebuild that has failed and is tried again.
struct Retry {
    /// Address that is not in the map.
    address: u64,
    since: Instant<Monotonic>,
    delay: Delta,
}

impl Retry {
    fn new(address: u64) -> Self {
        Self {
            address,
            since: Instant::now(),
            delay: RETRY,
        }
    }

    /// Returns the time until the rebuild is to be tried.
    fn left(&self) -> Delta {
        let left = self.delay.as_nanos() - self.since.elapsed().as_nanos();
        Delta::from_nanos(left.max(0))
    }

    fn is_due(&self) -> bool {
        self.since.elapsed() >= self.delay
    }

    /// Waits longer from now on.
    fn put_off(&mut self) {
        self.since = Instant::now();
        let delay = self.delay.as_nanos().saturating_mul(2);
        self.delay = Delta::from_nanos(delay.min(LONGEST_RETRY.as_nanos()));
    }
}

/// Adapter: the state that its ports share, and its work item.
///
/// It must be dropped in process context, without any lock that the work takes.
#[pin_data]
pub(crate) struct Adapter {
    #[pin]
    work: Work<AdapterWork>,
}

/// Work item of an adapter.
#[pin_data]
pub(crate) struct AdapterWork {
    state: AdapterState,
    /// True if the ports have to follow the entitlement.
    entitlement_changed: AtomicBool,
    /// Time at which they did so last.
    #[pin]
    followed: Mutex<Instant<Monotonic>>,
    /// Rebuild that has failed, for which nobody may ask any more.
    #[pin]
    retry: Mutex<Option<Retry>>,
}

impl Deref for Adapter {
    type Target = AdapterState;

    #[inline]
    fn deref(&self) -> &AdapterState {
        &self.work.state
    }
}

impl Adapter {
    /// Queries the adapter, which has `ports` ports and will follow the memory map `map`. Registers no memory
    /// yet.
    pub(crate) fn new(firmware: Firmware, ports: usize, map: &Arc<MemoryMap>) -> Result<Arc<Self>> {
        let state = AdapterState::new(firmware, ports, map)?;
        Ok(Arc::pin_init(
            try_pin_init!(Self {
                work <- Work::new(try_pin_init!(AdapterWork {
                    state,
                    entitlement_changed: AtomicBool::new(false),
                    followed <- new_mutex!(Instant::now()),
                    retry <- new_mutex!(None),
                }? kernel::error::Error)),
            }? kernel::error::Error),
            GFP_KERNEL,
        )?)
    }

    /// Adds a port. It follows the memory map from now on, and gets events.
    pub(crate) fn join(self: &Arc<Self>, member: KBox<dyn Member>) -> Result<Membership> {
        let number = member.number();
        self.members().add(member)?;
        let membership = Membership {
            adapter: self.clone(),
            number,
        };
        self.member_added();
        Ok(membership)
    }

    /// Reports that the buffer at real address `address` is not in the map. One rebuild is
    /// requested, however many buffers follow. Any context.
    pub(crate) fn report_miss(&self, dev: &net::Device, address: u64, direction: Direction) {
        trace::miss(dev, address, direction);
        if self.missed.report(address) {
            self.work.schedule();
        }
    }

    /// Makes all ports follow the entitlement soon. Any context.
    pub(crate) fn entitlement_changed(&self) {
        if self.entitlement().is_some() {
            self.work.entitlement_changed.store(true, Relaxed);
            self.work.schedule();
        }
    }

    /// Ends the work, and waits for its end. It is called when there are no ports any more, which
    /// could request more work.
    pub(crate) fn end_work(&self) {
        self.work.cancel();
    }
}

/// Membership of a port in its adapter. It ends on drop, which must be before the port's device is
/// unregistered, because unregistration waits for all owners of the device.
pub(crate) struct Membership {
    adapter: Arc<Adapter>,
    number: u16,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.adapter.members().remove(self.number);
    }
}

impl AdapterWork {
    /// Maps what was missed. What fails is tried again, whether it is missed again or not; only the first failure
    /// is logged. Returns the time until the next attempt.
    fn map_missed(&self) -> Option<Delta> {
        let mut retry = self.retry.lock();
        if let Some((address, refusal)) = self.state.rebuild_for_miss() {
            if retry.is_none() {
                dev_err!(
                    refusal.dev().unwrap_or(self.state.firmware().dev()),
                    "memory map not rebuilt: {}\n",
                    refusal.error
                );
                *retry = Some(Retry::new(address));
            }
        }
        let pending = (*retry).as_mut()?;
        if pending.is_due() {
            if self.state.map_requested(pending.address).is_ok() {
                *retry = None;
                return None;
            }
            pending.put_off();
        }
        Some(pending.left())
    }

    /// Makes all ports follow the entitlement, one after the other.
    ///
    /// The registration of the memory map is locked for one port at a time, and not while the table of shares is
    /// waited for, so that whoever opens a port, or removes memory, waits for one port only.
    fn follow(&self, entitlement: &Entitlement) {
        let mut first = Some(0);
        while let Some(number) = first.and_then(|first| self.state.members().next_number(first)) {
            let limits = entitlement.limits(number);
            // Not while queue pairs move to another memory map. Without one, they are about to be reset.
            let registration = self.state.follower().lock();
            if registration.published().is_some() {
                if let Some(member) = self.state.members().get(number) {
                    member.follow_entitlement(&limits);
                }
            }
            first = number.checked_add(1);
        }
    }
}

impl workqueue::Handler for AdapterWork {
    fn run(&self, work: &WorkRef<'_>) {
        let retry = self.map_missed();
        let follow = self.follow_when_due();
        if let Some(delay) = [retry, follow].into_iter().flatten().min() {
            work.schedule_after(delay);
        }
    }
}

impl AdapterWork {
    /// Makes all ports follow the entitlement, if they have to or have not for a while. Returns the time until
    /// they do so the next time.
    fn follow_when_due(&self) -> Option<Delta> {
        let entitlement = self.state.entitlement()?;
        let changed = self.entitlement_changed.swap(false, Relaxed);
        let mut followed = self.followed.lock();
        if changed || followed.elapsed() >= ENTITLEMENT_INTERVAL {
            *followed = Instant::now();
            self.follow(entitlement);
        }
        // What there was no room for is tried again.
        entitlement.has_open_ports().then_some(ENTITLEMENT_INTERVAL)
    }
}
