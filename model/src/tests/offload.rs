// SPDX-License-Identifier: GPL-2.0

//! Tests of what the adapter does to frames that it sends: checksums, segmentation, VLAN tags.

use ehea_abi::wqe::{Descriptor, SwqeFormat, SwqeHeader, TxControl};
use proptest::prelude::*;
use zerocopy::byteorder::big_endian::U16;
use zerocopy::IntoBytes as _;

use crate::testkit::{Frame, TestGuest};

const PSH_FIN: u8 = 0x19;

/// Returns the header that a driver writes for an IPv4 frame without options.
fn header(frame: &[u8], flags: TxControl) -> SwqeHeader {
    SwqeHeader {
        tx_control: U16::new(flags.0),
        ip_start: 14,
        ip_end: 33,
        tcp_offset: if frame[23] == 6 { 50 } else { 40 },
        ..SwqeHeader::default()
    }
}

/// Returns the frame with wrong values where the adapter fills in checksums.
fn spoiled(frame: &[u8], ip: bool) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let l4 = if frame[23] == 6 { 50 } else { 40 };
    frame[l4] ^= 0x5a;
    frame[l4 + 1] ^= 0xa5;
    if ip {
        frame[24] ^= 0xff;
    }
    frame
}

fn sent_one(guest: &mut TestGuest) -> Vec<u8> {
    guest.machine.settle();
    let mut frames = guest.machine.take_sent(0);
    assert_eq!(frames.len(), 1, "{:?}", guest.machine.stats().refusals);
    assert_eq!(guest.completions(0, 0).len(), 1);
    frames.remove(0)
}

#[test]
fn checksums_are_filled_in() {
    let mut guest = TestGuest::default();
    let both = TxControl::IP_CHECKSUM.with(TxControl::TCP_CHECKSUM);
    for len in [0, 1, 2, 17, 18, 30, 181, 182, 183, 1000, 1459, 1460, 8945] {
        let payload = Frame::pattern(len, len as u32);
        for frame in [
            Frame::tcp(Frame::PEER, (1000, 2000), 77, 0x18, &payload),
            Frame::udp(Frame::PEER, (1000, 2000), &payload),
        ] {
            let bad = spoiled(&frame, true);
            guest.send_with(0, 0, &bad, header(&frame, both), 160.min(frame.len()), &[]);
            let mut expected = frame;
            expected.resize(expected.len().max(60), 0);
            assert_eq!(sent_one(&mut guest), expected, "{len}");
        }
    }
}

#[test]
fn only_the_checksum_that_is_asked_for() {
    let mut guest = TestGuest::default();
    let frame = Frame::udp(
        Frame::PEER,
        (9, 9),
        &[
            1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18,
        ],
    );
    let bad = spoiled(&frame, true);
    guest.send_with(0, 0, &bad, header(&frame, TxControl::IP_CHECKSUM), 0, &[]);
    assert_eq!(sent_one(&mut guest), spoiled(&frame, false));
    guest.send_with(0, 0, &bad, header(&frame, TxControl::default()), 0, &[]);
    assert_eq!(sent_one(&mut guest), bad);
}

/// A UDP checksum that comes out as 0 is sent as 0xffff.
#[test]
fn a_checksum_of_zero() {
    let mut guest = TestGuest::default();
    // The payload is chosen so that the sum is 0xffff before the complement.
    let base = Frame::udp(Frame::PEER, (9, 9), &[0; 20]);
    let sum = [base[40], base[41]];
    let mut payload = [0; 20];
    payload[..2].copy_from_slice(&sum);
    let frame = Frame::udp(Frame::PEER, (9, 9), &payload);
    assert_eq!(frame[40..42], [0xff, 0xff]);
    let bad = spoiled(&frame, false);
    guest.send_with(0, 0, &bad, header(&frame, TxControl::TCP_CHECKSUM), 0, &[]);
    assert_eq!(sent_one(&mut guest), frame);
}

#[test]
fn vlan_tags_are_inserted() {
    let mut guest = TestGuest::default();
    for len in [0, 10, 100, 1400] {
        let frame = Frame::tcp(Frame::PEER, (1, 2), 3, 0x10, &Frame::pattern(len, 9));
        let flags = TxControl::VLAN_INSERT.with(TxControl::TCP_CHECKSUM);
        let header = SwqeHeader {
            vlan_tag: U16::new(0xa064),
            ..header(&frame, flags)
        };
        guest.send_with(
            0,
            0,
            &spoiled(&frame, false),
            header,
            frame.len().min(160),
            &[],
        );
        let mut expected = Frame::tagged(&frame, 0xa064);
        expected.resize(expected.len().max(60), 0);
        assert_eq!(sent_one(&mut guest), expected);
    }
    // A tag makes a frame of full length too long.
    let frame = Frame::raw(Frame::PEER, 9018, 1);
    let header = header(&frame, TxControl::VLAN_INSERT);
    guest.send_with(0, 0, &frame, header, 160, &[]);
    guest.machine.settle();
    assert_eq!(guest.machine.refusals("FrameTooLong"), 1);
}

/// Returns the segments into which a packet must be cut, built from scratch.
fn expected_segments(payload: &[u8], mss: usize, sequence: u32) -> Vec<Vec<u8>> {
    let count = payload.len().div_ceil(mss);
    payload
        .chunks(mss)
        .enumerate()
        .map(|(i, part)| {
            let last = i + 1 == count;
            let flags = if last { PSH_FIN } else { PSH_FIN & !0x09 };
            let at = sequence.wrapping_add((i * mss) as u32);
            let mut frame = Frame::tcp(Frame::PEER, (5, 6), at, flags, part);
            // The identification counts up.
            let id = 0x1234u16.wrapping_add(i as u16);
            frame[18..20].copy_from_slice(&id.to_be_bytes());
            frame[24..26].fill(0);
            let sum = Frame::checksum(&frame[14..34]);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
            assert!(Frame::is_intact(&frame));
            frame
        })
        .collect()
}

/// Returns a packet that may be longer than an IPv4 length can express: the headers of an empty
/// packet, followed by `payload`.
fn large_packet(payload: &[u8], sequence: u32) -> Vec<u8> {
    let mut frame = Frame::tcp(Frame::PEER, (5, 6), sequence, PSH_FIN, &[]);
    frame.extend(payload);
    frame
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn segmentation(len in 1usize..12_000, mss in 100usize..8900, sequence: u32,
                    cuts in proptest::collection::btree_set(1usize..12_000, 0..8), vlan: bool) {
        let mut guest = TestGuest::default();
        let payload = Frame::pattern(len, sequence);
        let packet = spoiled(&large_packet(&payload, sequence), true);
        let mut flags = TxControl::TSO
            .with(TxControl::IP_CHECKSUM)
            .with(TxControl::TCP_CHECKSUM);
        flags = flags.with_if(vlan, TxControl::VLAN_INSERT);
        let header = SwqeHeader {
            mss: U16::new(mss as u16),
            vlan_tag: U16::new(7),
            ..header(&packet, flags)
        };
        let cuts: Vec<usize> = cuts.into_iter().filter(|&cut| cut < len).collect();
        guest.send_with(0, 0, &packet, header, 54, &cuts);
        guest.machine.settle();
        let mut expected = expected_segments(&payload, mss, sequence);
        for frame in &mut expected {
            if vlan {
                *frame = Frame::tagged(frame, 7);
            }
            frame.resize(frame.len().max(60), 0);
        }
        prop_assert_eq!(guest.machine.take_sent(0), expected);
        prop_assert_eq!(guest.completions(0, 0).len(), 1);
        let port = &guest.machine.stats().ports[0];
        prop_assert_eq!((port.tx_checksums, port.tx_segmented), (1, 1));
    }

    /// The same frame is sent, however it is cut into descriptors.
    #[test]
    fn gathering(len in 225usize..9018, immediate in 0usize..160,
                 cuts in proptest::collection::btree_set(1usize..9000, 0..18)) {
        let mut guest = TestGuest::default();
        let frame = Frame::raw(Frame::PEER, len, 3);
        let cuts: Vec<usize> = cuts.into_iter().filter(|&cut| cut < len - immediate).collect();
        guest.send_with(0, 0, &frame, SwqeHeader::default(), immediate, &cuts);
        guest.machine.settle();
        prop_assert_eq!(guest.machine.take_sent(0), vec![frame]);
        let port = &guest.machine.stats().ports[0];
        prop_assert_eq!((port.tx_checksums, port.tx_segmented), (0, 0));
    }
}

/// Segments wait for a busy backend one by one, and the completion waits for the last of them.
#[test]
fn a_busy_backend_loses_nothing() {
    let mut guest = TestGuest::default();
    let payload = Frame::pattern(5000, 1);
    let packet = large_packet(&payload, 9);
    let header = SwqeHeader {
        mss: U16::new(1448),
        ..header(&packet, TxControl::TSO)
    };
    guest.machine.set_tx_busy(0, true);
    guest.send_with(0, 0, &packet, header, 54, &[]);
    guest.send(0, 0, &Frame::raw(Frame::PEER, 500, 2));
    guest.machine.settle();
    assert_eq!(guest.completions(0, 0), []);
    guest.machine.set_tx_busy(0, false);
    guest.machine.settle();
    let mut expected = expected_segments(&payload, 1448, 9);
    expected.push(Frame::raw(Frame::PEER, 500, 2));
    assert_eq!(guest.machine.take_sent(0), expected);
    assert_eq!(guest.completions(0, 0).len(), 2);
}

/// The length of a packet to be segmented is limited before the packet is read.
#[test]
fn segmentation_has_a_limit() {
    let mut guest = TestGuest::default();
    let qp = &mut guest.ports[0].qps[0];
    let header = SwqeHeader {
        tx_control: U16::new(TxControl::TSO.with(SwqeFormat::Mixed.flags()).0),
        immediate_data_length: 54,
        descriptors: 20,
        mss: U16::new(1448),
        ..SwqeHeader::default()
    };
    let mut entry = [0u8; 512];
    entry[..32].copy_from_slice(header.as_bytes());
    for index in 0..20 {
        let at = SwqeFormat::Mixed.descriptor_offset(index, 512).unwrap();
        let descriptor = Descriptor::new(0x8000_0000_0000_0000, qp.lkeys[0], 16 << 20);
        entry[at..at + 16].copy_from_slice(descriptor.as_bytes());
    }
    qp.post_raw(&mut guest.machine, &entry);
    guest.machine.host.take_accesses();
    guest.machine.settle();
    assert_eq!(guest.machine.refusals("FrameTooLong"), 1);
    // The accesses are to the work request and to the event that reports it.
    assert_eq!(guest.machine.host.take_accesses().len(), 2);
}

/// An IPv4 header in the place of the Ethernet header does not count as one.
#[test]
fn headers_start_behind_the_ethernet_header() {
    let mut guest = TestGuest::default();
    let frame = Frame::udp(Frame::PEER, (1, 2), &[0; 60]);
    let packet = &frame[14..];
    let header = SwqeHeader {
        ip_start: 0,
        ip_end: 19,
        ..header(&frame, TxControl::IP_CHECKSUM)
    };
    guest.send_with(0, 0, packet, header, 0, &[]);
    guest.machine.settle();
    assert_eq!(guest.machine.refusals("ChecksumHeader"), 1);
}
