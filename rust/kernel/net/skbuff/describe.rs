// SPDX-License-Identifier: GPL-2.0

//! Descriptions of frames, for drivers that send them.
//!
//! Nearly all frames are plain: what they don't have (segmentation, checksums, fragments) is found out
//! here, in a few loads, and only what they do have is worth a call of C code.

use super::SkBuff;
use crate::kernel_ext::{
    bindings,
    page::{
        real_address,
        RealMemory, //
    }, //
};
use core::mem::MaybeUninit;

/// A value of `ip_summed`.
// CAST: It has two bits.
const CHECKSUM_PARTIAL: u8 = bindings::CHECKSUM_PARTIAL as u8;

/// Kinds of TCP segmentation, and what may be asked for besides that devices needn't know of.
const PLAIN_TCP: u32 = TCP_V4
    | TCP_V6
    | (bindings::SKB_GSO_DODGY | bindings::SKB_GSO_TCP_ECN | bindings::SKB_GSO_TCP_FIXEDID) as u32;

/// Values of `gso_type`.
// CAST: Positive.
const TCP_V4: u32 = bindings::SKB_GSO_TCPV4 as u32;
const TCP_V6: u32 = bindings::SKB_GSO_TCPV6 as u32;

/// TCP segmentation that is left to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// Payload of each segment, in bytes.
    pub size: u16,
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
    /// Start of the summed bytes, in bytes from the start of the frame.
    pub start: u16,
    /// Place of the sum, in bytes from `start`.
    pub offset: u16,
}

/// Start of a sum that starts before the frame.
const OUTSIDE: u16 = u16::MAX;

impl SkBuff {
    /// Returns the fields that are copied with the headers of a buffer.
    #[inline]
    fn headers(&self) -> &bindings::sk_buff__bindgen_ty_4__bindgen_ty_2 {
        // SAFETY: The buffer is valid and ours; this group of fields exists in any buffer.
        unsafe { (*self.as_raw()).__bindgen_anon_4.headers.as_ref() }
    }

    /// Returns the number of the processor on which the buffer was allocated.
    #[inline]
    pub(crate) fn allocated_on(&self) -> u32 {
        self.headers().alloc_cpu.into()
    }

    /// `skb_headroom()`, as far as offsets from `head` go.
    #[inline]
    fn headroom(&self) -> u16 {
        // SAFETY: The buffer is valid; its data start at or behind `head`.
        let headroom = unsafe { (*self.as_raw()).data.offset_from((*self.as_raw()).head) };
        // CAST: Headers are in the first 64 KiB of a buffer. An offset that wraps is of no header.
        headroom as u16
    }

    /// `skb_shinfo()`.
    #[inline]
    fn shared_info(&self) -> *const bindings::skb_shared_info {
        // SAFETY: The buffer is valid, and `end` the offset of its shared information from `head`.
        unsafe {
            (*self.as_raw())
                .head
                .add((*self.as_raw()).end as usize)
                .cast()
        }
    }

    /// Returns the tag control information of a VLAN tag to be inserted by the device.
    #[inline]
    pub fn vlan(&self) -> Option<u16> {
        let vlan = &self.headers().__bindgen_anon_2;
        // SAFETY: Both views of the union are plain numbers, always initialised.
        unsafe { (vlan.vlan_all != 0).then_some(vlan.__bindgen_anon_1.vlan_tci) }
    }

    /// Returns the checksum that is left to the device.
    #[inline]
    pub fn partial_checksum(&self) -> Option<PartialChecksum> {
        let headers = self.headers();
        if headers.ip_summed() != CHECKSUM_PARTIAL {
            return None;
        }
        // SAFETY: With this value of `ip_summed` the union holds these fields.
        let sum = unsafe { headers.__bindgen_anon_1.__bindgen_anon_1 };
        Some(PartialChecksum {
            start: sum
                .csum_start
                .checked_sub(self.headroom())
                .unwrap_or(OUTSIDE),
            offset: sum.csum_offset,
        })
    }

    /// Returns the offset of the end of a checksum that is left to the device, from the start of the
    /// frame. It is beyond any frame if the sum starts before the frame.
    pub(super) fn partial_checksum_end(&self) -> Option<u32> {
        let PartialChecksum { start, offset } = self.partial_checksum()?;

        Some(match start {
            OUTSIDE => u32::MAX,
            // The checksum has two bytes.
            start => u32::from(start) + u32::from(offset) + 2,
        })
    }

    /// Checks whether segmentation is left to the device.
    #[inline]
    pub fn is_gso(&self) -> bool {
        // SAFETY: The shared information of a valid buffer.
        unsafe { (*self.shared_info()).gso_size != 0 }
    }

    /// Returns the segmentation that is left to the device.
    #[inline]
    pub fn gso(&self) -> Option<Gso> {
        self.is_gso().then(|| self.gso_details())
    }

    #[cold]
    fn gso_details(&self) -> Gso {
        // SAFETY: The shared information of a valid buffer.
        let (size, kind) = unsafe {
            let shared = self.shared_info();
            ((*shared).gso_size, (*shared).gso_type)
        };

        Gso {
            size,
            tcp_v4: kind & TCP_V4 != 0,
            tcp_v6: kind & TCP_V6 != 0,
            other: kind & !PLAIN_TCP != 0,
        }
    }

    /// Returns the offset of the network header from the start of the frame, which the stack has set.
    /// Nobody may have checked that there is such a header.
    #[inline]
    pub fn network_offset(&self) -> u16 {
        self.headers().network_header.wrapping_sub(self.headroom())
    }

    /// Checks whether the frame has a VLAN tag, to be inserted or in front of its packet.
    #[inline]
    pub(crate) fn is_tagged(&self) -> bool {
        const ETH_P_8021Q: u16 = (bindings::ETH_P_8021Q as u16).to_be();
        const ETH_P_8021AD: u16 = (bindings::ETH_P_8021AD as u16).to_be();

        self.vlan().is_some() || matches!(self.headers().protocol, ETH_P_8021Q | ETH_P_8021AD)
    }
}

/// A piece of a frame that is physically contiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    address: u64,
    len: u32,
}

impl Segment {
    /// Real address.
    #[inline]
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Length in bytes.
    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "segments aren't empty")]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Returns what is left without the first `bytes` bytes.
    #[inline]
    pub fn without(self, bytes: u32) -> Self {
        let bytes = bytes.min(self.len);
        // The end of a segment is an address, too.
        Self {
            address: self.address.wrapping_add(bytes.into()),
            len: self.len.wrapping_sub(bytes),
        }
    }
}

// SAFETY: What a segment was made of is a part of a buffer, and it is only made smaller.
unsafe impl RealMemory for Segment {
    #[inline]
    fn real_address(&self) -> u64 {
        self.address
    }

    #[inline]
    fn real_len(&self) -> u64 {
        self.len.into()
    }
}

/// Largest number of segments that are described: a linear part, and the fragments of 64 KiB that
/// start within a page. More must be linearized.
const MAX_SEGMENTS: usize = 18;

/// The pieces of a frame, in order.
///
/// # Invariants
///
/// The first `len` segments are initialised.
pub struct Segments {
    segments: [MaybeUninit<Segment>; MAX_SEGMENTS],
    len: usize,
}

impl Segments {
    /// None yet.
    #[inline]
    #[allow(clippy::new_without_default, reason = "there is no use for a default")]
    pub const fn new() -> Self {
        Self {
            segments: [const { MaybeUninit::uninit() }; MAX_SEGMENTS],
            len: 0,
        }
    }

    /// Describes the pieces of a frame. There are none if it must be linearized first.
    #[inline]
    pub fn describe(&mut self, skb: &SkBuff) -> &[Segment] {
        self.len = 0;
        let linear = skb.linear();
        // CAST: The length of a buffer has 32 bits.
        let len = linear.len() as u32;
        if len > 0 {
            self.push(real_address(linear.as_ptr()), len);
        }
        if len != skb.len() && self.describe_fragments(skb).is_none() {
            self.len = 0;
        }
        self.as_slice()
    }

    /// Adds the fragments of a frame. `None` if it has parts that are none, or cannot be read.
    fn describe_fragments(&mut self, skb: &SkBuff) -> Option<()> {
        let shared = skb.shared_info();
        // SAFETY: The shared information of a valid buffer.
        let (count, has_list) = unsafe { ((*shared).nr_frags, !(*shared).frag_list.is_null()) };
        // SAFETY: The buffer is valid.
        if has_list || !unsafe { bindings::rust_ext_skb_frags_readable(skb.as_raw()) } {
            return None;
        }
        for index in 0..count {
            // SAFETY: The buffer has so many fragments.
            let (address, len) = unsafe {
                let frag = (&raw const (*shared).frags)
                    .cast::<bindings::skb_frag_t>()
                    .add(index.into());
                (bindings::rust_ext_skb_frag_phys(frag), (*frag).len)
            };
            self.push(address, len)?;
        }
        Some(())
    }

    /// Adds a segment. `None` if there is no room.
    #[inline]
    fn push(&mut self, address: u64, len: u32) -> Option<()> {
        let place = self.segments.get_mut(self.len)?;
        place.write(Segment { address, len });
        // INVARIANT: One more was written.
        self.len = self.len.wrapping_add(1);
        Some(())
    }

    /// Returns the pieces that were described.
    #[inline]
    pub fn as_slice(&self) -> &[Segment] {
        // SAFETY: By the type invariant that many elements are initialised.
        unsafe { core::slice::from_raw_parts(self.segments.as_ptr().cast(), self.len) }
    }
}
