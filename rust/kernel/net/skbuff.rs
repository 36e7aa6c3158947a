// SPDX-License-Identifier: GPL-2.0

//! Socket buffers.
//!
//! A buffer is owned by the stack, or by the driver as an [`SkBuff`] (to be sent) or an
//! [`RxBuffer`] (to be filled by the adapter). Every way out of the driver takes it by value, and
//! what is not handed on is freed on drop: exactly once in any case.
//!
//! C header: `include/linux/skbuff.h`

use super::Device;
use crate::kernel_ext::sys;
use core::{
    mem::{
        ManuallyDrop,
        MaybeUninit, //
    },
    ptr::NonNull,
    sync::atomic::{
        AtomicPtr,
        Ordering, //
    }, //
};
use kernel::{
    bindings,
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

    pub(super) fn as_raw(&self) -> *mut bindings::sk_buff {
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
        unsafe { (*self.raw.as_ptr()).len - (*self.raw.as_ptr()).data_len }
    }

    /// The transmit queue that the stack chose.
    #[inline]
    pub fn queue(&self) -> u16 {
        // SAFETY: The buffer is valid.
        unsafe { (*self.raw.as_ptr()).queue_mapping }
    }

    /// The linear part.
    #[inline]
    pub fn linear(&self) -> &[u8] {
        // SAFETY: The buffer is valid, and the linear part starts at `data`. As the data may be
        // shared, nobody writes them while `self` is borrowed.
        unsafe {
            core::slice::from_raw_parts((*self.raw.as_ptr()).data, self.linear_len() as usize)
        }
    }

    /// All that a driver has to know about the frame in order to send it, from one call. The
    /// segments are described if the frame is longer than `segments_above` bytes, or to be
    /// segmented: shorter ones are for drivers that copy them.
    #[inline]
    pub fn describe(&self, segments_above: u32) -> TxInfo {
        let mut info = MaybeUninit::uninit();

        // SAFETY: The buffer is valid, `info` can be written. The helper writes all fields, except
        // for the segments behind `nr_segments`, which may stay uninitialised.
        unsafe {
            sys::rust_ext_skb_describe(self.raw.as_ptr(), segments_above, info.as_mut_ptr());
            // INVARIANT: The helper initialises `nr_segments` segments.
            TxInfo(info.assume_init())
        }
    }

    /// Copies from `offset` to all of `buf`, from wherever the data are.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the frame is shorter; `EFAULT` if data can't be read.
    pub fn copy_bits(&self, offset: u32, buf: &mut [u8]) -> Result {
        let len = u32::try_from(buf.len()).map_err(|_| EINVAL)?;
        let to = buf.as_mut_ptr().cast();

        // SAFETY: The buffer is valid; `to` has room for `len` bytes. The helper checks the range.
        to_result(unsafe { sys::rust_ext_skb_copy_bits(self.raw.as_ptr(), offset, to, len) })
    }

    /// Makes all of the frame linear. Any context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn linearize(&mut self) -> Result {
        // SAFETY: The buffer is valid and ours; a shared one is copied.
        to_result(unsafe { sys::rust_ext_skb_linearize(self.raw.as_ptr()) })
    }

    /// Pads the frame with zeroes to `len` bytes, if it is shorter.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn pad(&mut self, len: u32) -> Result {
        // SAFETY: The buffer is valid and ours; a shared one is copied. It isn't freed on failure.
        to_result(unsafe { sys::rust_ext_skb_pad(self.raw.as_ptr(), len) })
    }

    /// Computes a checksum that the stack has left to the device.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `EINVAL` if the frame makes no sense.
    pub fn checksum_help(&mut self) -> Result {
        // SAFETY: The buffer is valid and ours; a shared one is copied.
        to_result(unsafe { sys::rust_ext_skb_checksum_help(self.raw.as_ptr()) })
    }

    /// Frees the buffer after it has been sent; a mere drop counts as a loss. Any context. See also
    /// [`PollContext::consume`](super::napi::PollContext::consume), which is cheaper.
    pub fn consume(self) {
        // SAFETY: The buffer is valid and given away.
        unsafe { sys::rust_ext_skb_consume(self.into_raw()) };
    }
}

impl Drop for SkBuff {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the buffer is ours.
        unsafe { sys::rust_ext_skb_free(self.raw.as_ptr()) };
    }
}

/// A piece of a frame that is physically contiguous.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Segment(sys::segment);

impl Segment {
    /// Real address.
    #[inline]
    pub fn address(&self) -> u64 {
        self.0.address
    }

    /// Length in bytes.
    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "segments aren't empty")]
    pub fn len(&self) -> u32 {
        self.0.len
    }
}

/// What TCP segmentation needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// Payload of each segment, in bytes.
    pub size: u16,
    /// Number of segments; 0 if nobody counted.
    pub segments: u16,
    /// Length of all headers, in bytes.
    pub header_len: u32,
    /// TCP over IPv4.
    pub tcp_v4: bool,
    /// TCP over IPv6.
    pub tcp_v6: bool,
    /// More than TCP segmentation is asked for (tunnels).
    pub other: bool,
}

/// A checksum that is left to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialChecksum {
    /// Where summing starts, in bytes from the start of the frame.
    pub start: u16,
    /// Where the sum goes, in bytes from `start`.
    pub offset: u16,
}

/// The description of a frame to be sent.
///
/// # Invariants
///
/// The first `nr_segments` segments are initialised.
pub struct TxInfo(sys::tx_info);

impl TxInfo {
    /// Length in bytes, headers included, without CRC.
    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "frames aren't empty")]
    pub fn len(&self) -> u32 {
        self.0.len
    }

    /// Number of bytes in the linear part: the first segment, if not 0.
    #[inline]
    pub fn linear_len(&self) -> u32 {
        self.0.linear_len
    }

    /// The Ethertype, behind VLAN tags in the frame if there are any. Like what follows, up to
    /// [`is_fragment`](Self::is_fragment), for who has to complete a [`checksum`](Self::checksum): 0
    /// if the frame has none that is left to the device.
    #[inline]
    pub fn protocol(&self) -> u16 {
        self.0.protocol
    }

    /// The tag control information of a VLAN tag to be inserted by the device.
    #[inline]
    pub fn vlan(&self) -> Option<u16> {
        (self.0.vlan_present != 0).then_some(self.0.vlan_tci)
    }

    /// Offset of the network header from the start of the frame; 0 if not known.
    #[inline]
    pub fn network_offset(&self) -> u16 {
        self.0.network_offset
    }

    /// Offset of the transport header from the start of the frame; 0 if not known.
    #[inline]
    pub fn transport_offset(&self) -> u16 {
        self.0.transport_offset
    }

    /// The protocol number in the IP header (the next header for IPv6); 0 if it isn't IP, or its
    /// header isn't in the linear part.
    #[inline]
    pub fn ip_protocol(&self) -> u8 {
        self.0.ip_protocol
    }

    /// Whether the frame is a fragment of an IPv4 packet.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.0.is_fragment != 0
    }

    /// The checksum that is left to the device.
    #[inline]
    pub fn checksum(&self) -> Option<PartialChecksum> {
        (self.0.checksum_partial != 0).then_some(PartialChecksum {
            start: self.0.checksum_start,
            offset: self.0.checksum_offset,
        })
    }

    /// The segmentation that is left to the device.
    #[inline]
    pub fn gso(&self) -> Option<Gso> {
        (self.0.gso_size != 0).then_some(Gso {
            size: self.0.gso_size,
            segments: self.0.gso_segs,
            header_len: self.0.header_len,
            tcp_v4: self.0.gso_type & sys::GSO_TCPV4 != 0,
            tcp_v6: self.0.gso_type & sys::GSO_TCPV6 != 0,
            other: self.0.gso_type & sys::GSO_OTHER != 0,
        })
    }

    /// The pieces of the frame, in order; none if they were not asked for, or if the frame must be
    /// linearized first.
    #[inline]
    pub fn segments(&self) -> &[Segment] {
        let len = usize::from(self.0.nr_segments).min(sys::MAX_SEGMENTS);
        // SAFETY: By the type invariant that many elements are initialised; `Segment` is a
        // transparent wrapper of the element type.
        unsafe { core::slice::from_raw_parts(self.0.segments.as_ptr().cast(), len) }
    }
}

/// A receive buffer: the adapter writes a frame to its data.
///
/// # Invariants
///
/// `skb` is an empty buffer with room for `capacity` bytes at real address `address`.
pub struct RxBuffer {
    skb: SkBuff,
    address: u64,
    capacity: u32,
}

impl RxBuffer {
    /// Allocates a buffer for frames of up to `capacity` bytes. Process context; see
    /// [`PollContext::alloc`](super::napi::PollContext::alloc) for the other.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(dev: &Device, capacity: u32) -> Result<Self> {
        let mut address = 0;
        // SAFETY: The device is valid, `address` can be written.
        let raw = unsafe { sys::rust_ext_skb_alloc(dev.as_raw(), capacity, &mut address) };
        // SAFETY: A new buffer of this capacity, whose data are at `address`.
        unsafe { Self::from_raw(raw, address, capacity) }.ok_or(ENOMEM)
    }

    /// Takes over a buffer.
    ///
    /// # Safety
    ///
    /// `raw` is NULL, or an empty buffer that the caller gives away and that has room for
    /// `capacity` bytes at real address `address`.
    pub(super) unsafe fn from_raw(
        raw: *mut bindings::sk_buff,
        address: u64,
        capacity: u32,
    ) -> Option<Self> {
        let raw = NonNull::new(raw)?;
        // INVARIANT: By the safety requirement.
        Some(Self {
            // SAFETY: By the safety requirement.
            skb: unsafe { SkBuff::from_raw(raw) },
            address,
            capacity,
        })
    }

    /// Gives the buffer away.
    pub(super) fn into_raw(self) -> *mut bindings::sk_buff {
        self.skb.into_raw()
    }

    /// Where the data are, for C code that copies them.
    pub(super) fn data(&self) -> *const u8 {
        // SAFETY: The buffer is valid.
        unsafe { (*self.skb.as_raw()).data }
    }

    /// Takes over what another buffer contains: a frame, if there is one, that nobody has received yet.
    pub fn copy_from(&mut self, other: &Self) {
        let len = self.capacity.min(other.capacity) as usize;
        // SAFETY: By the type invariants both have room for `len` bytes, and they are different buffers,
        // since one of them is borrowed mutably. Any bytes make a valid `u8`, whatever the adapter does
        // meanwhile.
        unsafe {
            core::ptr::copy_nonoverlapping(other.data(), (*self.skb.as_raw()).data, len);
        }
    }

    /// The real address of the data.
    #[inline]
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Room for a frame, in bytes.
    #[inline]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }
}

/// What the adapter found out about a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RxChecksum {
    /// Nothing.
    None,
    /// Checked and right.
    Unnecessary,
    /// The sum over all that follows the Ethernet header, not complemented, as it is in memory.
    Complete(u16),
}

/// What the adapter tells about a received frame.
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
    /// The form that C sees.
    #[inline]
    pub(super) fn to_raw(self) -> sys::rx_meta {
        let (checksum_kind, checksum) = match self.checksum {
            RxChecksum::None => (sys::CHECKSUM_NONE, 0),
            RxChecksum::Unnecessary => (sys::CHECKSUM_UNNECESSARY, 0),
            RxChecksum::Complete(sum) => (sys::CHECKSUM_COMPLETE, sum),
        };

        sys::rx_meta {
            len: self.len,
            checksum,
            vlan_tci: self.vlan.unwrap_or(0),
            queue: self.queue,
            checksum_kind,
            vlan_present: self.vlan.is_some().into(),
        }
    }
}

/// A place for one [`SkBuff`] that several contexts may use without a lock.
///
/// Made for the slots of a ring, where one context puts and another takes.
///
/// # Invariants
///
/// The pointer is NULL or that of a buffer that belongs to the slot.
#[derive(Default)]
pub struct SkbSlot(AtomicPtr<bindings::sk_buff>);

impl SkbSlot {
    /// An empty slot.
    pub const fn new() -> Self {
        Self(AtomicPtr::new(core::ptr::null_mut()))
    }

    fn swap(&self, raw: *mut bindings::sk_buff) -> Option<SkBuff> {
        // What was done to the buffer before it was put is seen by who takes it.
        let old = NonNull::new(self.0.swap(raw, Ordering::AcqRel))?;
        // SAFETY: By the type invariant the old buffer was the slot's, and is so no more.
        Some(unsafe { SkBuff::from_raw(old) })
    }

    /// Puts a buffer into the slot and returns the one that was there.
    #[inline]
    pub fn put(&self, skb: SkBuff) -> Option<SkBuff> {
        // INVARIANT: The buffer is given to the slot.
        self.swap(skb.into_raw())
    }

    /// Takes the buffer out.
    #[inline]
    pub fn take(&self) -> Option<SkBuff> {
        self.swap(core::ptr::null_mut())
    }

    /// Whether there is no buffer in the slot now.
    pub fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed).is_null()
    }
}

impl Drop for SkbSlot {
    fn drop(&mut self) {
        drop(self.take());
    }
}
