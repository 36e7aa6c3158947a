// SPDX-License-Identifier: GPL-2.0

//! Queue memory of the test machine.

use ehea_core::queue::{CompletionEntry, CompletionMemory, OutOfSlot, Slot};
use zerocopy::byteorder::big_endian::U64;
use zerocopy::IntoBytes as _;

use super::guest::Guest;

/// A ring in contiguous memory of the guest.
pub(crate) struct Ring<'a> {
    pub(crate) guest: &'a Guest,
    pub(crate) base: u64,
    pub(crate) slot_bytes: usize,
}

impl<'a> Ring<'a> {
    pub(crate) fn slot(&self, index: usize) -> RingSlot<'a> {
        RingSlot {
            guest: self.guest,
            address: self.base + (index * self.slot_bytes) as u64,
            size: self.slot_bytes,
        }
    }
}

impl CompletionMemory for Ring<'_> {
    type Entry<'a>
        = RingSlot<'a>
    where
        Self: 'a;

    fn entry(&self, index: usize) -> RingSlot<'_> {
        self.slot(index)
    }

    fn read_barrier(&self) {}
}

impl CompletionEntry for RingSlot<'_> {
    fn word(&self, index: usize) -> u64 {
        let address = self.address + (index * size_of::<u64>()) as u64;
        self.guest.machine.borrow().read::<U64>(address).get()
    }
}

pub(crate) struct RingSlot<'a> {
    guest: &'a Guest,
    pub(crate) address: u64,
    size: usize,
}

impl Slot for RingSlot<'_> {
    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), OutOfSlot> {
        if offset + bytes.len() > self.size {
            return Err(OutOfSlot);
        }
        let address = self.address + offset as u64;
        self.guest.machine.borrow_mut().write(address, bytes);
        Ok(())
    }

    fn write_words<const N: usize>(
        &mut self,
        offset: usize,
        words: [u64; N],
    ) -> Result<(), OutOfSlot> {
        self.write(offset, words.map(U64::new).as_bytes())
    }
}
