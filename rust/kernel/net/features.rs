// SPDX-License-Identifier: GPL-2.0

//! Offload features of network devices.

use core::ops::{
    BitAnd,
    BitOr,
    Not, //
};

/// A set of features (`netdev_features_t`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Features(u64);

// The numbers are those of `RUST_EXT_F_*`, compared with the kernel's in rust/helpers/netdev.c.
impl Features {
    /// Scatter and gather.
    pub const SG: Self = Self(1 << 0);
    /// Checksums of TCP and UDP over IPv4.
    pub const IP_CSUM: Self = Self(1 << 1);
    /// Any checksum, by start and offset.
    pub const HW_CSUM: Self = Self(1 << 3);
    /// Checksums of TCP and UDP over IPv6.
    pub const IPV6_CSUM: Self = Self(1 << 4);
    /// Memory at any address.
    pub const HIGHDMA: Self = Self(1 << 5);
    /// Inserts VLAN tags.
    pub const VLAN_TX: Self = Self(1 << 7);
    /// Strips VLAN tags.
    pub const VLAN_RX: Self = Self(1 << 8);
    /// Filters by VLAN.
    pub const VLAN_FILTER: Self = Self(1 << 9);
    /// Generic receive offload.
    pub const GRO: Self = Self(1 << 14);
    /// Segments TCP over IPv4.
    pub const TSO: Self = Self(1 << 16);
    /// Segments TCP with ECN.
    pub const TSO_ECN: Self = Self(1 << 18);
    /// Segments TCP over IPv6.
    pub const TSO6: Self = Self(1 << 20);
    /// Gives a hash with received frames.
    pub const RXHASH: Self = Self(1 << 39);
    /// Checks checksums of received frames.
    pub const RXCSUM: Self = Self(1 << 40);

    /// No feature.
    pub const fn empty() -> Self {
        Self(0)
    }

    /// From `netdev_features_t`.
    pub(super) const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// To `netdev_features_t`.
    pub(super) const fn into_raw(self) -> u64 {
        self.0
    }

    /// Whether all of `other` are in the set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The union; for constants.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that aren't in `other`; for constants.
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
