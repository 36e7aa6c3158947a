// SPDX-License-Identifier: GPL-2.0

//! Buffers for reception.

use super::SkBuff;
use crate::kernel_ext::{
    bindings,
    net::Device,
    page::real_address, //
};
use core::ptr::NonNull;
use kernel::prelude::*;

/// A receive buffer: the adapter writes a frame to its data.
///
/// # Invariants
///
/// The buffer is empty and linear.
#[repr(transparent)]
pub struct RxBuffer(SkBuff);

impl RxBuffer {
    /// Allocates a buffer for frames of up to `capacity` bytes. Process context; see
    /// [`PollContext::alloc`](super::napi::PollContext::alloc) for the other.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(dev: &Device, capacity: u32) -> Result<Self> {
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

impl RxMeta {
    /// Returns the form that C sees.
    #[inline]
    pub(in super::super) fn to_raw(self) -> bindings::rust_ext_rx_meta {
        let (checksum_kind, checksum) = match self.checksum {
            RxChecksum::None => (bindings::rust_ext_rx_checksum_RUST_EXT_CHECKSUM_NONE, 0),
            RxChecksum::Unnecessary => (
                bindings::rust_ext_rx_checksum_RUST_EXT_CHECKSUM_UNNECESSARY,
                0,
            ),
            RxChecksum::Complete(sum) => (
                bindings::rust_ext_rx_checksum_RUST_EXT_CHECKSUM_COMPLETE,
                sum,
            ),
        };

        bindings::rust_ext_rx_meta {
            len: self.len,
            checksum,
            vlan_tci: self.vlan.unwrap_or(0),
            queue: self.queue,
            // CAST: A small number.
            checksum_kind: checksum_kind as u8,
            vlan_present: self.vlan.is_some().into(),
        }
    }
}
