// SPDX-License-Identifier: GPL-2.0

//! Tests of send credits and send work requests.

use std::collections::VecDeque;

use super::*;
use crate::abi::wqe::SwqeFormat;

fn sq() -> WorkQueue {
    queue(127, SlotSize::B512)
}

fn completion(wr_id: u64) -> SentWork {
    SentWork {
        wr_id,
        status: CqeStatus::default(),
    }
}

proptest! {
    /// Compares with the adapter's view: a ring of slots that are processed in order. All slots are
    /// given back, none twice, and the last frame before a stop always reports completion.
    #[test]
    fn credits(steps in prop::collection::vec((0u32..200, any::<u32>(), 0usize..200), 1..60)) {
        let mut poster = SendPoster::new(&sq());
        let mut completer = SendCompleter::new(&sq());
        // Tickets that the adapter has not processed, and the number of completions that the driver
        // has not seen.
        let mut ring: VecDeque<SendTicket> = VecDeque::new();
        let mut reported = 0;
        for (frames, kinds, work) in steps {
            for n in 0..frames {
                let immediate = kinds >> (n % 32) & 1 != 0;
                let Some(ticket) = poster.reserve(completer.completed(), immediate) else {
                    prop_assert_eq!(poster.free(completer.completed()), 0);
                    break;
                };
                prop_assert!(ticket.signalled || immediate);
                poster.post(&ticket);
                reported += u32::from(ticket.signalled);
                ring.push_back(ticket);
                if poster.free(completer.completed()) < STOP_BELOW {
                    prop_assert!(ticket.signalled, "nothing would wake the queue");
                }
            }
            prop_assert!(ring.len() <= 126);
            for _ in 0..work.min(ring.len()) {
                let ticket = ring.pop_front().unwrap();
                if ticket.signalled {
                    let done = completer.complete(completion(ticket.wr_id), poster.posted());
                    let done = done.unwrap();
                    prop_assert_eq!(done.slot, ticket.slot);
                    prop_assert_eq!(done.error, None);
                    reported -= 1;
                }
            }
            let held = 126 - poster.free(completer.completed());
            prop_assert!(held as usize >= ring.len());
            prop_assert!((held as usize) < ring.len() + 126 / 10);
            prop_assert_eq!(poster.is_idle(completer.completed()), reported == 0);
        }
        // When everything is sent, the queue can always be woken.
        for ticket in ring.drain(..).filter(|ticket| ticket.signalled) {
            completer.complete(completion(ticket.wr_id), poster.posted()).unwrap();
        }
        prop_assert!(poster.is_idle(completer.completed()));
        prop_assert!(poster.free(completer.completed()) >= poster.wake_from());
    }

    /// A completion that belongs to nothing that was posted is refused and changes nothing.
    #[test]
    fn hostile_completions(
        posted in 0u32..126,
        wr_id in prop_oneof![
            any::<u64>(),
            // Half of them with an index that fits what is given back.
            (0u8..4, 0u32..140, 0u16..140, any::<bool>()).prop_map(|(kind, index, refill, fits)| WrId {
                count: 0,
                kind: WrType(kind),
                index: if fits { u32::from(refill).saturating_sub(1) } else { index },
                refill,
            }.pack()),
        ],
        status in prop_oneof![Just(0u16), any::<u16>()],
    ) {
        let mut completer = SendCompleter::new(&sq());
        let status = CqeStatus(status);
        match completer.complete(SentWork { wr_id, status }, posted) {
            Ok(done) => {
                prop_assert!(completer.completed() <= posted);
                prop_assert_eq!(done.slot as u32 + 1, completer.completed());
                prop_assert_eq!(done.error.is_some(), status.0 & 0x700f != 0);
            }
            Err(_) => prop_assert_eq!(completer.completed(), 0),
        }
    }

    /// A work request describes the whole frame, byte for byte.
    #[test]
    fn work_requests(
        pieces in prop::collection::vec(1u32..600, 1..24),
        flags in any::<(bool, bool, Option<u16>)>(),
        tso in prop::option::of((1u16..9000, 1u32..161)),
        size in prop_oneof![Just(512usize), Just(256)],
    ) {
        // Frame bytes are at real addresses that reveal their offset in the frame.
        let base = |n: usize| (n as u64 + 1) << 32;
        let segments: Vec<Segment> = pieces
            .iter()
            .enumerate()
            .map(|(n, &len)| Segment { address: base(n), len })
            .collect();
        let len = pieces.iter().sum();
        let frame = Frame {
            len,
            linear_len: pieces[0],
            tso: tso.and_then(|(mss, headers)| Tso::new(mss, headers, len)),
            checksum: if flags.0 {
                TxChecksum::ipv4(14, 34, 16).unwrap()
            } else {
                TxChecksum::None
            },
            vlan: flags.2,
        };
        let data: Vec<u64> = segments
            .iter()
            .flat_map(|s| (0..u64::from(s.len)).map(|i| s.address + i))
            .collect();

        let ticket = SendTicket { slot: 0, wr_id: 0x1234, signalled: flags.1 };
        let mut slot = Bytes(vec![0xff; size]);
        let mut copied = None;
        let copy = |slot: &mut Bytes, offset: usize, len: usize| {
            copied = Some((offset, len));
            slot.write(offset, &vec![0xab; len])
        };
        let result = if frame.is_immediate() {
            write_immediate(&mut slot, &ticket, &frame, copy).map_err(SwqeError::from)
        } else {
            let segments = segments.iter().copied();
            let translate = |piece: &Segment| Some(piece.address + (1 << 63));
            write_mixed(&mut slot, &ticket, &frame, 7, segments, translate, copy)
        };

        let immediate = frame.immediate_len();
        if let Some((_, headers)) = tso.filter(|_| frame.tso.is_some()) {
            prop_assert_eq!(immediate, headers as usize);
        }
        // Segments that are not completely immediate data.
        let mut before = 0;
        let behind = pieces.iter().filter(|&&len| {
            before += len as usize;
            before > immediate
        });
        let needed = if frame.is_immediate() { 0 } else { behind.count() };
        let room = SwqeFormat::Mixed.max_descriptors(size);
        if needed > room {
            prop_assert_eq!(result, Err(SwqeError::TooManySegments));
            return Ok(());
        }
        prop_assert_eq!(result, Ok(()));

        // Reads the work request back like the adapter.
        let header = SwqeHeader::read_from_prefix(&slot.0).unwrap().0;
        let control = header.control();
        let format = SwqeFormat::of(control).unwrap();
        prop_assert_eq!(header.wr_id.get(), 0x1234);
        prop_assert_eq!(control.contains(TxControl::SIGNALLED_COMPLETION), flags.1);
        prop_assert_eq!(control.contains(TxControl::TCP_CHECKSUM), flags.0);
        prop_assert_eq!(control.contains(TxControl::IP_CHECKSUM), flags.0);
        prop_assert_eq!(control.contains(TxControl::VLAN_INSERT), flags.2.is_some());
        prop_assert!(control.contains(TxControl::CRC));
        prop_assert!(!control.contains(TxControl::PURGE));
        prop_assert_eq!(control.contains(TxControl::TSO), frame.tso.is_some());
        let mss = tso.filter(|_| frame.tso.is_some()).map_or(0, |(mss, _)| mss);
        prop_assert_eq!(header.mss.get(), mss);
        prop_assert_eq!(header.vlan_tag.get(), flags.2.unwrap_or(0));
        prop_assert_eq!(usize::from(header.immediate_data_length), immediate);
        prop_assert_eq!(copied, Some((format.immediate_offset(), immediate)));
        prop_assert_eq!(usize::from(header.descriptors), needed);
        prop_assert_eq!(format == SwqeFormat::Immediate, frame.len <= 224 && frame.tso.is_none());
        prop_assert!(immediate <= format.immediate_max());

        let mut sent: Vec<u64> = data[..immediate].to_vec();
        for n in 0..needed {
            let at = format.descriptor_offset(n, size).unwrap();
            let descriptor = Descriptor::read_from_prefix(&slot.0[at..]).unwrap().0;
            prop_assert_eq!(descriptor.lkey.get(), 7);
            let real = descriptor.vaddr.get() - (1 << 63);
            sent.extend((0..u64::from(descriptor.length.get())).map(|i| real + i));
        }
        prop_assert_eq!(sent, data);
    }
}

/// The header of a frame with all offloads is right, byte for byte.
#[test]
fn header_bytes() {
    let frame = Frame {
        len: 100,
        linear_len: 100,
        checksum: TxChecksum::ipv4(14, 34, 6).unwrap(),
        tso: None,
        vlan: Some(0x2064),
    };
    let ticket = SendTicket {
        slot: 3,
        wr_id: 0x0102_0304_0506_0708,
        signalled: true,
    };
    let mut slot = Bytes(vec![0xff; 512]);
    let copy = |slot: &mut Bytes, offset: usize, len: usize| slot.write(offset, &vec![0xab; len]);
    write_immediate(&mut slot, &ticket, &frame, copy).unwrap();
    let mut expected = vec![
        1, 2, 3, 4, 5, 6, 7, 8, 0xee, 0x00, 0x20, 0x64, 0, 14, 33, 100, 40, //
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    expected.extend([0xab; 100]);
    expected.resize(512, 0xff);
    assert_eq!(slot.0, expected);
}

#[test]
fn segmentation() {
    assert!(Tso::new(1448, 66, 67).is_some());
    assert!(Tso::new(1, 160, 65536).is_some());
    // The headers do not fit, there is no payload, or the values make no sense.
    for (mss, headers, len) in [
        (1448, 161, 9000),
        (1448, 66, 66),
        (0, 66, 9000),
        (1448, 0, 9000),
    ] {
        assert_eq!(Tso::new(mss, headers, len), None);
    }
}

#[test]
fn checksum_offsets() {
    assert_eq!(
        TxChecksum::ipv4(14, 74, 16),
        Some(TxChecksum::Ipv4 {
            ip_start: 14,
            ip_end: 73,
            tcp_offset: 90
        })
    );
    for (network, transport, field) in [
        (256, 276, 16),
        (14, 14, 16),
        (14, 13, 16),
        (14, 0, 16),
        (200, 250, 6),
        (14, 257, 0),
        (14, u32::MAX, 16),
    ] {
        assert_eq!(TxChecksum::ipv4(network, transport, field), None);
    }
}

#[test]
fn frames_that_cannot_be_sent() {
    let frame = Frame {
        len: 1000,
        linear_len: 300,
        ..Frame::default()
    };
    let ticket = SendTicket {
        slot: 0,
        wr_id: 0,
        signalled: true,
    };
    let write = |slot: usize, lens: &[u32], unmapped: u64| {
        let segments = (0..).zip(lens).map(|(n, &len)| Segment {
            address: n << 20,
            len,
        });
        write_mixed(
            &mut Bytes(vec![0; slot]),
            &ticket,
            &frame,
            0,
            segments,
            |piece: &Segment| {
                let end = piece.address + u64::from(piece.len);
                (unmapped < piece.address || end <= unmapped).then_some(piece.address)
            },
            |slot, offset, len| slot.write(offset, &vec![0; len]),
        )
    };
    let none = u64::MAX;
    assert_eq!(write(512, &[300, 700], none), Ok(()));
    assert_eq!(write(512, &[300, 699], none), Err(SwqeError::WrongLength));
    assert_eq!(write(512, &[300, 701], none), Err(SwqeError::WrongLength));
    assert_eq!(write(512, &[], none), Err(SwqeError::WrongLength));
    assert_eq!(
        write(0x28, &[300, 700], none),
        Err(SwqeError::TooManySegments)
    );
    assert_eq!(write(0x30, &[160, 840], none), Err(SwqeError::OutOfSlot));
    // Immediate data need no adapter address.
    assert_eq!(write(512, &[300, 700], 159), Ok(()));
    assert_eq!(write(512, &[300, 700], 160), Err(SwqeError::NotMapped(160)));
    assert_eq!(
        write(512, &[300, 700], (1 << 20) + 699),
        Err(SwqeError::NotMapped(1 << 20))
    );
}

/// Small frames report completion only now and then.
#[test]
fn signalling() {
    let mut poster = SendPoster::new(&queue(1023, SlotSize::B512));
    let mut refills = Vec::new();
    for n in 0..400 {
        // A frame with descriptors always reports completion and gives back the small ones before
        // it.
        let ticket = poster.reserve(0, n != 250).unwrap();
        if ticket.signalled {
            refills.push((n, WrId::unpack(ticket.wr_id).refill));
        }
        poster.post(&ticket);
    }
    assert_eq!(refills, [(101, 102), (203, 102), (250, 47), (352, 102)]);
}

/// A ticket that is dropped changes nothing.
#[test]
fn reserve_is_no_promise() {
    let poster = SendPoster::new(&sq());
    let first = poster.reserve(0, false);
    assert_eq!(poster.reserve(0, false), first);
    assert_eq!((poster.posted(), poster.free(0)), (0, 126));
}

/// The running number in the identifiers wraps without harm.
#[test]
fn running_number_wraps() {
    let mut poster = SendPoster::new(&sq());
    let mut completer = SendCompleter::new(&sq());
    for _ in 0..(1 << 20) + 10 {
        let ticket = poster.reserve(completer.completed(), false).unwrap();
        poster.post(&ticket);
        completer
            .complete(completion(ticket.wr_id), poster.posted())
            .unwrap();
    }
    assert_eq!(poster.free(completer.completed()), 126);
}

#[test]
fn errors_of_sent_frames() {
    let mut poster = SendPoster::new(&sq());
    let mut completer = SendCompleter::new(&sq());
    for (status, expected) in [
        (0x1000u16, Ok(Some(CqeStatus(0x1000)))),
        (0x0001, Ok(Some(CqeStatus(1)))),
        (
            0x0002,
            Err(SendError::Fatal {
                status: CqeStatus(2),
            }),
        ),
    ] {
        let ticket = poster.reserve(completer.completed(), false).unwrap();
        poster.post(&ticket);
        let sent = SentWork {
            status: CqeStatus(status),
            ..completion(ticket.wr_id)
        };
        let result = completer.complete(sent, poster.posted());
        assert_eq!(result.map(|done| done.error), expected);
    }
}

/// A stopped queue is woken when a quarter of it is free.
#[test]
fn when_to_wake() {
    let progress = SendProgress::new(&sq());
    let capacity = sq().send_capacity();
    // Counters wrap.
    let first = u32::MAX - 10;
    progress.set_posted(first.wrapping_add(capacity));
    for completed in 0..=capacity {
        let count = first.wrapping_add(completed);
        assert_eq!(progress.may_wake(count), completed >= capacity / 4);
    }
}
