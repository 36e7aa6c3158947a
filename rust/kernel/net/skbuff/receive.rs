// SPDX-License-Identifier: GPL-2.0

//! Buffers for reception.

use super::SkBuff;
use crate::kernel_ext::{
    bindings,
    net::Device,
    page::{
        real_address,
        RealMemory, //
    }, //
};
use core::ptr::NonNull;
use kernel::prelude::*;

/// Length of an Ethernet header in bytes.
const ETH_HLEN: u32 = bindings::ETH_HLEN;

/// Values of `ip_summed`.
// CAST: It has two bits.
const CHECKSUM_UNNECESSARY: u8 = bindings::CHECKSUM_UNNECESSARY as u8;
const CHECKSUM_COMPLETE: u8 = bindings::CHECKSUM_COMPLETE as u8;

/// A receive buffer: the adapter writes a frame to its data.
///
/// # Invariants
///
/// The buffer is empty and linear.
#[repr(transparent)]
pub struct RxBuffer(SkBuff);

impl RxBuffer {
    /// Largest number of bytes that a buffer is asked for.
    pub(in super::super) const MAX_CAPACITY: u32 = 1 << 20;

    /// Allocates a buffer for frames of up to `capacity` bytes. Process context; see
    /// [`PollContext::alloc`](super::napi::PollContext::alloc) for the other.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` if `capacity` is above a megabyte.
    pub fn new(dev: &Device, capacity: u32) -> Result<Self> {
        if capacity > Self::MAX_CAPACITY {
            return Err(EINVAL);
        }
        // SAFETY: The device is valid.
        let raw = unsafe { bindings::rust_ext_skb_alloc(dev.as_raw(), capacity) };
        // SAFETY: NULL or a new buffer.
        unsafe { Self::from_raw(raw) }.ok_or(ENOMEM)
    }

    /// Takes over a buffer.
    ///
    /// # Safety
    ///
    /// `raw` is NULL, or an empty and linear buffer that the caller gives away.
    #[inline]
    pub(in super::super) unsafe fn from_raw(raw: *mut bindings::sk_buff) -> Option<Self> {
        let raw = NonNull::new(raw)?;
        // INVARIANT: By the safety requirement.
        // SAFETY: By the safety requirement.
        Some(Self(unsafe { SkBuff::from_raw(raw) }))
    }

    /// Gives the buffer away.
    #[inline]
    pub(in super::super) fn into_raw(self) -> *mut bindings::sk_buff {
        self.0.into_raw()
    }

    /// Returns the address of the data, for C code that copies them.
    #[inline]
    pub(in super::super) fn data(&self) -> *mut u8 {
        // SAFETY: The buffer is valid.
        unsafe { (*self.0.as_raw()).data }
    }

    /// Hands the frame in the buffer to the stack.
    ///
    /// # Errors
    ///
    /// `EMSGSIZE` if the frame is longer than the buffer, or shorter than an Ethernet header; the
    /// buffer is freed.
    ///
    /// # Safety
    ///
    /// `napi` is valid, and the caller its poller.
    #[inline(always)]
    pub(in super::super) unsafe fn deliver(
        self,
        napi: *mut bindings::napi_struct,
        meta: &RxMeta,
    ) -> Result {
        if !self.has_room_for(meta.len) {
            return Err(EMSGSIZE);
        }
        // SAFETY: By the safety requirement, and the length was checked.
        unsafe { self.deliver_checked(napi, meta) };
        Ok(())
    }

    /// Checks whether a frame of `len` bytes fits the buffer, and has an Ethernet header.
    #[inline]
    pub(in super::super) fn has_room_for(&self, len: u32) -> bool {
        (ETH_HLEN..=self.capacity()).contains(&len)
    }

    /// Hands the frame in the buffer to the stack.
    ///
    /// # Safety
    ///
    /// `napi` is valid, and the caller its poller. The buffer has room for a frame of this length.
    #[inline(always)]
    pub(in super::super) unsafe fn deliver_checked(
        self,
        napi: *mut bindings::napi_struct,
        meta: &RxMeta,
    ) {
        let skb = self.into_raw();
        // SAFETY: The buffer is valid and ours. It is empty and linear, and there is room for so many bytes, of
        // which the first are an Ethernet header. The device of a valid instance is valid.
        unsafe {
            // As `__skb_put()` does, which takes 20 instructions for each frame if it is called. No field
            // wraps: the frame ends before `end`.
            (*skb).tail = (*skb).tail.wrapping_add(meta.len);
            (*skb).len = meta.len;
            let protocol = bindings::eth_type_trans(skb, (*napi).dev);
            let headers = (*skb).__bindgen_anon_4.headers.as_mut();
            headers.protocol = protocol;
            match meta.checksum {
                // As the buffer was allocated.
                RxChecksum::None => {}
                RxChecksum::Unnecessary => headers.set_ip_summed(CHECKSUM_UNNECESSARY),
                RxChecksum::Complete(sum) => {
                    headers.__bindgen_anon_1.csum = sum.into();
                    headers.set_ip_summed(CHECKSUM_COMPLETE);
                }
            }
            if let Some(tci) = meta.vlan {
                bindings::rust_ext_vlan_hwaccel_put_tag(skb, tci);
            }
            // As `skb_record_rx_queue()` does: 0 says that it is not known.
            (*skb).queue_mapping = meta.queue.wrapping_add(1);
        }
        // SAFETY: By the safety requirement; the buffer is given away.
        unsafe { bindings::rust_ext_napi_gro_receive(napi, skb) };
    }

    /// Takes over what another buffer contains: a frame, if there is one, that nobody has received yet.
    pub fn copy_from(&mut self, other: &Self) {
        let len = self.capacity().min(other.capacity()) as usize;
        // SAFETY: Both have room for `len` bytes, and they are different buffers, since one of them is
        // borrowed mutably. Any bytes make a valid `u8`, whatever the adapter does meanwhile.
        unsafe { core::ptr::copy_nonoverlapping(other.data().cast_const(), self.data(), len) };
    }

    /// Returns the real address of the data.
    #[inline]
    pub fn address(&self) -> u64 {
        real_address(self.data())
    }

    /// Room for a frame, in bytes; as much as was asked for, or more.
    #[inline]
    pub fn capacity(&self) -> u32 {
        let raw = self.0.as_raw();
        // SAFETY: The buffer is valid. By the type invariant it ends at `tail`, which isn't above
        // `end`, and what follows is free.
        unsafe { (*raw).end.wrapping_sub((*raw).tail) }
    }
}

// SAFETY: The data of a buffer that belongs to `self`.
unsafe impl RealMemory for RxBuffer {
    #[inline]
    fn real_address(&self) -> u64 {
        self.address()
    }

    #[inline]
    fn real_len(&self) -> u64 {
        self.capacity().into()
    }
}

/// Verdict of the adapter about a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RxChecksum {
    /// Nothing.
    None,
    /// Checked and right.
    Unnecessary,
    /// The sum over all that follows the Ethernet header, not complemented, as it is in memory.
    Complete(u16),
}

/// Description of a received frame by the adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxMeta {
    /// Length in bytes, headers included, without CRC.
    pub len: u32,
    /// About the checksum.
    pub checksum: RxChecksum,
    /// Tag control information of a stripped VLAN tag.
    pub vlan: Option<u16>,
    /// The receive queue.
    pub queue: u16,
}
