// SPDX-License-Identifier: GPL-2.0

//! Frames to be sent, as work requests describe them.

use crate::{
    abi::wqe::SwqeFormat,
    kernel_ext::net::skbuff::{
        Gso,
        PartialChecksum,
        SkBuff, //
    },
    port::counters::QueueCounters,
    queue::{
        Frame,
        OutOfSlot,
        Slot,
        Tso,
        TxChecksum, //
    }, //
};
use kernel::prelude::*;

const ETH_P_IP: u16 = 0x0800;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;

/// Returns the checksums that the adapter is to fill in. Fills in those that the adapter cannot.
#[inline]
fn checksum(skb: &mut SkBuff, partial: &PartialChecksum) -> kernel::error::Result<TxChecksum> {
    let packet = skb.ip();
    let capable = packet.ethertype == ETH_P_IP
        && matches!(packet.protocol, IPPROTO_TCP | IPPROTO_UDP)
        && !packet.is_fragment;
    if capable {
        let described = TxChecksum::ipv4(
            packet.network_offset.into(),
            partial.start.into(),
            partial.offset.into(),
        );
        if let Some(checksum) = described {
            return Ok(checksum);
        }
    }
    skb.checksum_help()?;
    Ok(TxChecksum::None)
}

/// Returns the segmentation that the adapter is to do.
///
/// # Errors
///
/// `EINVAL` if the adapter cannot do it. The stack requests only segmentation that the device
/// offers, and headers of TCP over IPv4 always fit. Frames that others have made may be different.
#[cold]
fn segmentation(skb: &SkBuff, gso: &Gso, checksum: TxChecksum) -> kernel::error::Result<Tso> {
    if !gso.tcp_v4 || gso.other || checksum == TxChecksum::None {
        return Err(EINVAL);
    }
    Tso::new(gso.size, gso.header_len, skb.len()).ok_or(EINVAL)
}

/// Checks whether a frame is so short that it is sent as immediate data, for which the adapter
/// reads no memory.
#[inline]
pub(crate) fn is_short(skb: &SkBuff) -> bool {
    skb.len() as usize <= SwqeFormat::IMMEDIATE_MAX && !skb.is_gso()
}

/// Describes a frame. `gso` is the result of [`SkBuff::gso`]. Fills in the checksums that the
/// adapter cannot fill in, which are those other than of IPv4.
#[inline(always)]
pub(crate) fn describe(skb: &mut SkBuff, gso: Option<Gso>) -> kernel::error::Result<Frame> {
    let checksum = match skb.partial_checksum() {
        None => TxChecksum::None,
        Some(partial) => checksum(skb, &partial)?,
    };
    let tso = match gso {
        None => None,
        Some(gso) => Some(segmentation(skb, &gso, checksum)?),
    };
    Ok(Frame {
        len: skb.len(),
        linear_len: skb.linear_len(),
        checksum,
        tso,
        vlan: skb.vlan(),
    })
}

/// Makes a frame linear that has too many fragments for a work request.
#[cold]
pub(crate) fn linearize(skb: &mut SkBuff, counters: &QueueCounters) -> kernel::error::Result {
    skb.linearize()?;
    counters.tx_linearized.inc();
    Ok(())
}

/// Returns the number of frames on the wire that a frame to be sent makes, and their number of
/// bytes.
#[inline]
pub(crate) fn on_the_wire(skb: &SkBuff) -> (u64, u64) {
    let len = skb.len().into();
    match skb.gso() {
        None => (1, len),
        Some(gso) => {
            let frames = u64::from(gso.segments).max(1);
            let headers = u64::from(gso.header_len);
            // Headers and frames have 16 bits at most.
            (frames, len + (frames - 1) * headers)
        }
    }
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
