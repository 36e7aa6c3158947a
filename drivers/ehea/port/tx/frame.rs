// SPDX-License-Identifier: GPL-2.0

//! Frames to be sent, as work requests describe them.

use crate::{
    abi::wqe::SwqeFormat,
    kernel_ext::net::skbuff::{
        Gso,
        SkBuff, //
    },
    port::counters::QueueCounters,
    queue::{
        self,
        Frame,
        OpenChecksum,
        OpenSegmentation,
        OutOfSlot,
        Packet,
        Slot,
        Unsendable, //
    }, //
};
use kernel::prelude::*;

impl Packet for SkBuff {
    #[inline]
    fn frame_len(&self) -> u32 {
        self.len()
    }

    #[inline]
    fn linear(&self) -> &[u8] {
        self.linear()
    }

    #[inline]
    fn vlan(&self) -> Option<u16> {
        self.vlan()
    }

    #[inline]
    fn network_offset(&self) -> u16 {
        self.network_offset()
    }

    #[inline]
    fn open_checksum(&self) -> Option<OpenChecksum> {
        let partial = self.partial_checksum()?;
        Some(OpenChecksum {
            start: partial.start,
            field: partial.offset,
        })
    }
}

/// Returns the segmentation that is left open.
#[cold]
fn segmentation(gso: Gso) -> OpenSegmentation {
    OpenSegmentation {
        mss: gso.size,
        tcp_v4: gso.tcp_v4 && !gso.other,
    }
}

/// Checks whether the adapter can segment a frame, of a port that sends packets of up to `max_mtu`
/// bytes. The stack has to segment the others.
pub(crate) fn can_segment(skb: &SkBuff, gso: Gso, max_mtu: u32) -> bool {
    queue::can_segment(skb, segmentation(gso), max_mtu)
}

/// Checks whether a frame is so short that it is sent as immediate data, for which the adapter
/// reads no memory.
#[inline]
pub(crate) fn is_short(skb: &SkBuff) -> bool {
    skb.len() as usize <= SwqeFormat::IMMEDIATE_MAX && !skb.is_gso()
}

/// Describes a frame, with what [`SkBuff::gso`] says, for a port that sends packets of up to
/// `max_mtu` bytes.
///
/// # Errors
///
/// [`Unsendable`]: [`fill_checksum`] has to be called first, or the frame cannot be sent.
#[inline(always)]
pub(crate) fn describe(
    skb: &SkBuff,
    gso: Option<Gso>,
    max_mtu: u32,
) -> core::result::Result<Frame, Unsendable> {
    queue::describe(skb, gso.map(segmentation), max_mtu)
}

/// Fills in the open checksum of a frame, which the adapter cannot.
///
/// # Errors
///
/// There is no memory, or what the sender says of the checksum is wrong.
#[cold]
pub(crate) fn fill_checksum(skb: &mut SkBuff, counters: &QueueCounters) -> kernel::error::Result {
    skb.checksum_help()?;
    if skb.partial_checksum().is_some() {
        return Err(EINVAL);
    }
    counters.tx_csum_software.inc();
    Ok(())
}

/// Makes a frame linear that has too many fragments for a work request.
#[cold]
pub(crate) fn linearize(skb: &mut SkBuff, counters: &QueueCounters) -> kernel::error::Result {
    skb.linearize()?;
    counters.tx_linearized.inc();
    Ok(())
}

/// Copies the first `len` bytes of a frame to a slot.
#[inline(always)]
pub(crate) fn copy_to_slot(
    skb: &SkBuff,
    slot: &mut impl Slot,
    offset: usize,
    len: usize,
) -> core::result::Result<(), OutOfSlot> {
    match skb.linear().get(..len) {
        Some(bytes) => slot.write(offset, bytes),
        None => copy_pieces_to_slot(skb, slot, offset, len),
    }
}

#[cold]
fn copy_pieces_to_slot(
    skb: &SkBuff,
    slot: &mut impl Slot,
    offset: usize,
    len: usize,
) -> core::result::Result<(), OutOfSlot> {
    let mut buffer = [0; SwqeFormat::IMMEDIATE_MAX];
    let bytes = buffer.get_mut(..len).ok_or(OutOfSlot)?;
    skb.copy_bits(0, bytes).map_err(|_| OutOfSlot)?;
    slot.write(offset, bytes)
}
