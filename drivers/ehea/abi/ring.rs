// SPDX-License-Identifier: GPL-2.0

//! Geometry of queues: slot sizes, size codes, pages (§6.1).

/// Size of a queue page in bytes: the unit in which queue memory is registered, whatever the
/// kernel's page size.
pub const QUEUE_PAGE_SIZE: usize = 4096;
/// Size of an entry of an event queue in bytes.
pub const EQE_SIZE: usize = 8;
/// Size of an entry of a completion queue in bytes.
pub const CQE_SIZE: usize = 64;
/// Number of entries of an event queue in one queue page.
pub const EQES_PER_PAGE: u32 = (QUEUE_PAGE_SIZE / EQE_SIZE) as u32;
/// Number of entries of a completion queue in one queue page.
pub const CQES_PER_PAGE: u32 = (QUEUE_PAGE_SIZE / CQE_SIZE) as u32;

/// Size code of a work queue. The queue has `2^(code+1)` slots, one of which always stays empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueSize(u8);

impl QueueSize {
    /// The smallest queue that the model and the drivers use: 127 entries.
    pub const MIN: Self = Self(6);
    /// The largest code that fits every caller: 32767 entries.
    pub const MAX: Self = Self(14);

    /// Returns the size with the code `code`, or `None` if the code is not between
    /// [`QueueSize::MIN`] and [`QueueSize::MAX`].
    pub const fn from_code(code: u8) -> Option<Self> {
        if code >= Self::MIN.0 && code <= Self::MAX.0 {
            Some(Self(code))
        } else {
            None
        }
    }

    /// Returns the smallest size with at least `entries` usable entries, or `None` if no size has
    /// that many.
    pub const fn for_entries(entries: u32) -> Option<Self> {
        let mut code = Self::MIN.0;
        while code <= Self::MAX.0 {
            if Self(code).entries() >= entries {
                return Some(Self(code));
            }
            code += 1;
        }
        None
    }

    /// Returns the code that stands for the size in a hypercall.
    pub const fn code(self) -> u8 {
        self.0
    }

    /// Returns the number of slots of the ring, a power of two.
    pub const fn slots(self) -> u32 {
        2u32 << self.0
    }

    /// Returns the number of usable entries: `slots - 1`. Firmware reports this number as the
    /// actual size.
    pub const fn entries(self) -> u32 {
        self.slots() - 1
    }

    /// Returns the number of queue pages that a ring of this size needs with slots of size `slot`.
    pub const fn pages(self, slot: SlotSize) -> u32 {
        (self.slots() as usize * slot.bytes() / QUEUE_PAGE_SIZE) as u32
    }
}

/// Size code of a slot of a work queue: a slot has `128 << code` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotSize(u8);

impl SlotSize {
    /// 128 bytes, used for RQ2 and RQ3.
    pub const B128: Self = Self(0);
    /// 256 bytes, used for RQ1.
    pub const B256: Self = Self(1);
    /// 512 bytes, used for send queues.
    pub const B512: Self = Self(2);

    /// Returns the slot size with the code `code`, or `None` if the code is not known.
    pub const fn from_code(code: u8) -> Option<Self> {
        if code <= 2 {
            Some(Self(code))
        } else {
            None
        }
    }

    /// Returns the code that stands for the slot size in a hypercall.
    pub const fn code(self) -> u8 {
        self.0
    }

    /// Returns the size of a slot in bytes.
    pub const fn bytes(self) -> usize {
        128 << self.0
    }
}

/// Value of the toggle bit that marks an entry as new: 1 in the first lap of a ring, 0 in the
/// second, and so on.
///
/// The writer of an entry stores the bit last. The reader treats an entry as new if its bit equals
/// this value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Toggle(bool);

impl Toggle {
    /// Value in the first lap.
    pub const FIRST_LAP: Self = Self(true);

    /// Returns the value in the next lap.
    pub const fn next_lap(self) -> Self {
        Self(!self.0)
    }

    /// Checks whether an entry whose toggle bit is `bit` belongs to this lap.
    pub const fn matches(self, bit: bool) -> bool {
        self.0 == bit
    }

    /// Returns the bit itself.
    pub const fn bit(self) -> bool {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_sizes() {
        for (wish, code) in [
            (1, 6),
            (127, 6),
            (128, 7),
            (511, 8),
            (1023, 9),
            (16383, 13),
            (32767, 14),
        ] {
            assert_eq!(
                QueueSize::for_entries(wish).map(QueueSize::code),
                Some(code),
                "{wish}"
            );
        }
        assert_eq!(QueueSize::for_entries(32768), None);
        assert_eq!(QueueSize::from_code(15), None);
        assert_eq!(QueueSize::from_code(5), None);
    }

    /// Checks the page counts that §3.3 gives for the default queues.
    #[test]
    fn default_pages() {
        let q = |n| QueueSize::for_entries(n).unwrap();
        assert_eq!(q(1023).pages(SlotSize::B512), 128);
        assert_eq!(q(1023).pages(SlotSize::B256), 64);
        assert_eq!(q(1023).pages(SlotSize::B128), 32);
        assert_eq!(q(511).pages(SlotSize::B128), 16);
    }
}
