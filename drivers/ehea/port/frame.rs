// SPDX-License-Identifier: GPL-2.0

//! Frames to be sent, as work requests describe them.

use super::QueueCounters;
use crate::{
    abi::wqe::SwqeFormat,
    kernel_ext::net::skbuff::{
        Gso,
        PartialChecksum,
        SkBuff,
        TxInfo, //
    },
    queue::{
        Frame,
        OutOfSlot,
        Slot,
        Tso,
        TxChecksum,
        MAX_SEGMENTS, //
    }, //
};
use kernel::prelude::*;

const ETH_P_IP: u16 = 0x0800;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;

/// Frames of up to that many bytes are copied to their work request.
// CAST: 224.
pub(super) const COPIED: u32 = SwqeFormat::IMMEDIATE_MAX as u32;

/// The checksums that the adapter is to fill in; none if it can't.
fn offload(info: &TxInfo, partial: &PartialChecksum) -> Option<TxChecksum> {
    let capable = info.protocol() == ETH_P_IP
        && matches!(info.ip_protocol(), IPPROTO_TCP | IPPROTO_UDP)
        && !info.is_fragment();
    if !capable {
        return None;
    }
    TxChecksum::ipv4(
        info.network_offset().into(),
        partial.start.into(),
        partial.offset.into(),
    )
}

/// How the adapter is to segment a frame that the stack wants segmented.
///
/// # Errors
///
/// `EINVAL` if it can't be told. The stack asks only for what the device offers, and headers of TCP
/// over IPv4 always fit: this is about frames that were made by somebody else.
#[cold]
fn segmentation(info: &TxInfo, gso: &Gso, checksum: TxChecksum) -> kernel::error::Result<Tso> {
    if !gso.tcp_v4 || gso.other || checksum == TxChecksum::None {
        return Err(EINVAL);
    }
    Tso::new(gso.size, gso.header_len, info.len()).ok_or(EINVAL)
}

/// Does what the adapter can't: checksums other than those of IPv4, more fragments than fit a work
/// request. `info` describes the frame, before and after.
#[inline]
pub(super) fn prepare(
    skb: &mut SkBuff,
    info: &mut TxInfo,
    counters: &QueueCounters,
) -> kernel::error::Result<Frame> {
    let checksum = match info.checksum() {
        None => TxChecksum::None,
        Some(partial) => match offload(info, &partial) {
            Some(checksum) => checksum,
            None => {
                skb.checksum_help()?;
                *info = skb.describe(COPIED);
                TxChecksum::None
            }
        },
    };
    let tso = match info.gso() {
        None => None,
        Some(gso) => Some(segmentation(info, &gso, checksum)?),
    };
    let mut frame = Frame {
        len: info.len(),
        linear_len: info.linear_len(),
        checksum,
        tso,
        vlan: info.vlan(),
    };
    if !frame.is_immediate() && !(1..=MAX_SEGMENTS).contains(&info.segments().len()) {
        skb.linearize()?;
        counters.tx_linearized.inc();
        *info = skb.describe(COPIED);
        frame.linear_len = info.linear_len();
    }
    Ok(frame)
}

/// Frames on the wire, and bytes in them, that a frame to be sent makes.
#[inline]
pub(super) fn on_the_wire(info: &TxInfo) -> (u64, u64) {
    let len = info.len().into();
    match info.gso() {
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
#[inline]
pub(super) fn copy_to_slot(
    skb: &SkBuff,
    slot: &mut impl Slot,
    offset: usize,
    len: usize,
) -> core::result::Result<(), OutOfSlot> {
    if let Some(bytes) = skb.linear().get(..len) {
        return slot.write(offset, bytes);
    }
    let mut buffer = [0; SwqeFormat::IMMEDIATE_MAX];
    let bytes = buffer.get_mut(..len).ok_or(OutOfSlot)?;
    skb.copy_bits(0, bytes).map_err(|_| OutOfSlot)?;
    slot.write(offset, bytes)
}
