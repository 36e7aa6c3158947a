// SPDX-License-Identifier: GPL-2.0

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;
use zerocopy::byteorder::big_endian::{U16, U64};
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::*;
use crate::abi::cqe::{Completion, Cqe, CqeStatus, ReceiveQueue};
use crate::abi::ring::{QueueSize, SlotSize};
use crate::abi::wqe::{Descriptor, Rwqe, SwqeHeader, TxControl, WrId, WrType};

mod geometry;
mod send;

/// A slot of bytes.
struct Bytes(Vec<u8>);

impl Slot for Bytes {
    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), OutOfSlot> {
        self.0
            .get_mut(offset..)
            .and_then(|tail| tail.get_mut(..bytes.len()))
            .ok_or(OutOfSlot)?
            .copy_from_slice(bytes);
        Ok(())
    }

    fn write_words<const N: usize>(
        &mut self,
        offset: usize,
        words: [u64; N],
    ) -> Result<(), OutOfSlot> {
        self.write(offset, words.map(U64::new).as_bytes())
    }
}

/// A ring that the test writes like the adapter.
struct Ring {
    slots: Vec<Cqe>,
    position: usize,
    toggle: bool,
}

impl Ring {
    fn new(slots: usize) -> Self {
        Self {
            slots: vec![Cqe::default(); slots],
            position: 0,
            toggle: true,
        }
    }

    fn write(&mut self, mut cqe: Cqe) {
        cqe.valid = Cqe::valid_byte(self.toggle);
        self.slots[self.position] = cqe;
        self.position += 1;
        if self.position == self.slots.len() {
            self.position = 0;
            self.toggle = !self.toggle;
        }
    }
}

impl CompletionEntry for &Cqe {
    fn word(&self, index: usize) -> u64 {
        u64::from_be_bytes(self.as_bytes()[index * 8..][..8].try_into().unwrap())
    }
}

impl CompletionMemory for Ring {
    type Entry<'a> = &'a Cqe;

    fn entry(&self, index: usize) -> &Cqe {
        &self.slots[index]
    }

    fn read_barrier(&self) {}
}

struct Events(Vec<u64>);

impl EventMemory for Events {
    fn event(&self, index: usize) -> u64 {
        self.0[index]
    }
}

fn queue(entries: u32, slot: SlotSize) -> WorkQueue {
    WorkQueue::new(QueueSize::for_entries(entries).unwrap(), slot)
}

proptest! {
    /// Everything that the adapter writes is read once and in order, over many laps.
    #[test]
    fn completions_arrive_in_order(
        slots in 1usize..70,
        bursts in prop::collection::vec(any::<prop::sample::Index>(), 1..60),
    ) {
        let mut ring = Ring::new(slots);
        let mut reader = CompletionReader::new(slots);
        let (mut written, mut read) = (0u64, 0u64);
        for burst in bursts {
            // The adapter has credits for the whole ring.
            for _ in 0..burst.index(slots + 1) {
                ring.write(Cqe {
                    wr_id: U64::new(written),
                    status: U16::new(written as u16),
                    ..Cqe::default()
                });
                written += 1;
            }
            prop_assert_eq!(reader.has_next(&ring), read < written);
            let mut sent = reader;
            while let Some((entry, cqe)) = reader.next(&ring) {
                prop_assert_eq!(cqe.wr_id(), read);
                let short = SentWork { wr_id: read, status: CqeStatus(read as u16) };
                prop_assert_eq!(sent.next_sent(&ring), Some(short));
                prop_assert!(std::ptr::eq(entry, &ring.slots[(read % slots as u64) as usize]));
                read += 1;
                prop_assert_eq!(reader.index() as u64, read % slots as u64);
            }
            prop_assert_eq!(read, written);
        }
    }

    #[test]
    fn events_arrive_in_order(slots in 1usize..20, bursts in prop::collection::vec(0usize..20, 30)) {
        let mut memory = Events(vec![0; slots]);
        let mut reader = EventReader::new(slots);
        let mut written = 0u64;
        for burst in bursts {
            let mut expected = Vec::new();
            for _ in 0..burst.min(slots) {
                let lap = written / slots as u64;
                let toggle = (!lap & 1) << 63;
                memory.0[(written % slots as u64) as usize] = toggle | written;
                expected.push(toggle | written);
                written += 1;
            }
            for entry in expected {
                prop_assert_eq!(reader.next(&memory), Some(entry));
            }
            prop_assert_eq!(reader.next(&memory), None);
        }
    }

    /// No bytes from the adapter lead to an index or length out of bounds.
    #[test]
    fn hostile_receive_completions(
        bytes in any::<[[u8; 32]; 2]>(),
        plausible in any::<(bool, u8, u16)>(),
    ) {
        let mut cqe = Cqe::read_from_bytes(bytes.as_bytes()).unwrap();
        if plausible.0 {
            cqe.status = U16::new(0);
            cqe.wr_id = U64::new(WrId {
                kind: WrType(plausible.1 % 6),
                index: plausible.2.into(),
                ..WrId::default()
            }.pack());
        }
        let rq2 = PostedBuffers::rq2(&queue(1023, SlotSize::B128), 2048);
        let rq3 = PostedBuffers::rq3(&queue(511, SlotSize::B128), 9022);
        if let Ok(received) = parse_received(&Completion::from(&cqe), &rq2, &rq3) {
            let room = match received.location {
                Location::Inline => INLINE_MAX,
                Location::Rq2(index) => {
                    prop_assert!(index < 1024);
                    2048
                }
                Location::Rq3(index) => {
                    prop_assert!(index < 512);
                    9022
                }
            };
            if let Ok(frame) = received.frame {
                prop_assert!((14..=room).contains(&frame.len));
                prop_assert!(!cqe.status().any_of(CqeStatus(0x300f)));
            }
        }
    }

    /// Buffers are posted in slot order, each slot once, and never more than fit the ring.
    #[test]
    fn buffers_follow_the_ring(steps in prop::collection::vec((0usize..200, 0usize..200), 1..40)) {
        let geometry = queue(127, SlotSize::B128);
        let mut buffers = PostedBuffers::rq2(&geometry, 2048);
        let mut held = [false; 128];
        let (mut next, mut oldest) = (0, 0);
        for (post, used) in steps {
            for _ in 0..post.min(buffers.missing()) {
                let slot = buffers.next_slot();
                prop_assert_eq!(slot, next % 128);
                prop_assert!(!held[slot]);
                let mut memory = Bytes(vec![0; 128]);
                buffers.post(&mut memory, 0x8000_0000_0000_0000 + next as u64, 5).unwrap();
                let rwqe = Rwqe::read_from_prefix(&memory.0).unwrap().0;
                prop_assert_eq!(WrId::unpack(rwqe.wr_id.get()).index as usize, slot);
                held[slot] = true;
                next += 1;
            }
            for _ in 0..used.min(buffers.posted()) {
                held[oldest % 128] = false;
                buffers.used();
                oldest += 1;
            }
            prop_assert_eq!(buffers.posted(), held.iter().filter(|&&h| h).count());
            prop_assert!(buffers.posted() <= 126);
        }
    }
}

#[test]
fn receive_work_request() {
    let mut buffers = PostedBuffers::rq3(&queue(127, SlotSize::B128), 9022);
    let mut slot = Bytes(vec![0xff; 128]);
    buffers
        .post(&mut slot, 0x8000_0000_0123_4000, 0x99)
        .unwrap();
    let expected = Rwqe::new(
        WrId {
            kind: WrType::RQ3_BUFFER,
            ..WrId::default()
        },
        Descriptor::new(0x8000_0000_0123_4000, 0x99, 9022),
    );
    assert_eq!(slot.0[..0x30], *expected.as_bytes());
    assert_eq!(buffers.next_slot(), 1);

    let mut small = Bytes(vec![0; 0x2f]);
    assert_eq!(buffers.post(&mut small, 0, 0), Err(OutOfSlot));
    assert_eq!((buffers.next_slot(), buffers.posted()), (1, 1));

    buffers
        .rewrite(&mut slot, 0, 0x8000_0000_0000_4000, 0x77)
        .unwrap();
    let rwqe = Rwqe::read_from_prefix(&slot.0).unwrap().0;
    assert_eq!(
        rwqe.buffer,
        Descriptor::new(0x8000_0000_0000_4000, 0x77, 9022)
    );
    assert_eq!(rwqe.wr_id, expected.wr_id);
}

/// Returns a good completion of a frame in RQ2, and the queues with which it is parsed.
fn good() -> (Cqe, PostedBuffers, PostedBuffers) {
    let cqe = Cqe {
        wr_id: U64::new(
            WrId {
                kind: WrType::RQ2_BUFFER,
                index: 17,
                ..WrId::default()
            }
            .pack(),
        ),
        kind: Cqe::kind_byte(ReceiveQueue::Rq2),
        num_bytes_transferred: U16::new(1518),
        header_length: 20,
        inet_checksum_value: U16::new(0x1234),
        vlan_tag: U16::new(0x2064),
        ..Cqe::default()
    };
    let rq2 = PostedBuffers::rq2(&queue(127, SlotSize::B128), 2048);
    let rq3 = PostedBuffers::rq3(&queue(127, SlotSize::B128), 9022);
    (cqe, rq2, rq3)
}

fn frame(change: impl FnOnce(&mut Cqe)) -> Result<ReceivedFrame, BadFrame> {
    let (mut cqe, rq2, rq3) = good();
    change(&mut cqe);
    parse_received(&Completion::from(&cqe), &rq2, &rq3)
        .unwrap()
        .frame
}

#[test]
fn received_frames() {
    let status = |bits: u16| U16::new(bits);
    let seen = |frame: Result<ReceivedFrame, BadFrame>| {
        frame.map(|frame| (frame.len, frame.checksum(), frame.vlan()))
    };
    let verdict = |checksum| Ok((1514, checksum, None));
    let verified = verdict(RxChecksum::Verified);
    let unknown = verdict(RxChecksum::None);
    let wrong = verdict(RxChecksum::Wrong);
    assert_eq!(seen(frame(|_| ())), verified);
    assert_eq!(
        seen(frame(|cqe| cqe.status = status(0x8400))),
        Ok((1514, RxChecksum::Complete(0x1234), Some(0x2064)))
    );
    assert_eq!(seen(frame(|cqe| cqe.header_length = 0)), unknown);
    assert_eq!(seen(frame(|cqe| cqe.status = status(0x4000))), wrong);
    assert_eq!(seen(frame(|cqe| cqe.status = status(0x2000))), wrong);
    // The sum is of a frame that is known to be wrong.
    assert_eq!(seen(frame(|cqe| cqe.status = status(0xa000))), wrong);
    assert_eq!(frame(|cqe| cqe.status = status(0x5000)), Err(BadFrame::Crc));
    // Without a header, a wrong header checksum means nothing, but other errors do.
    let headless = |bits| {
        seen(frame(|cqe| {
            cqe.header_length = 0;
            cqe.status = status(bits);
        }))
    };
    assert_eq!(headless(0x4000), unknown);
    assert_eq!(headless(0x5000), Err(BadFrame::Crc));
    assert_eq!(headless(0x6000), wrong);
}

#[test]
fn received_lengths() {
    let length =
        |bytes: u16| frame(|cqe| cqe.num_bytes_transferred = U16::new(bytes)).map(|f| f.len);
    assert_eq!(length(0), Err(BadFrame::Length));
    assert_eq!(length(3), Err(BadFrame::Length));
    assert_eq!(length(17), Err(BadFrame::Length));
    assert_eq!(length(18), Ok(14));
    assert_eq!(length(2052), Ok(2048));
    assert_eq!(length(2053), Err(BadFrame::Length));
    assert_eq!(length(u16::MAX), Err(BadFrame::Length));
}

#[test]
fn received_places() {
    let place = |change: fn(&mut Cqe)| {
        let (mut cqe, rq2, rq3) = good();
        change(&mut cqe);
        parse_received(&Completion::from(&cqe), &rq2, &rq3).map(|received| received.location)
    };
    let wr_id = |kind, index| {
        U64::new(
            WrId {
                kind,
                index,
                ..WrId::default()
            }
            .pack(),
        )
    };
    assert_eq!(place(|_| ()), Ok(Location::Rq2(17)));
    assert_eq!(
        place(|cqe| cqe.kind = Cqe::kind_byte(ReceiveQueue::Rq1)),
        Ok(Location::Inline)
    );
    let (cqe, rq2, rq3) = good();
    for (queue, kind, index, expected) in [
        (
            ReceiveQueue::Rq3,
            WrType::RQ3_BUFFER,
            127,
            Some(Location::Rq3(127)),
        ),
        (ReceiveQueue::Rq3, WrType::RQ3_BUFFER, 128, None),
        (ReceiveQueue::Rq3, WrType::RQ2_BUFFER, 1, None),
        (
            ReceiveQueue::Rq2,
            WrType::RQ2_BUFFER,
            0,
            Some(Location::Rq2(0)),
        ),
        (ReceiveQueue::Rq2, WrType::RQ2_BUFFER, 0xff_ffff, None),
        (ReceiveQueue::Rq2, WrType::SEND_MIXED, 1, None),
    ] {
        let cqe = Cqe {
            kind: Cqe::kind_byte(queue),
            wr_id: wr_id(kind, index),
            ..cqe
        };
        let location =
            parse_received(&Completion::from(&cqe), &rq2, &rq3).map(|received| received.location);
        let corrupt = ReceiveError::Corrupt {
            wr_id: cqe.wr_id.get(),
        };
        assert_eq!(location, expected.ok_or(corrupt));
    }
    assert!(matches!(
        place(|cqe| cqe.kind = 0),
        Err(ReceiveError::Corrupt { .. })
    ));
    assert_eq!(
        place(|cqe| cqe.status = U16::new(0x0001)),
        Err(ReceiveError::Fatal {
            status: CqeStatus(1)
        })
    );
}
