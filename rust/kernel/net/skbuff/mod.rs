// SPDX-License-Identifier: GPL-2.0

//! Socket buffers.
//!
//! A buffer is owned by the stack, or by the driver as an [`SkBuff`] (to be sent) or an
//! [`RxBuffer`] (to be filled by the adapter). Every way out of the driver takes it by value, and
//! what is not handed on is freed on drop: exactly once in any case.
//!
//! C header: `include/linux/skbuff.h`

mod describe;
mod receive;
mod slot;

pub use self::{
    describe::{
        Gso,
        PartialChecksum,
        Segment,
        Segments, //
    },
    receive::{
        RxBuffer,
        RxChecksum,
        RxMeta, //
    },
    slot::SkbSlot, //
};

use crate::kernel_ext::bindings;
use core::{
    mem::ManuallyDrop,
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
    prelude::*, //
};

/// A socket buffer to be sent.
///
/// # Invariants
///
/// `raw` is a valid `struct sk_buff` that belongs to `self` alone, as far as the stack lets buffers
/// belong to anyone: its data may be shared with a clone, so they are read only.
pub struct SkBuff {
    raw: NonNull<bindings::sk_buff>,
}

// SAFETY: Buffers aren't bound to a thread, and may be freed in any context.
unsafe impl Send for SkBuff {}

// SAFETY: Methods that take `&self` only read.
unsafe impl Sync for SkBuff {}

impl SkBuff {
    /// Takes over a buffer.
    ///
    /// # Safety
    ///
    /// `raw` is a valid buffer that the caller gives away.
    pub(crate) unsafe fn from_raw(raw: NonNull<bindings::sk_buff>) -> Self {
        // INVARIANT: By the safety requirement.
        Self { raw }
    }

    /// Gives the buffer away.
    pub(crate) fn into_raw(self) -> *mut bindings::sk_buff {
        ManuallyDrop::new(self).raw.as_ptr()
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::sk_buff {
        self.raw.as_ptr()
    }

    /// Length in bytes, headers included, without CRC.
    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "frames aren't empty")]
    pub fn len(&self) -> u32 {
        // SAFETY: The buffer is valid.
        unsafe { (*self.raw.as_ptr()).len }
    }

    /// Number of bytes in the linear part, which comes first.
    #[inline]
    pub fn linear_len(&self) -> u32 {
        // SAFETY: The buffer is valid. `data_len` is the length of the rest, not above `len`.
        unsafe {
            (*self.raw.as_ptr())
                .len
                .wrapping_sub((*self.raw.as_ptr()).data_len)
        }
    }

    /// Returns the transmit queue that the stack chose.
    #[inline]
    pub fn queue(&self) -> u16 {
        // SAFETY: The buffer is valid.
        unsafe { (*self.raw.as_ptr()).queue_mapping }
    }

    /// Returns the linear part.
    #[inline]
    pub fn linear(&self) -> &[u8] {
        // SAFETY: The buffer is valid, and the linear part starts at `data`. As the data may be
        // shared, nobody writes them while `self` is borrowed.
        unsafe {
            core::slice::from_raw_parts((*self.raw.as_ptr()).data, self.linear_len() as usize)
        }
    }

    /// Copies from `offset` to all of `buf`, from wherever the data are.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the frame is shorter; `EFAULT` if data can't be read.
    pub fn copy_bits(&self, offset: u32, buf: &mut [u8]) -> Result {
        let len = u32::try_from(buf.len()).map_err(|_| EINVAL)?;
        if offset.checked_add(len).is_none_or(|end| end > self.len()) {
            return Err(EINVAL);
        }
        // CAST: Not above the length of a buffer.
        let (offset, len) = (offset as c_int, len as c_int);
        // SAFETY: The buffer is valid, and not shorter; `buf` has room for `len` bytes.
        to_result(unsafe {
            bindings::skb_copy_bits(self.raw.as_ptr(), offset, buf.as_mut_ptr().cast(), len)
        })
    }

    /// Notes that the frame is about to be sent, for those who asked for its time.
    #[inline]
    pub(in super::super) fn time_stamp(&self) {
        // SAFETY: The buffer is valid and ours.
        unsafe { bindings::rust_ext_skb_tx_timestamp(self.raw.as_ptr()) };
    }

    /// Makes all of the frame linear. Any context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn linearize(&mut self) -> Result {
        // SAFETY: The buffer is valid and ours; a shared one is copied.
        to_result(unsafe { bindings::rust_ext_skb_linearize(self.raw.as_ptr()) })
    }

    /// Computes a checksum that the stack has left to the device. Any context.
    ///
    /// # Errors
    ///
    /// - `ENOMEM`.
    /// - `EINVAL` if the checksum is not in the frame, or the frame is to be segmented, which has to
    ///   happen first.
    pub fn checksum_help(&mut self) -> Result {
        let Some(end) = self.partial_checksum_end() else {
            return Ok(());
        };
        // The function warns of checksums that are not in the linear part.
        if end > self.len() || self.is_gso() {
            return Err(EINVAL);
        }
        if end > self.linear_len() {
            self.linearize()?;
        }
        // SAFETY: The buffer is valid and ours; a shared one is copied.
        to_result(unsafe { bindings::skb_checksum_help(self.raw.as_ptr()) })
    }

    /// Frees the buffer after it has been sent; a mere drop counts as a loss. Any context. See also
    /// [`PollContext::consume`](super::napi::PollContext::consume), which is cheaper.
    pub fn consume(self) {
        // SAFETY: The buffer is valid and given away.
        unsafe {
            bindings::dev_kfree_skb_any_reason(
                self.into_raw(),
                bindings::skb_drop_reason_SKB_CONSUMED,
            )
        };
    }
}

impl Drop for SkBuff {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the buffer is ours.
        unsafe {
            bindings::dev_kfree_skb_any_reason(
                self.raw.as_ptr(),
                bindings::skb_drop_reason_SKB_DROP_REASON_NOT_SPECIFIED,
            )
        };
    }
}
