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

/// Checks whether the adapter can segment a frame, of a port that sends frames of up to `longest`
/// bytes. The stack has to segment the others.
pub(crate) fn can_segment(skb: &SkBuff, gso: Gso, longest: u32) -> bool {
    queue::can_segment(skb, segmentation(gso), longest)
}

/// Checks whether a frame is so short that it is sent as immediate data, for which the adapter
/// reads no memory.
#[inline]
pub(crate) fn is_short(skb: &SkBuff) -> bool {
    skb.len() as usize <= SwqeFormat::IMMEDIATE_MAX && !skb.is_gso()
}

/// Describes a frame, with what [`SkBuff::gso`] says, for a port that sends frames of up to `longest`
/// bytes. Fills in the checksums that the adapter cannot.
///
/// # Errors
///
/// The frame cannot be sent, or there was no memory to fill in its checksum.
#[inline(always)]
pub(crate) fn describe(
    skb: &mut SkBuff,
    gso: Option<Gso>,
    longest: u32,
    counters: &QueueCounters,
) -> kernel::error::Result<Frame> {
    match queue::describe(skb, gso.map(segmentation), longest) {
        Ok(frame) => Ok(frame),
        Err(why) => describe_mended(skb, why, longest, counters),
    }
}

/// [`describe`] for a frame that could not be sent as it was.
#[cold]
fn describe_mended(
    skb: &mut SkBuff,
    why: Unsendable,
    longest: u32,
    counters: &QueueCounters,
) -> kernel::error::Result<Frame> {
    if why == Unsendable::Never {
        return Err(EMSGSIZE);
    }
    skb.checksum_help()?;
    counters.tx_csum_software.inc();
    queue::describe(skb, None, longest).map_err(|_| EINVAL)
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
