// SPDX-License-Identifier: GPL-2.0

//! Queue memory: pages in registration order, and positions in the ring they form (§6.1).

use ehea_abi::ring::{Toggle, QUEUE_PAGE_SIZE};

/// The pages of one queue.
#[derive(Debug)]
pub(crate) struct QueuePages {
    /// Addresses of the pages; `None` for a page that left the machine.
    pages: Vec<Option<u64>>,
    expected: u32,
}

impl QueuePages {
    pub(crate) const fn new(expected: u32) -> Self {
        Self {
            pages: Vec::new(),
            expected,
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.pages.len() >= self.expected as usize
    }

    pub(crate) fn push(&mut self, gpa: u64) {
        self.pages.push(Some(gpa));
    }

    /// Returns the guest address of a byte of the ring, or `None` if its page is not registered or
    /// left the machine.
    pub(crate) fn address(&self, offset: usize) -> Option<u64> {
        let page = *self.pages.get(offset / QUEUE_PAGE_SIZE)?;
        page?.checked_add((offset % QUEUE_PAGE_SIZE) as u64)
    }

    pub(crate) fn bytes(&self) -> u64 {
        let pages = self.pages.iter().flatten().count() as u64;
        pages.saturating_mul(QUEUE_PAGE_SIZE as u64)
    }

    /// Forgets the pages in a range of guest memory. Returns whether there were any.
    pub(crate) fn forget(&mut self, gpa: u64, len: u64) -> bool {
        let end = gpa.saturating_add(len);
        let mut any = false;
        for page in &mut self.pages {
            let inside =
                page.is_some_and(|at| at < end && at.saturating_add(QUEUE_PAGE_SIZE as u64) > gpa);
            if inside {
                *page = None;
                any = true;
            }
        }
        any
    }
}

/// A position in a ring and the toggle bit of its lap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    slots: u32,
    slot_bytes: usize,
    position: u32,
    toggle: Toggle,
}

impl Cursor {
    pub(crate) const fn new(slots: u32, slot_bytes: usize) -> Self {
        Self {
            slots,
            slot_bytes,
            position: 0,
            toggle: Toggle::FIRST_LAP,
        }
    }

    pub(crate) const fn slots(&self) -> u32 {
        self.slots
    }

    pub(crate) const fn slot_bytes(&self) -> usize {
        self.slot_bytes
    }

    pub(crate) const fn toggle(&self) -> Toggle {
        self.toggle
    }

    /// Returns the offset of the current slot in the ring.
    pub(crate) const fn offset(&self) -> usize {
        (self.position as usize).saturating_mul(self.slot_bytes)
    }

    /// Moves to the next slot. Behind the last slot of a lap comes the first of the next lap.
    pub(crate) fn advance(&mut self) {
        self.position = self.position.saturating_add(1);
        if self.position >= self.slots {
            self.position = 0;
            self.toggle = self.toggle.next_lap();
        }
    }

    pub(crate) fn rewind(&mut self) {
        *self = Self::new(self.slots, self.slot_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursor_wraps_and_toggles() {
        let mut cursor = Cursor::new(3, 64);
        let mut seen = Vec::new();
        for _ in 0..7 {
            seen.push((cursor.offset(), cursor.toggle().bit()));
            cursor.advance();
        }
        assert_eq!(
            seen,
            [
                (0, true),
                (64, true),
                (128, true),
                (0, false),
                (64, false),
                (128, false),
                (0, true)
            ]
        );
    }

    #[test]
    fn pages_can_go() {
        let mut pages = QueuePages::new(2);
        pages.push(0x5000);
        assert!(!pages.is_complete());
        assert_eq!(pages.address(0x1000), None);
        pages.push(0x3000);
        assert!(pages.is_complete());
        assert_eq!(pages.address(0x1008), Some(0x3008));
        assert!(!pages.forget(0x4000, 0x1000));
        assert!(pages.forget(0x3fff, 1));
        assert_eq!(
            (pages.address(0x1008), pages.address(8)),
            (None, Some(0x5008))
        );
        assert_eq!(pages.bytes(), 4096);
    }
}
