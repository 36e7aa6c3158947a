// SPDX-License-Identifier: GPL-2.0

//! Transmission: the posting side of a transmit queue. The other side is in
//! [`complete`](super::complete).

use super::{
    bounce::BouncePool,
    complete::SendRing,
    Port,
    PortOperations,
    QueueCounters, //
};
use crate::{
    abi::wqe::SwqeFormat,
    adapter::Map,
    firmware::QpRegisters,
    kernel_ext::{
        net::{
            queue::TxQueue,
            skbuff::{
                Gso,
                PartialChecksum,
                SkBuff,
                TxInfo, //
            },
            NetDevice,
            Transmit, //
        },
        page::QueueMemory, //
    },
    queue::{
        stop_unless,
        write_swqe,
        Frame,
        OutOfSlot,
        Segment,
        SendPoster,
        SendTicket,
        Slot,
        SwqeError,
        Tso,
        TxChecksum,
        WorkQueue,
        MAX_SEGMENTS,
        STOP_BELOW, //
    },
};
use core::sync::atomic::Ordering::Relaxed;
use kernel::{
    prelude::*,
    sync::Arc, //
};

const ETH_P_IP: u16 = 0x0800;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;

/// The posting side of a transmit queue.
pub(super) struct Sender {
    poster: SendPoster,
    ring: Arc<SendRing>,
    memory: Arc<QueueMemory>,
    registers: Arc<QpRegisters>,
    /// The memory map that work requests refer to, and the key that names it.
    map: Arc<Map>,
    key: u32,
    bounce: Arc<BouncePool>,
    /// Bounce slots taken.
    bounces_taken: u32,
    /// Bytes posted that the adapter reads, and whose completion the stack waits for.
    bytes: u64,
    /// Frames posted that the adapter doesn't know of yet.
    unannounced: u16,
    /// Nothing is sent, because the queue pair pauses.
    paused: bool,
}

/// A frame that is written to its slot and not posted.
#[derive(Clone, Copy)]
struct Written {
    ticket: SendTicket,
    /// Bounce slots that it takes.
    bounces: u8,
}

/// Why a frame can't be written.
enum Refused {
    /// There is no slot in the send queue, or no bounce slot; try again after a completion.
    NoRoom,
    /// The frame can't be sent at all.
    Bad,
}

/// What the sender has to know about a frame. The description stays where it is: it is too large to
/// be moved about.
struct Outgoing<'a> {
    skb: SkBuff,
    info: &'a TxInfo,
    frame: Frame,
    /// Where the first memory that isn't mapped is, if there is some.
    missed: Option<u64>,
}

/// Frames of up to that many bytes are copied to their work request.
// CAST: 224.
const COPIED: u32 = SwqeFormat::IMMEDIATE_MAX as u32;

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
fn prepare(
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
fn on_the_wire(info: &TxInfo) -> (u64, u64) {
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
fn copy_to_slot(
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

impl Sender {
    pub(super) fn new(
        queue: &WorkQueue,
        ring: Arc<SendRing>,
        memory: Arc<QueueMemory>,
        registers: Arc<QpRegisters>,
        bounce: Arc<BouncePool>,
        map: Arc<Map>,
        key: u32,
    ) -> Self {
        Self {
            poster: SendPoster::new(queue),
            ring,
            memory,
            registers,
            map,
            key,
            bounce,
            bounces_taken: 0,
            bytes: 0,
            unannounced: 0,
            paused: false,
        }
    }

    /// Has the sender use another memory map; returns what is not needed any more. The queue pair
    /// must pause, and the sender be idle.
    pub(super) fn exchange(
        &mut self,
        map: Arc<Map>,
        key: u32,
        bounce: Arc<BouncePool>,
    ) -> (Arc<Map>, Arc<BouncePool>) {
        self.key = key;
        (
            core::mem::replace(&mut self.map, map),
            core::mem::replace(&mut self.bounce, bounce),
        )
    }

    /// Sends nothing any more, or goes on.
    pub(super) fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Whether the adapter is done with all frames that are in the memory region.
    pub(super) fn is_idle(&self) -> bool {
        self.poster.is_idle(self.ring.progress.completed())
    }

    /// Slots that are free in the send queue.
    fn free(&self) -> u32 {
        self.poster.free(self.ring.progress.completed_count())
    }

    /// Whether a frame can be sent that was refused for want of room; it needs that many bounce
    /// slots.
    fn has_room(&self, bounces: u8) -> bool {
        let returned = self.ring.progress.bounces_returned();
        self.free() >= self.poster.wake_from()
            && BouncePool::has_free(self.bounces_taken, returned, bounces)
    }

    /// Writes the work request of a frame.
    #[inline]
    fn write(&self, out: &mut Outgoing<'_>) -> core::result::Result<Written, Refused> {
        if self.paused {
            return Err(Refused::NoRoom);
        }
        let completed = self.ring.progress.completed();
        let ticket = self
            .poster
            .reserve(completed, out.frame.is_immediate())
            .ok_or(Refused::NoRoom)?;
        let mut slot = self.memory.entry(ticket.slot).ok_or(Refused::Bad)?;
        let skb = &out.skb;
        let result = write_swqe(
            &mut slot,
            &ticket,
            &out.frame,
            self.key,
            out.info.segments().iter().map(|segment| Segment {
                address: segment.address(),
                len: segment.len(),
            }),
            |address, len| self.map.translate(address, len),
            |slot, offset, len| copy_to_slot(skb, slot, offset, len),
        );
        match result {
            Ok(()) => Ok(Written { ticket, bounces: 0 }),
            Err(SwqeError::NotMapped(segment)) => {
                out.missed = Some(segment.address);
                self.write_bounced(out, ticket)
            }
            Err(_) => Err(Refused::Bad),
        }
    }

    /// Writes the work request of a frame that is copied to bounce slots.
    #[cold]
    fn write_bounced(
        &self,
        out: &Outgoing<'_>,
        ticket: SendTicket,
    ) -> core::result::Result<Written, Refused> {
        let (taken, len) = (self.bounces_taken, out.frame.len);
        let bounces = BouncePool::slots(len).ok_or(Refused::Bad)?;
        let returned = self.ring.progress.bounces_returned();
        if !BouncePool::has_free(taken, returned, bounces) {
            return Err(Refused::NoRoom);
        }
        self.bounce.copy(taken, &out.skb, len).ok_or(Refused::Bad)?;
        let mut slot = self.memory.entry(ticket.slot).ok_or(Refused::Bad)?;
        write_swqe(
            &mut slot,
            &ticket,
            &out.frame,
            self.key,
            self.bounce.segments(taken, len),
            |address, len| self.map.translate(address, len),
            |slot, offset, len| copy_to_slot(&out.skb, slot, offset, len),
        )
        .map_err(|_| Refused::Bad)?;
        Ok(Written { ticket, bounces })
    }

    /// Posts a frame that was written, and announces it, and those before it, if the stack has no
    /// more for now.
    #[inline]
    fn post(&mut self, txq: &TxQueue<'_>, written: Written, out: Outgoing<'_>) {
        let kick = if out.frame.is_immediate() {
            txq.copied(out.skb)
        } else {
            self.keep(txq, &written, out)
        };
        self.poster.post(&written.ticket);
        // The completer reads the slot after this.
        self.ring.progress.set_posted(self.poster.posted());
        self.unannounced = self.unannounced.saturating_add(1);
        if kick {
            self.announce();
        }
    }

    /// Takes note, for its completion, of a frame that the adapter reads; returns whether it must
    /// be announced now.
    #[inline]
    fn keep(&mut self, txq: &TxQueue<'_>, written: &Written, out: Outgoing<'_>) -> bool {
        let kick = txq.sent(&out.skb);
        self.bytes = self.bytes.wrapping_add(out.frame.len.into());
        self.bounces_taken = self.bounces_taken.wrapping_add(written.bounces.into());
        if let Some(slot) = self.ring.slots.get(written.ticket.slot) {
            slot.bytes.store(self.bytes, Relaxed);
            slot.bounces.store(written.bounces, Relaxed);
            if written.bounces > 0 {
                out.skb.consume();
            } else {
                // The slot is empty, as its last frame is completed.
                drop(slot.skb.put(out.skb));
            }
        }
        kick
    }

    /// Tells the adapter of frames that it doesn't know of yet.
    #[inline]
    fn announce(&mut self) {
        if self.unannounced > 0 {
            self.registers.add_send(self.unannounced);
            self.unannounced = 0;
        }
    }
}

impl Port {
    /// Sends a frame.
    #[inline]
    pub(super) fn transmit(
        &self,
        dev: &NetDevice<PortOperations>,
        txq: &mut TxQueue<'_>,
        mut skb: SkBuff,
    ) -> Transmit {
        let Some(queue) = self.queues.get(usize::from(txq.index())) else {
            return Transmit::Ok;
        };
        let counters = &*queue.counters;
        let Some((Some(sender), locked)) = queue.sender.get_with(txq) else {
            // The port is closed.
            counters.tx_dropped.inc();
            return Transmit::Ok;
        };
        let mut info = skb.describe(COPIED);
        let Ok(frame) = prepare(&mut skb, &mut info, counters) else {
            counters.tx_dropped.inc();
            sender.announce();
            return Transmit::Ok;
        };
        let mut out = Outgoing {
            skb,
            info: &info,
            frame,
            missed: None,
        };

        let written = sender.write(&mut out);
        if let Some(address) = out.missed {
            counters.tx_translation_misses.inc();
            self.adapter.report_miss(dev, address);
        }
        let written = match written {
            Ok(written) => written,
            Err(Refused::NoRoom) => {
                sender.announce();
                return self.refuse(txq, out);
            }
            Err(Refused::Bad) => {
                counters.tx_dropped.inc();
                sender.announce();
                return Transmit::Ok;
            }
        };
        if written.bounces > 0 {
            counters.tx_bounced.inc();
        }
        let (frames, bytes) = on_the_wire(&info);
        counters.tx_packets.add(frames);
        counters.tx_bytes.add(bytes);
        sender.post(locked, written, out);
        if sender.free() < STOP_BELOW {
            // The stack keeps the frames that it said would follow.
            sender.announce();
            self.stop(txq, counters, 0);
        }
        Transmit::Ok
    }

    /// Stops the queue, unless there is room again, with that many bounce slots.
    #[cold]
    fn stop(&self, txq: &mut TxQueue<'_>, counters: &QueueCounters, bounces: u8) {
        let has_room = |txq: &mut TxQueue<'_>| {
            let queue = self.queues.get(usize::from(txq.index()));
            let sender = queue.and_then(|queue| queue.sender.get(txq));
            matches!(sender, Some(Some(sender)) if !sender.paused && sender.has_room(bounces))
        };
        // The counterpart is in `tx_completed()`.
        if stop_unless(txq, |txq| txq.stop(), has_room, |txq| txq.start()) {
            counters.tx_stopped.inc();
        }
    }

    /// Gives a frame back to the stack for which there is no room now.
    #[cold]
    fn refuse(&self, txq: &mut TxQueue<'_>, out: Outgoing<'_>) -> Transmit {
        if let Some(queue) = self.queues.get(usize::from(txq.index())) {
            let bounces = out.missed.and_then(|_| BouncePool::slots(out.frame.len));
            self.stop(txq, &queue.counters, bounces.unwrap_or(0));
        }
        Transmit::Busy(out.skb)
    }
}
