// SPDX-License-Identifier: GPL-2.0

//! Posting side of a transmit queue. The other side is in [`complete`](super::complete).

use super::{
    bounce::BouncePool,
    frame::{
        copy_to_slot,
        describe,
        fill_checksum,
        is_short,
        linearize, //
    },
    ring::{
        Extra,
        SendRing, //
    }, //
};
use crate::{
    error::Result,
    firmware::{
        Qp,
        QpRegisters, //
    },
    kernel_ext::{
        dma::{
            QueueMemory,
            Unrestricted, //
        },
        net::{
            self,
            queue::{
                Sending,
                TxQueue,
                TxState, //
            },
            skbuff::{
                self,
                Segments,
                SkBuff, //
            },
            Transmit, //
        }, //
    },
    port::{
        charge::SendAccess,
        counters::QueueCounters, //
    },
    queue::{
        write_immediate,
        write_mixed,
        Frame,
        OutOfSlot,
        Piece,
        SendPoster,
        SendTicket,
        SwqeError,
        Unsendable,
        MAX_SEGMENTS,
        STOP_BELOW, //
    },
    shared::{
        Adapter,
        AdapterAddress,
        Translation, //
    },
    trace::Direction, //
};
use core::sync::atomic::Ordering::Relaxed;
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Pair of a transmit and a receive queue of the network device, open or not.
pub(crate) struct Queue {
    /// Posting side, while the port is open.
    pub(crate) sender: TxState<Sender>,
    pub(crate) counters: Arc<QueueCounters>,
    /// Length in bytes of the longest packet that the port sends.
    max_mtu: u32,
}

impl Queue {
    /// Returns queue `index`, closed, of a port that sends packets of up to `max_mtu` bytes.
    pub(crate) fn new(index: u16, max_mtu: u32) -> Result<Self> {
        Ok(Self {
            max_mtu,
            sender: TxState::new(index),
            counters: Arc::new(QueueCounters::default(), GFP_KERNEL)?,
        })
    }
}

/// Posting side of a transmit queue.
pub(crate) struct Sender {
    poster: SendPoster,
    ring: Arc<SendRing>,
    memory: Arc<QueueMemory>,
    registers: Arc<QpRegisters>,
    /// Map and key for work requests.
    translation: Translation,
    bounce: Arc<BouncePool>,
    /// Number of bounce slots taken.
    bounces_taken: u32,
    /// Number of bytes that were posted for the adapter to read, and for whose completion the stack
    /// waits.
    bytes: u64,
    /// Number of frames that were posted and not announced to the adapter.
    unannounced: u16,
    /// Way in which the adapter reaches frames.
    access: SendAccess,
}

/// Frame that the adapter reads.
#[derive(Clone, Copy)]
struct Outgoing<'a> {
    skb: &'a SkBuff,
    frame: Frame,
    segments: &'a [skbuff::Segment],
}

/// Reason for which the adapter cannot read a frame where it is.
#[derive(Clone, Copy)]
enum Unreadable {
    /// Memory at this address is not in the memory map.
    Missed(u64),
    /// The frame cannot be charged.
    NotCharged,
    /// The frame cannot be sent at all.
    Bad,
}

/// Reason for which a frame is not sent.
enum Refused {
    /// There is no room for the frame, which needs this number of bounce slots. It is sent after a
    /// completion.
    NoRoom(u8),
    /// The frame cannot be sent at all.
    Bad,
}

impl Piece for skbuff::Segment {
    #[inline]
    fn address(&self) -> u64 {
        self.address()
    }

    #[inline]
    fn len(&self) -> u32 {
        self.len()
    }

    #[inline]
    fn without(self, bytes: u32) -> Self {
        self.without(bytes)
    }
}

/// Writes the work request of a frame to its slot. `translate` returns adapter addresses.
#[inline]
fn write<'a>(
    memory: &QueueMemory,
    ticket: &SendTicket,
    (skb, frame): (&SkBuff, &Frame),
    segments: impl IntoIterator<Item = &'a skbuff::Segment>,
    key: u32,
    translate: impl FnMut(&skbuff::Segment) -> Option<u64>,
) -> core::result::Result<(), SwqeError> {
    let mut slot = memory.entry(ticket.slot).ok_or(OutOfSlot)?;
    write_mixed(
        &mut slot,
        ticket,
        frame,
        key,
        segments.into_iter().copied(),
        translate,
        |slot, offset, len| copy_to_slot(skb, slot, offset, len),
    )
}

impl Sender {
    /// Makes the posting side of `qp`.
    pub(crate) fn new(
        qp: &Qp,
        ring: Arc<SendRing>,
        bounce: Arc<BouncePool>,
        translation: Translation,
        access: SendAccess,
    ) -> Self {
        Self {
            poster: SendPoster::new(&qp.geometry().sq),
            ring,
            memory: qp.send_memory().clone(),
            registers: qp.registers().clone(),
            translation,
            bounce,
            bounces_taken: 0,
            bytes: 0,
            unannounced: 0,
            access,
        }
    }

    /// Makes the sender use another memory map. Returns what is not needed any more. The queue pair
    /// must pause, and the sender must be idle.
    pub(crate) fn exchange(
        &mut self,
        translation: Translation,
        bounce: Arc<BouncePool>,
    ) -> (Translation, Arc<BouncePool>) {
        (
            core::mem::replace(&mut self.translation, translation),
            core::mem::replace(&mut self.bounce, bounce),
        )
    }

    /// Checks whether the adapter has completed all frames that it reads.
    pub(crate) fn is_idle(&self) -> bool {
        self.poster.is_idle(self.ring.progress.completed())
    }

    /// Returns the number of free slots in the send queue.
    fn free(&self) -> u32 {
        self.poster.free(self.ring.progress.completed_count())
    }

    /// Checks whether there is room for a frame that needs `bounces` bounce slots.
    fn has_room(&self, bounces: u8) -> bool {
        let returned = self.ring.progress.bounces_returned();
        self.free() >= self.poster.wake_from()
            && self.bounce.has_free(self.bounces_taken, returned, bounces)
    }

    /// Reserves the slot for the next frame. Returns `None` if the send queue is full.
    #[inline]
    fn reserve(&self, immediate: bool) -> Option<SendTicket> {
        let completed = self.ring.progress.completed();
        self.poster.reserve(completed, immediate)
    }

    /// Writes the work request of a frame that is immediate data as a whole.
    #[inline]
    fn write_immediate(
        &self,
        ticket: &SendTicket,
        skb: &SkBuff,
        frame: &Frame,
    ) -> core::result::Result<(), OutOfSlot> {
        let mut slot = self.memory.entry(ticket.slot).ok_or(OutOfSlot)?;
        write_immediate(&mut slot, ticket, frame, |slot, offset, len| {
            copy_to_slot(skb, slot, offset, len)
        })
    }

    /// Writes the work request of a frame that the adapter reads where it is.
    #[inline]
    fn write_direct(
        &self,
        token: Unrestricted,
        ticket: &SendTicket,
        out: (&SkBuff, &Frame),
        segments: &[skbuff::Segment],
    ) -> core::result::Result<Extra, Unreadable> {
        match segments {
            // In line and without a loop, since most frames are like that.
            [whole] => self.write_segments(token, ticket, out, [whole]),
            pieces => self.write_pieces(token, ticket, out, pieces),
        }
    }

    /// Writes the work request of a frame in several pieces that the adapter reads where it is.
    #[inline(never)]
    fn write_pieces(
        &self,
        token: Unrestricted,
        ticket: &SendTicket,
        out: (&SkBuff, &Frame),
        pieces: &[skbuff::Segment],
    ) -> core::result::Result<Extra, Unreadable> {
        self.write_segments(token, ticket, out, pieces)
    }

    #[inline(always)]
    fn write_segments<'a>(
        &self,
        token: Unrestricted,
        ticket: &SendTicket,
        out: (&SkBuff, &Frame),
        segments: impl IntoIterator<Item = &'a skbuff::Segment>,
    ) -> core::result::Result<Extra, Unreadable> {
        let map = &*self.translation.map;
        let translate = |piece: &skbuff::Segment| map.adapter_address(token.reach(piece));
        match write(
            &self.memory,
            ticket,
            out,
            segments,
            self.translation.key,
            translate,
        ) {
            Ok(()) => Ok(Extra::NONE),
            Err(SwqeError::NotMapped(address)) => Err(Unreadable::Missed(address)),
            Err(_) => Err(Unreadable::Bad),
        }
    }

    /// Writes the work request of a frame that must be mapped, in a CMO partition.
    #[cold]
    fn write_mapped(
        &mut self,
        ticket: &SendTicket,
        out: Outgoing<'_>,
        counters: &QueueCounters,
    ) -> core::result::Result<Extra, Unreadable> {
        let SendAccess::Mapped(mappings) = &mut self.access else {
            return Err(Unreadable::Bad);
        };
        let map = &*self.translation.map;
        let mut charged = true;
        let result = write(
            &self.memory,
            ticket,
            (out.skb, &out.frame),
            out.segments,
            self.translation.key,
            |piece| match mappings.map(piece) {
                Ok(memory) => map.adapter_address(memory),
                Err(_) => {
                    charged = false;
                    None
                }
            },
        );
        if let Err(error) = result {
            mappings.roll_back();
            return Err(match error {
                SwqeError::NotMapped(_) if !charged => Unreadable::NotCharged,
                SwqeError::NotMapped(address) => Unreadable::Missed(address),
                _ => Unreadable::Bad,
            });
        }
        // CAST: A work request has at most `MAX_SEGMENTS`.
        Ok(match mappings.commit() as u8 {
            0 => Extra::NONE,
            count => {
                counters.cmo_tx_mapped.add(count.into());
                Extra::mappings(count)
            }
        })
    }

    /// Writes the work request of a frame that is copied to bounce slots.
    #[cold]
    fn write_bounced(
        &self,
        ticket: &SendTicket,
        out: Outgoing<'_>,
    ) -> core::result::Result<Extra, Refused> {
        let (taken, len) = (self.bounces_taken, out.frame.len);
        let bounces = self.bounce.slots(len).ok_or(Refused::Bad)?;
        let returned = self.ring.progress.bounces_returned();
        if !self.bounce.has_free(taken, returned, bounces) {
            return Err(Refused::NoRoom(bounces));
        }
        self.bounce.copy(taken, out.skb, len).ok_or(Refused::Bad)?;
        let mut slot = self.memory.entry(ticket.slot).ok_or(Refused::Bad)?;
        write_mixed(
            &mut slot,
            ticket,
            &out.frame,
            self.translation.key,
            self.bounce.segments(taken, len),
            |piece| {
                let memory = self.bounce.reach(piece.address, piece.len.into())?;
                self.translation.map.adapter_address(memory)
            },
            |slot, offset, len| copy_to_slot(out.skb, slot, offset, len),
        )
        .map_err(|_| Refused::Bad)?;
        Ok(Extra::bounces(bounces))
    }

    /// Writes the work request of a frame that the adapter cannot read where it is, and copies the
    /// frame to bounce slots.
    #[cold]
    fn detour(
        &self,
        adapter: &Adapter,
        dev: &net::Device,
        counters: &QueueCounters,
        ticket: &SendTicket,
        out: Outgoing<'_>,
        why: Unreadable,
    ) -> core::result::Result<Extra, Refused> {
        let bounced = match why {
            Unreadable::Missed(address) => {
                counters.tx_translation_misses.inc();
                adapter.report_miss(dev, address, Direction::Transmit);
                &counters.tx_bounced
            }
            Unreadable::NotCharged => &counters.cmo_tx_bounced,
            Unreadable::Bad => return Err(Refused::Bad),
        };
        let written = self.write_bounced(ticket, out);
        match (&written, why) {
            (Ok(_), _) => bounced.inc(),
            (Err(Refused::NoRoom(_)), Unreadable::NotCharged) => counters.cmo_tx_stalled.inc(),
            (Err(_), _) => {}
        }
        written
    }

    /// Posts a frame whose work request is written. Announces it and those before it, if the stack
    /// has no more for now.
    #[inline(always)]
    fn post(&mut self, ticket: &SendTicket, announce: bool) {
        self.poster.post(ticket);
        // The completer reads the slot after this.
        self.ring.progress.set_posted(self.poster.posted());
        // Not more than the ring has slots, 2^15.
        self.unannounced = self.unannounced.wrapping_add(1);
        if announce {
            self.announce();
        }
    }

    /// Records a frame that the adapter reads, for its completion. Returns whether it must be
    /// announced now.
    #[inline]
    fn keep(
        &mut self,
        txq: &TxQueue<'_>,
        slot: usize,
        skb: SkBuff,
        len: u32,
        extra: Extra,
    ) -> bool {
        let announce = txq.sent(&skb);
        self.bytes = self.bytes.wrapping_add(len.into());
        if let Some(slot) = self.ring.slots.get(slot) {
            slot.bytes.store(self.bytes, Relaxed);
            slot.extra.store(extra.pack(), Relaxed);
            match extra.bounce_slots() {
                Some(slots) => {
                    self.bounces_taken = self.bounces_taken.wrapping_add(slots.into());
                    skb.consume();
                }
                // The slot is empty, as its last frame is completed.
                None => drop(slot.skb.put(skb)),
            }
        }
        announce
    }

    /// Counts a frame that is dropped. Announces those before it, because the stack may have said
    /// that this one would follow.
    #[cold]
    fn drop_frame(&mut self, counters: &QueueCounters) -> Transmit {
        counters.tx_dropped.inc();
        self.announce();
        Transmit::Ok
    }

    /// Announces frames that were posted to the adapter.
    #[inline]
    fn announce(&mut self) {
        if self.unannounced > 0 {
            self.registers.add_send(self.unannounced);
            self.unannounced = 0;
        }
    }
}

impl Queue {
    /// Sends a frame.
    #[inline]
    pub(crate) fn transmit(
        &self,
        adapter: &Arc<Adapter>,
        dev: &net::Device,
        txq: &mut TxQueue<'_>,
        skb: SkBuff,
    ) -> Transmit {
        // Functions of their own: what the one has to keep in registers the other needn't save.
        if is_short(&skb) {
            self.transmit_copied(txq, skb)
        } else {
            self.transmit_read(adapter, dev, txq, skb)
        }
    }

    /// Returns the posting side, the queue's lock, and the frame `skb` that is to be sent.
    ///
    /// # Errors
    ///
    /// The queue pair pauses, and the stack keeps the frame; or the port is closed, and the frame is
    /// dropped.
    #[inline(always)]
    fn running<'a, 'q>(
        &'a self,
        txq: &'a mut TxQueue<'q>,
        skb: SkBuff,
    ) -> core::result::Result<(&'a mut Sender, &'a TxQueue<'q>, SkBuff), Transmit> {
        match self.sender.sending(txq) {
            Sending::Running(sender, locked) => Ok((sender, locked, skb)),
            Sending::Held => Err(Transmit::Busy(skb)),
            Sending::Closed => {
                self.counters.tx_dropped.inc();
                Err(Transmit::Ok)
            }
        }
    }

    /// Does with a frame what has to be done before it can be sent, after which it has no open
    /// checksum.
    ///
    /// # Errors
    ///
    /// The frame cannot be sent, and is dropped.
    #[cold]
    fn mend(
        &self,
        txq: &mut TxQueue<'_>,
        mut skb: SkBuff,
        why: Unsendable,
    ) -> core::result::Result<SkBuff, Transmit> {
        let counters = &*self.counters;
        if why == Unsendable::Checksum && fill_checksum(&mut skb, counters).is_ok() {
            return Ok(skb);
        }
        match self.sender.get(txq) {
            Some(sender) => Err(sender.drop_frame(counters)),
            None => Err(Transmit::Ok),
        }
    }

    /// Sends a frame that is copied to its work request.
    #[inline(never)]
    fn transmit_copied(&self, txq: &mut TxQueue<'_>, skb: SkBuff) -> Transmit {
        let counters = &*self.counters;
        let (sender, locked, skb) = match self.running(txq, skb) {
            Ok(running) => running,
            Err(refused) => return refused,
        };
        let frame = match describe(&skb, None, self.max_mtu) {
            Ok(frame) => frame,
            Err(why) => {
                return match self.mend(txq, skb, why) {
                    Ok(mended) => self.transmit_copied(txq, mended),
                    Err(refused) => refused,
                };
            }
        };
        let Some(ticket) = sender.reserve(true) else {
            self.stop(txq, 0);
            return Transmit::Busy(skb);
        };
        if sender.write_immediate(&ticket, &skb, &frame).is_err() {
            return sender.drop_frame(counters);
        }
        counters.tx_packets.add_alone(1);
        counters.tx_bytes.add_alone(frame.len.into());
        let announce = locked.copied(skb);
        sender.post(&ticket, announce);
        if sender.free() < STOP_BELOW {
            self.stop(txq, 0);
        }
        Transmit::Ok
    }

    /// Sends a frame that the adapter reads.
    #[inline(never)]
    fn transmit_read(
        &self,
        adapter: &Arc<Adapter>,
        dev: &net::Device,
        txq: &mut TxQueue<'_>,
        skb: SkBuff,
    ) -> Transmit {
        let counters = &*self.counters;
        let (sender, locked, mut skb) = match self.running(txq, skb) {
            Ok(running) => running,
            Err(refused) => return refused,
        };
        let gso = skb.gso();
        let mut frame = match describe(&skb, gso, self.max_mtu) {
            Ok(frame) => frame,
            Err(why) => {
                return match self.mend(txq, skb, why) {
                    Ok(mended) => self.transmit_read(adapter, dev, txq, mended),
                    Err(refused) => refused,
                };
            }
        };
        let mut segments = Segments::new();
        let pieces = segments.describe(&skb).len();
        if !(1..=MAX_SEGMENTS).contains(&pieces) {
            if linearize(&mut skb, counters).is_err() {
                return sender.drop_frame(counters);
            }
            frame.linear_len = skb.linear_len();
            segments.describe(&skb);
        }
        let Some(ticket) = sender.reserve(false) else {
            self.stop(txq, 0);
            return Transmit::Busy(skb);
        };
        // Made where it is needed: what functions of their own get is kept in memory.
        let out = || Outgoing {
            skb: &skb,
            frame,
            segments: segments.as_slice(),
        };
        let written = match sender.access.token() {
            Some(token) => sender.write_direct(token, &ticket, (&skb, &frame), segments.as_slice()),
            None => sender.write_mapped(&ticket, out(), counters),
        };
        let written = match written {
            Ok(extra) => Ok(extra),
            Err(why) => sender.detour(adapter, dev, counters, &ticket, out(), why),
        };
        let extra = match written {
            Ok(extra) => extra,
            Err(Refused::NoRoom(bounces)) => {
                self.stop(txq, bounces);
                return Transmit::Busy(skb);
            }
            Err(Refused::Bad) => return sender.drop_frame(counters),
        };
        let (frames, bytes) = frame.on_the_wire();
        counters.tx_packets.add_alone(frames);
        counters.tx_bytes.add_alone(bytes);
        let announce = sender.keep(locked, ticket.slot, skb, frame.len, extra);
        sender.post(&ticket, announce);
        if sender.free() < STOP_BELOW {
            self.stop(txq, 0);
        }
        Transmit::Ok
    }

    /// Stops the queue, unless there is room again for a frame that needs `bounces` bounce slots.
    /// The stack keeps the frames that it said would follow, so those before them are announced.
    #[cold]
    fn stop(&self, txq: &mut TxQueue<'_>, bounces: u8) {
        if let Some(sender) = self.sender.get(txq) {
            sender.announce();
        }
        let has_room = |sender: &Sender| sender.has_room(bounces);
        if self.sender.stop_unless(txq, has_room) {
            self.counters.tx_stopped.inc();
        }
    }
}
