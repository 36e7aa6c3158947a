// SPDX-License-Identifier: GPL-2.0

//! Transmission.
//!
//! A transmit queue has two sides. The [`Sender`] posts frames; it is protected by the lock of the
//! transmit queue. The [`Completer`] takes note of what was sent; it belongs to the NAPI instance.
//! They share the [`SendRing`].

use super::{
    bounce::BouncePool,
    rings::CompletionRing,
    Port,
    PortOperations,
    QueueCounters, //
};
use crate::{
    abi::wqe::SwqeFormat,
    adapter::Map,
    firmware::{
        CqRegisters,
        QpRegisters,
        Result, //
    },
    kernel_ext::{
        net::{
            napi::PollContext,
            queue::TxQueue,
            skbuff::{
                PartialChecksum,
                SkBuff,
                SkbSlot,
                TxInfo, //
            },
            NetDevice,
            Transmit, //
        },
        page::QueueMemory, //
    },
    queue::{
        write_swqe,
        CompletionReader,
        Frame,
        OutOfSlot,
        Segment,
        SendCompleter,
        SendError,
        SendPoster,
        SendTicket,
        Slot,
        SwqeError,
        TxChecksum,
        WorkQueue,
        MAX_SEGMENTS,
        STOP_BELOW, //
    },
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        barrier,
        Arc, //
    }, //
};

const ETH_P_IP: u16 = 0x0800;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;

/// What is known of the frame in a slot of the send queue. Written before the frame is posted, read
/// after it was completed.
struct SendSlot {
    /// The buffer, if the adapter reads from it.
    skb: SkbSlot,
    /// Bytes posted until now, with this frame.
    bytes: Atomic<u64>,
    /// Whether the frame is in a bounce slot.
    bounced: Atomic<bool>,
}

/// What both sides of a send queue share.
pub(super) struct SendRing {
    slots: KVec<SendSlot>,
    capacity: u32,
    wake_from: u32,
    /// Frames posted, written by the sender.
    posted: Atomic<u32>,
    /// Frames completed, written by the completer.
    completed: Atomic<u32>,
    /// Bounce slots given back, written by the completer.
    bounces_returned: Atomic<u32>,
    /// The queue pair pauses: completions don't wake the transmit queue.
    paused: Atomic<bool>,
}

impl SendRing {
    pub(super) fn new(queue: &WorkQueue) -> Result<Self> {
        let mut slots = KVec::with_capacity(queue.slots(), GFP_KERNEL)?;
        for _ in 0..queue.slots() {
            let slot = SendSlot {
                skb: SkbSlot::new(),
                bytes: Atomic::new(0),
                bounced: Atomic::new(false),
            };
            slots.push(slot, GFP_KERNEL)?;
        }
        Ok(Self {
            slots,
            capacity: queue.send_capacity(),
            wake_from: SendPoster::new(queue).wake_from(),
            posted: Atomic::new(0),
            completed: Atomic::new(0),
            bounces_returned: Atomic::new(0),
            paused: Atomic::new(false),
        })
    }

    /// Whether a stopped transmit queue has room enough to be woken.
    fn has_room(&self) -> bool {
        let posted = self.posted.load(Relaxed);
        let in_flight = posted.wrapping_sub(self.completed.load(Relaxed));
        self.capacity.saturating_sub(in_flight) >= self.wake_from
    }

    /// Sets whether the queue pair pauses.
    pub(super) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Relaxed);
    }
}

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
    /// Bytes posted.
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
    bounced: bool,
}

/// Why a frame can't be written.
enum Refused {
    /// There is no slot in the send queue, or no bounce slot; try again after a completion.
    NoRoom,
    /// The frame can't be sent at all.
    Bad,
}

/// What the sender has to know about a frame.
struct Outgoing {
    skb: SkBuff,
    info: TxInfo,
    frame: Frame,
    /// Where the first memory that isn't mapped is, if there is some.
    missed: Option<u64>,
}

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

impl Outgoing {
    /// Looks at the frame, and does what the adapter can't: checksums other than those of IPv4,
    /// more fragments than fit a work request.
    fn new(mut skb: SkBuff, counters: &QueueCounters) -> kernel::error::Result<Self> {
        let mut info = skb.describe();
        let checksum = match info.checksum() {
            None => TxChecksum::None,
            Some(partial) => match offload(&info, &partial) {
                Some(checksum) => checksum,
                None => {
                    skb.checksum_help()?;
                    info = skb.describe();
                    TxChecksum::None
                }
            },
        };
        let mut frame = Frame {
            len: info.len(),
            linear_len: info.linear_len(),
            checksum,
            vlan: info.vlan(),
        };
        let segments = info.segments().len();
        if !frame.is_immediate() && !(1..=MAX_SEGMENTS).contains(&segments) {
            skb.linearize()?;
            counters.tx_linearized.inc();
            info = skb.describe();
            frame.linear_len = info.linear_len();
        }
        Ok(Self {
            skb,
            info,
            frame,
            missed: None,
        })
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
        self.poster.is_idle(self.ring.completed.load(Acquire))
    }

    /// Slots that are free in the send queue.
    fn free(&self) -> u32 {
        self.poster.free(self.ring.completed.load(Relaxed))
    }

    /// Whether a frame can be sent that was refused for want of room.
    fn has_room(&self, bounce: bool) -> bool {
        let returned = self.ring.bounces_returned.load(Relaxed);
        self.free() >= self.poster.wake_from()
            && (!bounce || BouncePool::has_free(self.bounces_taken, returned))
    }

    /// Writes the work request of a frame, with a completion if `signal`.
    #[inline]
    fn write(&self, out: &mut Outgoing, signal: bool) -> core::result::Result<Written, Refused> {
        let completed = self.ring.completed.load(Acquire);
        let ticket = self
            .poster
            .reserve(completed, out.frame.is_immediate(), signal)
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
            Ok(()) => Ok(Written {
                ticket,
                bounced: false,
            }),
            Err(SwqeError::NotMapped(segment)) => {
                out.missed = Some(segment.address);
                self.write_bounced(out, ticket)
            }
            Err(_) => Err(Refused::Bad),
        }
    }

    /// Writes the work request of a frame that is copied to a bounce slot.
    #[cold]
    fn write_bounced(
        &self,
        out: &Outgoing,
        ticket: SendTicket,
    ) -> core::result::Result<Written, Refused> {
        let returned = self.ring.bounces_returned.load(Acquire);
        if !BouncePool::has_free(self.bounces_taken, returned) {
            return Err(Refused::NoRoom);
        }
        let segment = self
            .bounce
            .copy(self.bounces_taken, &out.skb, out.frame.len)
            .ok_or(Refused::Bad)?;
        let mut slot = self.memory.entry(ticket.slot).ok_or(Refused::Bad)?;
        write_swqe(
            &mut slot,
            &ticket,
            &out.frame,
            self.key,
            [segment],
            |address, len| self.map.translate(address, len),
            |slot, offset, len| copy_to_slot(&out.skb, slot, offset, len),
        )
        .map_err(|_| Refused::Bad)?;
        Ok(Written {
            ticket,
            bounced: true,
        })
    }

    /// Posts a frame that was written, and announces it, and those before it, if `kick`.
    #[inline]
    fn post(&mut self, written: Written, out: Outgoing, kick: bool) {
        self.bytes = self.bytes.wrapping_add(out.frame.len.into());
        if let Some(slot) = self.ring.slots.get(written.ticket.slot) {
            slot.bytes.store(self.bytes, Relaxed);
            slot.bounced.store(written.bounced, Relaxed);
            if written.bounced || out.frame.is_immediate() {
                out.skb.consume();
            } else {
                // The slot is empty, as its last frame is completed.
                drop(slot.skb.put(out.skb));
            }
        }
        if written.bounced {
            self.bounces_taken = self.bounces_taken.wrapping_add(1);
        }
        self.poster.post(&written.ticket);
        // Pairs with the completer, which reads the slot after this counter.
        self.ring.posted.store(self.poster.posted(), Release);
        self.unannounced = self.unannounced.saturating_add(1);
        if kick {
            self.announce();
        }
    }

    /// Tells the adapter of frames that it doesn't know of yet.
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
        skb: SkBuff,
    ) -> Transmit {
        let Some(queue) = self.queues.get(usize::from(txq.index())) else {
            return Transmit::Ok;
        };
        let counters = &*queue.counters;
        let Ok(mut out) = Outgoing::new(skb, counters) else {
            counters.tx_dropped.inc();
            self.announce(txq);
            return Transmit::Ok;
        };

        // Without another frame behind it, this one must be completed.
        let signal = !txq.more_to_come();
        let written = match queue.sender.get(txq) {
            Some(Some(sender)) if !sender.paused => sender.write(&mut out, signal),
            Some(Some(_)) => Err(Refused::NoRoom),
            // The port is closed.
            _ => Err(Refused::Bad),
        };
        if let Some(address) = out.missed {
            counters.tx_translation_misses.inc();
            self.adapter.report_miss(dev, address);
        }
        let mut written = match written {
            Ok(written) => written,
            Err(Refused::NoRoom) => return self.refuse(txq, out),
            Err(Refused::Bad) => {
                counters.tx_dropped.inc();
                self.announce(txq);
                return Transmit::Ok;
            }
        };

        let kick = txq.sent(&out.skb);
        let Some(Some(sender)) = queue.sender.get(txq) else {
            return Transmit::Ok;
        };
        if kick && !written.ticket.signalled {
            // The byte limit stops the queue, hence somebody has to start it again.
            if let Ok(again) = sender.write(&mut out, true) {
                written = again;
            }
        }
        if written.bounced {
            counters.tx_bounced.inc();
        }
        sender.post(written, out, kick);
        if sender.free() < STOP_BELOW {
            self.stop(txq, counters, false);
        }
        Transmit::Ok
    }

    /// Stops the queue, unless there is room again; returns whether it is stopped.
    #[cold]
    fn stop(&self, txq: &mut TxQueue<'_>, counters: &QueueCounters, bounce: bool) -> bool {
        txq.stop();
        // Pairs with the barrier in `tx_completed()`: either room that a completion has made is
        // seen here, or that completion sees the queue stopped and wakes it.
        barrier::smp_mb(barrier::Full);
        let queue = self.queues.get(usize::from(txq.index()));
        let sender = queue.and_then(|queue| queue.sender.get(txq));
        if let Some(Some(sender)) = sender {
            if !sender.paused && sender.has_room(bounce) {
                txq.start();
                return false;
            }
        }
        counters.tx_stopped.inc();
        true
    }

    /// Gives a frame back to the stack for which there is no room now.
    #[cold]
    fn refuse(&self, txq: &mut TxQueue<'_>, out: Outgoing) -> Transmit {
        self.announce(txq);
        if let Some(queue) = self.queues.get(usize::from(txq.index())) {
            self.stop(txq, &queue.counters, out.missed.is_some());
        }
        Transmit::Busy(out.skb)
    }

    /// Announces what was posted and not announced, because no other frame does.
    #[cold]
    fn announce(&self, txq: &mut TxQueue<'_>) {
        if let Some(queue) = self.queues.get(usize::from(txq.index())) {
            if let Some(Some(sender)) = queue.sender.get(txq) {
                sender.announce();
            }
        }
    }
}

/// The completing side of a transmit queue.
pub(super) struct Completer {
    completer: SendCompleter,
    reader: CompletionReader,
    completions: CompletionRing,
    registers: Arc<CqRegisters>,
    ring: Arc<SendRing>,
    counters: Arc<QueueCounters>,
    /// The number of the transmit queue.
    queue: u16,
    /// Bytes completed.
    bytes: u64,
}

impl Completer {
    pub(super) fn new(
        queue: &WorkQueue,
        index: u16,
        memory: Arc<QueueMemory>,
        registers: Arc<CqRegisters>,
        ring: Arc<SendRing>,
        counters: Arc<QueueCounters>,
    ) -> Self {
        Self {
            completer: SendCompleter::new(queue),
            reader: CompletionReader::new(memory.entries()),
            completions: CompletionRing(memory),
            registers,
            ring,
            counters,
            queue: index,
            bytes: 0,
        }
    }

    /// Handles all completions that there are.
    ///
    /// # Errors
    ///
    /// The queue pair can't be used any more.
    pub(super) fn poll(&mut self, ctx: &PollContext<'_>) -> core::result::Result<(), SendError> {
        let before = (self.completer.completed(), self.bytes);
        let mut consumed = 0;
        let mut result = Ok(());
        while let Some((_, cqe)) = self.reader.next(&self.completions) {
            consumed += 1;
            // Pairs with the sender, which fills in the slot before it counts the frame.
            let posted = self.ring.posted.load(Acquire);
            let completion = match self.completer.complete(&cqe, posted) {
                Ok(completion) => completion,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            };
            if completion.error.is_some() {
                self.counters.tx_errors.inc();
            }
            let Some(slot) = self.ring.slots.get(completion.slot) else {
                continue;
            };
            self.bytes = slot.bytes.load(Relaxed);
            if completion.immediate {
                continue;
            }
            if slot.bounced.load(Relaxed) {
                let returned = self.ring.bounces_returned.load(Relaxed);
                self.ring
                    .bounces_returned
                    .store(returned.wrapping_add(1), Release);
            } else if let Some(skb) = slot.skb.take() {
                ctx.consume(skb);
            }
        }
        if consumed == 0 {
            return result;
        }

        self.registers.consumed(consumed);
        let completed = self.completer.completed();
        // Pairs with the sender, which reuses the slots.
        self.ring.completed.store(completed, Release);

        let packets = completed.wrapping_sub(before.0);
        let bytes = self.bytes.wrapping_sub(before.1);
        self.counters.tx_packets.add(packets.into());
        self.counters.tx_bytes.add(bytes);
        let may_wake = !self.ring.paused.load(Relaxed) && self.ring.has_room();
        // CAST: Fewer bytes than a send queue of the longest frames has.
        ctx.device()
            .tx_completed(self.queue, packets, bytes as u32, may_wake);
        result
    }

    /// Arms the interrupt; returns whether there is a completion.
    pub(super) fn rearm(&mut self) -> bool {
        self.registers.arm();
        self.reader.has_next(&self.completions)
    }
}
