// SPDX-License-Identifier: GPL-2.0

//! Selection of the frames that a device receives.

use super::MacAddress;
use crate::kernel_ext::bindings;
use kernel::container_of;

/// Iterator over a list of addresses.
///
/// # Invariants
///
/// `next` is the head of `list`, or part of an element of it.
pub struct Addresses<'a> {
    list: &'a bindings::netdev_hw_addr_list,
    next: *const bindings::list_head,
}

impl Iterator for Addresses<'_> {
    type Item = MacAddress;

    fn next(&mut self) -> Option<MacAddress> {
        if core::ptr::eq(self.next, &self.list.list) {
            return None;
        }
        // SAFETY: By the type invariant it is part of an element. The list is not changed as long as it
        // is borrowed.
        let element = unsafe { &*container_of!(self.next, bindings::netdev_hw_addr, list) };
        // INVARIANT: What follows an element.
        self.next = element.list.next;
        element.addr.first_chunk().copied().map(MacAddress)
    }
}

/// Selection of the frames that a device receives.
pub struct RxMode<'a> {
    pub(super) flags: u32,
    pub(super) unicast: &'a bindings::netdev_hw_addr_list,
    pub(super) multicast: &'a bindings::netdev_hw_addr_list,
}

impl RxMode<'_> {
    /// Checks whether all frames are received.
    pub fn promiscuous(&self) -> bool {
        self.flags & bindings::net_device_flags_IFF_PROMISC != 0
    }

    /// Checks whether all multicast frames are received.
    pub fn all_multicast(&self) -> bool {
        self.flags & bindings::net_device_flags_IFF_ALLMULTI != 0
    }

    /// Returns the number of unicast addresses besides the device's own.
    pub fn unicast_count(&self) -> usize {
        usize::try_from(self.unicast.count).unwrap_or(0)
    }

    /// Returns the multicast addresses.
    pub fn multicast(&self) -> Addresses<'_> {
        Self::addresses(self.multicast)
    }

    /// Returns the number of addresses in [`multicast`](Self::multicast).
    pub fn multicast_count(&self) -> usize {
        usize::try_from(self.multicast.count).unwrap_or(0)
    }

    fn addresses(list: &bindings::netdev_hw_addr_list) -> Addresses<'_> {
        // INVARIANT: What follows the head.
        Addresses {
            list,
            next: list.list.next,
        }
    }
}
