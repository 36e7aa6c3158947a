// SPDX-License-Identifier: GPL-2.0

//! Offload features of network devices.

use crate::kernel_ext::bindings;
use core::ops::{
    BitAnd,
    BitOr,
    Not, //
};

/// A set of features (`netdev_features_t`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Features(u64);

impl Features {
    /// Scatter and gather.
    pub const SG: Self = Self(1 << bindings::NETIF_F_SG_BIT);
    /// Checksums of TCP and UDP over IPv4.
    pub const IP_CSUM: Self = Self(1 << bindings::NETIF_F_IP_CSUM_BIT);
    /// Memory at any address.
    pub const HIGHDMA: Self = Self(1 << bindings::NETIF_F_HIGHDMA_BIT);
    /// Inserts VLAN tags.
    pub const VLAN_TX: Self = Self(1 << bindings::NETIF_F_HW_VLAN_CTAG_TX_BIT);
    /// Strips VLAN tags.
    pub const VLAN_RX: Self = Self(1 << bindings::NETIF_F_HW_VLAN_CTAG_RX_BIT);
    /// Filters by VLAN.
    pub const VLAN_FILTER: Self = Self(1 << bindings::NETIF_F_HW_VLAN_CTAG_FILTER_BIT);
    /// Segments TCP over IPv4.
    pub const TSO: Self = Self(1 << bindings::NETIF_F_TSO_BIT);
    /// Checks checksums of received frames.
    pub const RXCSUM: Self = Self(1 << bindings::NETIF_F_RXCSUM_BIT);

    /// Segments anything.
    pub const GSO: Self = {
        let (first, last) = (bindings::NETIF_F_GSO_SHIFT, bindings::NETIF_F_GSO_LAST);

        Self((1 << (last + 1)) - (1 << first))
    };

    /// From `netdev_features_t`.
    pub(super) const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// To `netdev_features_t`.
    pub(super) const fn into_raw(self) -> u64 {
        self.0
    }

    /// Returns the union, for constants.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Checks whether all features of `other` are in the set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns the features that are not in `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Features {
    type Output = Self;

    fn bitor(self, rhs: Self) -> Self {
        Self(self.0 | rhs.0)
    }
}

impl BitAnd for Features {
    type Output = Self;

    fn bitand(self, rhs: Self) -> Self {
        Self(self.0 & rhs.0)
    }
}

impl Not for Features {
    type Output = Self;

    fn not(self) -> Self {
        Self(!self.0)
    }
}
