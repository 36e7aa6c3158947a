// SPDX-License-Identifier: GPL-2.0

//! Memory that the adapter reads and writes.
//!
//! The adapter may change it at any time, so nothing here gives out a reference to its contents:
//! they are copied, by volatile accesses. A copy of more than eight bytes isn't atomic; the driver
//! orders accesses with the barriers of [`kernel::sync::barrier`].

use super::bindings;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::prelude::*;
use zerocopy::Immutable;

/// Flags of an allocation that is zeroed, and whose failure isn't logged. It fails rather than end a
/// process, since who needs the memory may try again for as long as there is none.
const FLAGS: bindings::gfp_t = bindings::GFP_KERNEL
    | bindings::__GFP_RETRY_MAYFAIL
    | bindings::__GFP_ZERO
    | bindings::__GFP_NOWARN;

/// Returns the real address of what is in the linear mapping, as `__pa()` takes it: kernel memory that was not
/// mapped otherwise, and the data of all socket buffers.
#[inline]
pub(super) fn real_address(data: *const u8) -> u64 {
    // As on 64-bit powerpc: nothing but the uppermost bits is different.
    const { assert!(bindings::PAGE_OFFSET as u64 & LINEAR_ADDRESS == 0) };
    // CAST: A pointer has 64 bits.
    data as u64 & LINEAR_ADDRESS
}

/// A piece of kernel memory.
///
/// # Safety
///
/// So many bytes from this address belong to the value, or to what it was made of, as long as that
/// exists.
pub unsafe trait RealMemory {
    /// Returns the real address of the first byte.
    fn real_address(&self) -> u64;

    /// Returns the length in bytes.
    fn real_len(&self) -> u64;
}

/// The bits of an address in the linear mapping that are those of the real address.
const LINEAR_ADDRESS: u64 = 0x0fff_ffff_ffff_ffff;

/// A window of memory shared with the adapter.
///
/// # Invariants
///
/// `base` is valid for volatile accesses of `len` bytes for `'a`, and aligned to 8 bytes.
#[derive(Clone, Copy)]
pub struct Window<'a> {
    base: NonNull<u8>,
    len: usize,
    _owner: PhantomData<&'a ContiguousBuffer>,
}

// SAFETY: Accesses are volatile copies, as by any device; a window is as good on another thread.
unsafe impl Send for Window<'_> {}

// SAFETY: As for `Send`.
unsafe impl Sync for Window<'_> {}

impl<'a> Window<'a> {
    /// Length in bytes.
    #[allow(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns the address of `len` bytes at `offset`.
    #[inline]
    fn at(&self, offset: usize, len: usize) -> Result<*mut u8> {
        // One comparison, where both are constants.
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(self.base.as_ptr().wrapping_add(offset)),
            _ => Err(EINVAL),
        }
    }

    /// Returns the part of `len` bytes from `offset`.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it isn't inside, or `offset` isn't a multiple of 8.
    pub fn part(&self, offset: usize, len: usize) -> Result<Window<'a>> {
        if offset % 8 != 0 {
            return Err(EINVAL);
        }
        let base = NonNull::new(self.at(offset, len)?).ok_or(EINVAL)?;
        // INVARIANT: Inside of `self`; a multiple of 8 keeps the alignment.
        Ok(Window {
            base,
            len,
            _owner: PhantomData,
        })
    }

    /// Returns the part of `len` bytes from `offset`.
    ///
    /// # Safety
    ///
    /// The part is inside of the window, and `offset` a multiple of 8.
    #[inline]
    pub(super) unsafe fn part_unchecked(&self, offset: usize, len: usize) -> Window<'a> {
        // INVARIANT: By the safety requirement; a multiple of 8 keeps the alignment.
        Window {
            // SAFETY: By the safety requirement.
            base: unsafe { self.base.add(offset) },
            len,
            _owner: PhantomData,
        }
    }

    /// Reads `N` big-endian doublewords from `offset`, a multiple of 8, each as one access.
    ///
    /// # Errors
    ///
    /// `EINVAL` if they aren't inside or not aligned.
    #[inline]
    pub fn read_words<const N: usize>(&self, offset: usize) -> Result<[u64; N]> {
        if offset % 8 != 0 {
            return Err(EINVAL);
        }
        let mut from = self.at(offset, N * 8)?.cast::<u64>();
        let mut words = [0; N];
        for word in &mut words {
            // SAFETY: Checked to be inside and aligned, by the type invariant.
            *word = u64::from_be(unsafe { from.read_volatile() });
            from = from.wrapping_add(1);
        }
        Ok(words)
    }

    /// Writes big-endian doublewords from `offset`, a multiple of 8, each as one access, in ascending
    /// order.
    ///
    /// # Errors
    ///
    /// `EINVAL` if they aren't inside or not aligned.
    #[inline]
    pub fn write_words<const N: usize>(&self, offset: usize, words: [u64; N]) -> Result {
        if offset % 8 != 0 {
            return Err(EINVAL);
        }
        let mut to = self.at(offset, N * 8)?.cast::<u64>();
        for word in words {
            // SAFETY: Checked to be inside and aligned, by the type invariant.
            unsafe { to.write_volatile(word.to_be()) };
            to = to.wrapping_add(1);
        }
        Ok(())
    }

    /// Reads the big-endian value at `offset`, a multiple of 8, as one access.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the value isn't inside or not aligned.
    #[inline]
    pub fn read_u64_be(&self, offset: usize) -> Result<u64> {
        self.read_words(offset).map(|[word]| word)
    }

    /// Writes the big-endian value at `offset`, a multiple of 8, as one access.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the value isn't inside or not aligned.
    #[inline]
    pub fn write_u64_be(&self, offset: usize, value: u64) -> Result {
        self.write_words(offset, [value])
    }

    /// Copies from `offset` to all of `buf`; eight bytes at a time where the offset allows it.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the source isn't inside.
    #[inline]
    pub fn read_bytes(&self, offset: usize, buf: &mut [u8]) -> Result {
        let mut from = self.at(offset, buf.len())?;
        let words = if offset % 8 == 0 { buf.len() / 8 } else { 0 };
        let (head, tail) = buf.split_at_mut(words * 8);

        for word in head.chunks_exact_mut(8) {
            // SAFETY: Inside, as the sum of all chunks is; aligned, as `base` and `offset` are.
            let value = unsafe { from.cast::<u64>().read_volatile() };
            word.copy_from_slice(&value.to_ne_bytes());
            from = from.wrapping_add(8);
        }
        for byte in tail {
            // SAFETY: Inside, as checked above.
            *byte = unsafe { from.read_volatile() };
            from = from.wrapping_add(1);
        }
        Ok(())
    }

    /// Copies all of `data` to `offset`; eight bytes at a time where the offset allows it, in
    /// ascending order.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the destination isn't inside.
    #[inline(always)]
    pub fn write_bytes(&self, offset: usize, data: &[u8]) -> Result {
        let mut copy = Copy {
            to: self.at(offset, data.len())?,
            from: data,
        };
        if offset % 8 == 0 {
            // By powers of two, without loops but for what is long: their set-up counts in the packet
            // path.
            while copy.words::<128>() {}
            copy.words::<64>();
            copy.words::<32>();
            copy.words::<16>();
            copy.words::<8>();
            if let Some((&half, rest)) = copy.from.split_first_chunk() {
                // SAFETY: Inside, as checked above; aligned, as it follows doublewords.
                unsafe {
                    copy.to
                        .cast::<u32>()
                        .write_volatile(u32::from_ne_bytes(half))
                };
                copy.advance(4, rest);
            }
        }
        while let Some((&byte, rest)) = copy.from.split_first() {
            // SAFETY: Inside, as checked above.
            unsafe { copy.to.write_volatile(byte) };
            copy.advance(1, rest);
        }
        Ok(())
    }

    /// Copies out a `T` from `offset`.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it isn't inside.
    #[inline]
    pub fn read<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T> {
        let mut value = T::new_zeroed();
        self.read_bytes(offset, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Copies `value` to `offset`.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it isn't inside.
    #[inline]
    pub fn write<T: IntoBytes + Immutable>(&self, offset: usize, value: &T) -> Result {
        self.write_bytes(offset, value.as_bytes())
    }

    /// Returns the address, for C code that copies from the window.
    pub(super) fn as_ptr(&self) -> *const u8 {
        self.base.as_ptr()
    }
}

/// A copy to a window under way.
///
/// # Invariants
///
/// `to` is valid for volatile writes of as many bytes as `from` has.
struct Copy<'a> {
    to: *mut u8,
    from: &'a [u8],
}

impl<'a> Copy<'a> {
    /// Copies `N` bytes, doubleword by doubleword, if there are that many. The destination must be
    /// aligned.
    #[inline(always)]
    fn words<const N: usize>(&mut self) -> bool {
        const { assert!(N % 8 == 0) };
        let Some((chunk, rest)) = self.from.split_first_chunk::<N>() else {
            return false;
        };
        for (index, word) in chunk.chunks_exact(8).enumerate() {
            let mut value = [0; 8];
            value.copy_from_slice(word);
            let to = self.to.cast::<u64>().wrapping_add(index);
            // SAFETY: By the type invariant `N` bytes can be written; the caller has seen to the
            // alignment.
            unsafe { to.write_volatile(u64::from_ne_bytes(value)) };
        }
        self.advance(N, rest);
        true
    }

    /// `len` bytes are written, `rest` is not.
    #[inline(always)]
    fn advance(&mut self, len: usize, rest: &'a [u8]) {
        // INVARIANT: As many bytes less on both sides.
        self.to = self.to.wrapping_add(len);
        self.from = rest;
    }
}

/// Zeroed, physically contiguous memory, aligned to the kernel's page size.
///
/// # Invariants
///
/// `base` is an allocation of `alloc_pages_exact()` of `len` bytes that belongs to `self`, and
/// `real_address` its real address.
pub struct ContiguousBuffer {
    base: NonNull<u8>,
    len: usize,
    real_address: u64,
}

// SAFETY: An allocation isn't bound to a thread.
unsafe impl Send for ContiguousBuffer {}

// SAFETY: Contents are accessed by volatile copies only.
unsafe impl Sync for ContiguousBuffer {}

impl ContiguousBuffer {
    /// Allocates `len` bytes. Process context.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `len` is 0, `ENOMEM`.
    pub fn new(len: usize) -> Result<Self> {
        if len == 0 || len > isize::MAX as usize {
            return Err(EINVAL);
        }

        // SAFETY: No precondition.
        let base = unsafe { bindings::alloc_pages_exact_noprof(len, FLAGS) };
        let base = NonNull::new(base.cast()).ok_or(ENOMEM)?;
        // INVARIANT: Just allocated.
        Ok(Self {
            base,
            len,
            real_address: real_address(base.as_ptr()),
        })
    }

    /// Returns the real address of the first byte.
    pub fn real_address(&self) -> u64 {
        self.real_address
    }

    /// Returns the contents.
    #[inline]
    pub fn window(&self) -> Window<'_> {
        // INVARIANT: The allocation is valid as long as `self` is borrowed; pages are aligned.
        Window {
            base: self.base,
            len: self.len,
            _owner: PhantomData,
        }
    }
}

impl Drop for ContiguousBuffer {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the allocation is ours, of this length.
        unsafe { bindings::free_pages_exact(self.base.as_ptr().cast(), self.len) };
    }
}
