// SPDX-License-Identifier: GPL-2.0

//! Transmission: the posting side of a transmit queue. The other side is in
//! [`complete`](super::complete).

use super::{
    bounce::BouncePool,
    buffers::Mapping,
    complete::{
        Extra,
        SendRing, //
    },
    entitlement::SendAccess,
    frame::{
        copy_to_slot,
        on_the_wire,
        prepare,
        COPIED, //
    },
    Port,
    PortOperations,
    QueueCounters, //
};
use crate::{
    adapter::{
        AdapterAddress,
        Map, //
    },
    firmware::QpRegisters,
    kernel_ext::{
        dma::Unrestricted,
        net::{
            queue::TxQueue,
            skbuff::{
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
        SwqeError,
        WorkQueue,
        STOP_BELOW, //
    },
    trace::Direction, //
};
use core::sync::atomic::Ordering::Relaxed;
use kernel::sync::Arc;

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
    /// The right to send from any memory; none while the queue pair pauses, nor in a CMO partition.
    direct: Option<Unrestricted>,
    /// How the adapter gets at frames.
    access: SendAccess,
    /// Nothing is sent, because the queue pair pauses.
    paused: bool,
}

/// A frame that is written to its slot and not posted.
#[derive(Clone, Copy)]
struct Written {
    ticket: SendTicket,
    /// What it takes besides its buffer.
    extra: Extra,
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
    detour: Detour,
}

/// Why a frame must go through bounce slots.
#[derive(Clone, Copy)]
enum Detour {
    /// It needn't.
    None,
    /// It has memory that isn't in the memory map, here.
    Missed(u64),
    /// It can't be charged.
    NotCharged,
}

/// Writes the work request of a frame to its slot; `translate` gives the adapter addresses.
#[inline]
fn write(
    memory: &QueueMemory,
    ticket: &SendTicket,
    out: &Outgoing<'_>,
    key: u32,
    translate: impl FnMut(u64, u64) -> Option<u64>,
) -> core::result::Result<(), SwqeError> {
    let mut slot = memory.entry(ticket.slot).ok_or(OutOfSlot)?;
    write_swqe(
        &mut slot,
        ticket,
        &out.frame,
        key,
        out.info.segments().iter().map(|segment| Segment {
            address: segment.address(),
            len: segment.len(),
        }),
        translate,
        |slot, offset, len| copy_to_slot(&out.skb, slot, offset, len),
    )
}

impl Sender {
    pub(super) fn new(
        queue: &WorkQueue,
        ring: Arc<SendRing>,
        memory: Arc<QueueMemory>,
        registers: Arc<QpRegisters>,
        bounce: Arc<BouncePool>,
        mapping: Mapping,
        access: SendAccess,
    ) -> Self {
        Self {
            poster: SendPoster::new(queue),
            ring,
            memory,
            registers,
            map: mapping.map,
            key: mapping.key,
            bounce,
            bounces_taken: 0,
            bytes: 0,
            unannounced: 0,
            direct: access.token(),
            access,
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
        self.direct = self.access.token().filter(|_| !paused);
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
            && self.bounce.has_free(self.bounces_taken, returned, bounces)
    }

    /// Writes the work request of a frame.
    #[inline]
    fn write(&mut self, out: &mut Outgoing<'_>) -> core::result::Result<Written, Refused> {
        let Some(token) = self.direct else {
            return self.write_mapped(out);
        };
        let completed = self.ring.progress.completed();
        let ticket = self
            .poster
            .reserve(completed, out.frame.is_immediate())
            .ok_or(Refused::NoRoom)?;
        let map = &*self.map;
        let result = write(&self.memory, &ticket, out, self.key, |address, len| {
            map.adapter_address(token.reach(address, len))
        });
        match result {
            Ok(()) => Ok(Written {
                ticket,
                extra: Extra::NONE,
            }),
            Err(SwqeError::NotMapped(segment)) => {
                out.detour = Detour::Missed(segment.address);
                self.write_bounced(out, ticket)
            }
            Err(_) => Err(Refused::Bad),
        }
    }

    /// Writes the work request of a frame that must be mapped, in a CMO partition. Or of none at all,
    /// while the queue pair pauses.
    #[cold]
    fn write_mapped(&mut self, out: &mut Outgoing<'_>) -> core::result::Result<Written, Refused> {
        let SendAccess::Mapped(mappings) = &mut self.access else {
            return Err(Refused::NoRoom);
        };
        if self.paused {
            return Err(Refused::NoRoom);
        }
        let completed = self.ring.progress.completed();
        let ticket = self
            .poster
            .reserve(completed, out.frame.is_immediate())
            .ok_or(Refused::NoRoom)?;
        let map = &*self.map;
        let mut charged = true;
        let result = write(
            &self.memory,
            &ticket,
            out,
            self.key,
            |address, len| match mappings.map(address, len) {
                Ok(memory) => map.adapter_address(memory),
                Err(_) => {
                    charged = false;
                    None
                }
            },
        );
        match result {
            Ok(()) => {
                // CAST: A work request has at most `MAX_SEGMENTS`.
                let extra = match mappings.commit() as u8 {
                    0 => Extra::NONE,
                    count => Extra::mappings(count),
                };
                Ok(Written { ticket, extra })
            }
            Err(SwqeError::NotMapped(segment)) => {
                mappings.roll_back();
                out.detour = if charged {
                    Detour::Missed(segment.address)
                } else {
                    Detour::NotCharged
                };
                self.write_bounced(out, ticket)
            }
            Err(_) => {
                mappings.roll_back();
                Err(Refused::Bad)
            }
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
        let bounces = self.bounce.slots(len).ok_or(Refused::Bad)?;
        let returned = self.ring.progress.bounces_returned();
        if !self.bounce.has_free(taken, returned, bounces) {
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
            |address, len| {
                let memory = self.bounce.reach(address, len)?;
                self.map.adapter_address(memory)
            },
            |slot, offset, len| copy_to_slot(&out.skb, slot, offset, len),
        )
        .map_err(|_| Refused::Bad)?;
        Ok(Written {
            ticket,
            extra: Extra::bounces(bounces),
        })
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
        if let Some(slot) = self.ring.slots.get(written.ticket.slot) {
            slot.bytes.store(self.bytes, Relaxed);
            slot.extra.store(written.extra.pack(), Relaxed);
            match written.extra.bounce_slots() {
                Some(slots) => {
                    self.bounces_taken = self.bounces_taken.wrapping_add(slots.into());
                    out.skb.consume();
                }
                // The slot is empty, as its last frame is completed.
                None => drop(slot.skb.put(out.skb)),
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
            detour: Detour::None,
        };

        let written = sender.write(&mut out);
        if let Detour::Missed(address) = out.detour {
            counters.tx_translation_misses.inc();
            self.adapter.report_miss(dev, address, Direction::Transmit);
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
        if written.extra.is_some() {
            count_extra(counters, written.extra, out.detour);
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
            let bounces = match (out.detour, queue.sender.get(txq)) {
                (Detour::None, _) | (_, None | Some(None)) => None,
                (detour, Some(Some(sender))) => {
                    if matches!(detour, Detour::NotCharged) {
                        queue.counters.cmo_tx_stalled.inc();
                    }
                    sender.bounce.slots(out.frame.len)
                }
            };
            self.stop(txq, &queue.counters, bounces.unwrap_or(0));
        }
        Transmit::Busy(out.skb)
    }
}

/// Counts what a frame took besides its buffer.
#[cold]
fn count_extra(counters: &QueueCounters, extra: Extra, detour: Detour) {
    match (extra.bounce_slots(), detour) {
        (None, _) => counters.cmo_tx_mapped.add(extra.mapping_count().into()),
        (Some(_), Detour::NotCharged) => counters.cmo_tx_bounced.inc(),
        (Some(_), _) => counters.tx_bounced.inc(),
    }
}
