// SPDX-License-Identifier: GPL-2.0

//! The query adapter block (§4.1).

use core::mem::{offset_of, size_of};
use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Capacities of the adapter and their current use.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct AdapterBlock {
    /// Number of queue pairs in use.
    pub cur_qps: U32,
    /// Number of completion queues in use.
    pub cur_cqs: U32,
    /// Number of event queues in use.
    pub cur_eqs: U32,
    /// Number of memory regions in use.
    pub cur_mrs: U32,
    /// Authority level.
    pub auth_level: U32,
    /// Maximum number of queue pairs.
    pub max_qps: U32,
    /// Maximum number of completion queues.
    pub max_cqs: U32,
    /// Maximum number of event queues.
    pub max_eqs: U32,
    /// Maximum number of memory regions; shared memory regions are not counted.
    pub max_mrs: U32,
    /// Reserved.
    pub reserved1: U32,
    /// Internal clock frequency.
    pub int_clock_freq: U32,
    /// Maximum number of protection domains.
    pub max_pds: U32,
    /// Maximum number of address handles.
    pub max_address_handles: U32,
    /// Number of entries of the largest completion queue.
    pub max_cqes: U32,
    /// Number of entries of the largest work queue.
    pub max_wqes: U32,
    /// Number of scatter elements of an RQ1 entry.
    pub max_sge_rq1: U32,
    /// Number of scatter elements of an RQ2 entry.
    pub max_sge_rq2: U32,
    /// Number of scatter elements of an RQ3 entry.
    pub max_sge_rq3: U32,
    /// Page sizes in which memory regions can be registered: [`PageSizes`]. 0 means 4 KiB only.
    pub mr_page_size: U32,
    /// Reserved.
    pub reserved2: U32,
    /// Size of the largest memory region in bytes.
    pub max_mr_size: U64,
    /// Reserved.
    pub reserved3: U64,
    /// Number of ports.
    pub num_ports: U32,
    /// Reserved.
    pub reserved4: [U32; 3],
    /// Number of multicast addresses that can be registered, plus one.
    pub max_mc_mac: U64,
    /// Capability bits, undocumented.
    pub ehea_cap: U64,
    /// Number of interrupt sources of an event queue.
    pub max_isn_per_eq: U32,
    /// Maximum number of notification event queues.
    pub max_neqs: U32,
    /// Number of VLAN identifiers that can be filtered.
    pub max_vlan_ids: U64,
    /// Maximum number of port groups.
    pub max_port_groups: U32,
    /// Number of physical ports.
    pub max_phys_ports: U32,
}

const _: () = {
    assert!(size_of::<AdapterBlock>() == 0x98);
    assert!(offset_of!(AdapterBlock, max_qps) == 0x14);
    assert!(offset_of!(AdapterBlock, int_clock_freq) == 0x28);
    assert!(offset_of!(AdapterBlock, max_wqes) == 0x38);
    assert!(offset_of!(AdapterBlock, mr_page_size) == 0x48);
    assert!(offset_of!(AdapterBlock, max_mr_size) == 0x50);
    assert!(offset_of!(AdapterBlock, num_ports) == 0x60);
    assert!(offset_of!(AdapterBlock, max_mc_mac) == 0x70);
    assert!(offset_of!(AdapterBlock, max_isn_per_eq) == 0x80);
    assert!(offset_of!(AdapterBlock, max_vlan_ids) == 0x88);
    assert!(offset_of!(AdapterBlock, max_phys_ports) == 0x94);
};

/// A page size of memory region registration (§12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PageSize {
    /// 4 KiB; always supported.
    K4,
    /// 64 KiB.
    K64,
    /// 1 MiB.
    M1,
    /// 16 MiB.
    M16,
}

impl PageSize {
    /// All sizes, largest first.
    pub const LARGEST_FIRST: [Self; 4] = [Self::M16, Self::M1, Self::K64, Self::K4];

    /// Returns the code in hypercall arguments: (log2(bytes) − 12) / 4.
    pub const fn code(self) -> u8 {
        match self {
            Self::K4 => 0,
            Self::K64 => 1,
            Self::M1 => 2,
            Self::M16 => 3,
        }
    }

    /// Returns the page size with the code `code`, or `None` if no size has it.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::K4),
            1 => Some(Self::K64),
            2 => Some(Self::M1),
            3 => Some(Self::M16),
            _ => None,
        }
    }

    /// Returns the page size in bytes.
    pub const fn bytes(self) -> u64 {
        4096 << (4 * self.code())
    }
}

/// The capability mask of [`AdapterBlock::mr_page_size`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageSizes(pub u32);

impl PageSizes {
    const fn bit(size: PageSize) -> u32 {
        0x8000_0000 >> size.code()
    }

    /// Checks whether the adapter accepts pages of `size`. It always accepts 4 KiB.
    pub const fn contains(self, size: PageSize) -> bool {
        matches!(size, PageSize::K4) || self.0 & Self::bit(size) != 0
    }

    /// Returns the mask with `size` added.
    #[must_use]
    pub const fn with(self, size: PageSize) -> Self {
        Self(self.0 | Self::bit(size))
    }

    /// Returns the largest page size that the adapter accepts.
    pub fn largest(self) -> PageSize {
        PageSize::LARGEST_FIRST
            .into_iter()
            .find(|&size| self.contains(size))
            .unwrap_or(PageSize::K4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes as _;

    #[test]
    fn page_sizes() {
        assert_eq!(PageSize::M16.bytes(), 16 << 20);
        assert_eq!(PageSize::M1.bytes(), 1 << 20);
        assert_eq!(PageSizes(0).largest(), PageSize::K4);
        assert_eq!(PageSizes(0xf000_0000).largest(), PageSize::M16);
        assert_eq!(
            PageSizes::default()
                .with(PageSize::K4)
                .with(PageSize::K64)
                .0,
            0xc000_0000
        );
        for size in PageSize::LARGEST_FIRST {
            assert_eq!(PageSize::from_code(size.code()), Some(size));
        }
    }

    #[test]
    fn block_bytes() {
        let block = AdapterBlock {
            max_mrs: U32::new(0x0102_0304),
            max_mc_mac: U64::new(65),
            max_phys_ports: U32::new(2),
            ..AdapterBlock::default()
        };
        let mut bytes = [0u8; 0x98];
        bytes[0x20..0x24].copy_from_slice(&[1, 2, 3, 4]);
        bytes[0x77] = 65;
        bytes[0x97] = 2;
        assert_eq!(block.as_bytes(), bytes);
    }
}
