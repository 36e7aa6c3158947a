// SPDX-License-Identifier: GPL-2.0

//! Big-endian memory-mapped registers.

use super::{
    bindings,
    hypercall::RegisterBlock, //
};
use kernel::prelude::*;

/// A mapping of `SIZE` bytes of big-endian 64-bit registers, unmapped on drop.
///
/// Accesses are ordered as those of `in_be64()` and `out_be64()` are: a store is preceded by a
/// `sync`, so that what was written to memory before is visible to the device before the register
/// is; a load is complete before anything that follows it.
///
/// # Invariants
///
/// `base` is the start of an I/O mapping of at least `SIZE` bytes that belongs to `self`, aligned
/// to 8 bytes.
pub struct BeMmio<const SIZE: usize> {
    base: *mut c_void,
}

// SAFETY: The mapping isn't bound to a thread; unmapping may be done by any thread that can sleep.
unsafe impl<const SIZE: usize> Send for BeMmio<SIZE> {}

// SAFETY: Register accesses through a shared reference are single 64-bit loads and stores.
unsafe impl<const SIZE: usize> Sync for BeMmio<SIZE> {}

impl<const SIZE: usize> BeMmio<SIZE> {
    /// Maps the first `SIZE` bytes of registers of the adapter. Process context.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the registers are not at a multiple of 8 or the range wraps, `ENOMEM` if it can't be
    /// mapped or contains system RAM.
    pub fn new(block: RegisterBlock) -> Result<Self> {
        const { assert!(SIZE >= size_of::<u64>()) };
        let base = block.address();

        if base % 8 != 0 || base.checked_add(SIZE as u64).is_none() {
            return Err(EINVAL);
        }

        // SAFETY: No precondition.
        let found = unsafe {
            bindings::region_intersects(
                base,
                SIZE,
                bindings::IORESOURCE_SYSTEM_RAM as usize,
                bindings::IORES_DESC_NONE as usize,
            )
        };
        if found != bindings::REGION_DISJOINT as c_int {
            return Err(ENOMEM);
        }
        // SAFETY: There is no RAM in the range, so nothing that Rust knows of as memory becomes
        // accessible through the mapping.
        let base = unsafe { bindings::ioremap(base, SIZE) };
        if base.is_null() {
            return Err(ENOMEM);
        }

        // INVARIANT: `base` is what `ioremap()` just returned for `SIZE` bytes; it keeps the
        // offset in the page, hence the alignment.
        Ok(Self { base })
    }

    /// Writes the register at byte offset `OFFSET`; an offset outside of the mapping doesn't
    /// compile.
    #[inline]
    pub fn write64<const OFFSET: usize>(&self, value: u64) {
        const { assert!(OFFSET % 8 == 0 && OFFSET < SIZE && SIZE - OFFSET >= 8) };

        // Here the compiler knows how few bits most values have, and need swapping.
        let value = value.to_be();
        // SAFETY: By the type invariant and the assertion, the register is in the mapping.
        unsafe { bindings::rust_ext_out_be64(self.base.wrapping_byte_add(OFFSET), value) };
    }

    /// Reads the register at byte offset `OFFSET`; an offset outside of the mapping doesn't
    /// compile.
    #[inline]
    pub fn read64<const OFFSET: usize>(&self) -> u64 {
        const { assert!(OFFSET % 8 == 0 && OFFSET < SIZE && SIZE - OFFSET >= 8) };

        // SAFETY: By the type invariant and the assertion, the register is in the mapping.
        unsafe { bindings::rust_ext_in_be64(self.base.wrapping_byte_add(OFFSET)) }
    }
}

impl<const SIZE: usize> Drop for BeMmio<SIZE> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the mapping is ours; nobody can use it after `self`.
        unsafe { bindings::iounmap(self.base) };
    }
}
