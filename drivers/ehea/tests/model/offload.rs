// SPDX-License-Identifier: GPL-2.0

//! Frames whose sender says anything of them. Whatever it is, the adapter refuses no frame, and what
//! leaves is the frame with correct checksums.

use ehea_core::abi::ring::QueueSize;
use ehea_core::queue::{
    can_segment, describe, Frame, OpenChecksum, OpenSegmentation, Packet, Tso, TxChecksum,
    Unsendable,
};
use ehea_model::testkit::{Frame as TestFrame, TestMachine};
use proptest::prelude::*;
use proptest::sample::Index;

use super::guest::Guest;
use super::port::Port;

/// Length of the longest packet that the port sends.
const MAX_MTU: u32 = 9000;
const ETHERNET: usize = 14;
const VLAN_TAG: usize = 4;

/// A frame as a sender passes it to the driver.
#[derive(Clone, Debug)]
struct Passed {
    bytes: Vec<u8>,
    /// Lengths of the pieces in memory.
    pieces: Vec<usize>,
    network: u16,
    checksum: Option<OpenChecksum>,
    segmentation: Option<OpenSegmentation>,
    vlan: Option<u16>,
}

impl Packet for Passed {
    fn frame_len(&self) -> u32 {
        self.bytes.len() as u32
    }

    fn linear(&self) -> &[u8] {
        &self.bytes[..self.pieces[0]]
    }

    fn vlan(&self) -> Option<u16> {
        self.vlan
    }

    fn network_offset(&self) -> u16 {
        self.network
    }

    fn open_checksum(&self) -> Option<OpenChecksum> {
        self.checksum
    }
}

impl Passed {
    /// Describes the frame as the driver does. The stack segments what the adapter cannot, and
    /// software fills in the checksums that the adapter cannot.
    fn describe(&mut self) -> Option<Frame> {
        let segmentation = self.segmentation;
        if segmentation.is_some_and(|open| !can_segment(self, open, MAX_MTU)) {
            self.segmentation = None;
        }
        match describe(self, self.segmentation, MAX_MTU) {
            Ok(frame) => Some(frame),
            Err(Unsendable::Never) => None,
            Err(Unsendable::Checksum) => {
                self.checksum = None;
                Some(describe(self, self.segmentation, MAX_MTU).unwrap())
            }
        }
    }

    /// Returns the frame on the wire if the adapter does not segment it.
    fn on_the_wire(&self, frame: &Frame) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        if frame.checksum != TxChecksum::None {
            let network = usize::from(self.network);
            let ip = &mut bytes[network..];
            let header = usize::from(ip[0] & 0xf) * 4;
            let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
            fill(ip, 10, 0..header, &[]);
            let mut pseudo = ip[12..20].to_vec();
            pseudo.extend([0, ip[9]]);
            pseudo.extend(((total - header) as u16).to_be_bytes());
            let field = match ip[9] {
                6 => 16,
                17 => 6,
                protocol => panic!("checksum of protocol {protocol}"),
            };
            fill(ip, header + field, header..total, &pseudo);
            if ip[9] == 17 && ip[header + field..][..2] == [0, 0] {
                ip[header + field..][..2].fill(0xff);
            }
        }
        match self.vlan {
            Some(tci) => TestFrame::tagged(&bytes, tci),
            None => bytes,
        }
    }
}

/// Fills in a checksum at `at` over `range` and a pseudo header.
fn fill(bytes: &mut [u8], at: usize, range: std::ops::Range<usize>, pseudo: &[u8]) {
    bytes[at..at + 2].fill(0);
    let mut sum = 0u32;
    for part in [pseudo, &bytes[range]] {
        for pair in part.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    bytes[at..at + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// Puts a frame into a tunnel: UDP in IPv4.
fn tunnelled(frame: &[u8]) -> Vec<u8> {
    let inner = [&[8, 0, 0, 0, 0, 0, 42, 0], frame].concat();
    TestFrame::udp(TestFrame::PEER, (50_000, 4789), &inner)
}

/// Returns frames with correct headers, described correctly.
fn honest() -> impl Strategy<Value = Passed> {
    let payload = prop_oneof![0usize..300, 1000usize..9100, 9000usize..66_000];
    let tags = prop_oneof![
        4 => Just(vec![]),
        1 => Just(vec![5]),
        1 => Just(vec![5, 7]),
    ];
    (payload, any::<bool>(), tags, prop::bool::weighted(0.15)).prop_map(
        |(payload, tcp, tags, tunnel)| {
            let payload = TestFrame::pattern(payload, 3);
            let (ports, to) = ((1000, 2000), TestFrame::PEER);
            let mut bytes = match tcp {
                true => TestFrame::tcp(to, ports, 7, 0x18, &payload),
                // The length of UDP has 16 bits.
                false => TestFrame::udp(to, ports, &payload[..payload.len().min(65_000)]),
            };
            let mut offset = 0;
            if tunnel {
                bytes = tunnelled(&bytes);
                offset = 50;
            }
            for &tag in &tags {
                bytes = TestFrame::tagged(&bytes, tag);
                offset += 4;
            }
            Passed {
                pieces: vec![bytes.len()],
                bytes,
                // Of the outer packet, as the stack has it.
                network: (ETHERNET + 4 * tags.len()) as u16,
                checksum: Some(OpenChecksum {
                    start: (offset + 34) as u16,
                    field: if tcp { 16 } else { 6 },
                }),
                segmentation: None,
                vlan: None,
            }
        },
    )
}

/// A change of a frame or of what is said of it.
#[derive(Clone, Debug)]
enum Lie {
    Byte(Index, u8),
    /// A byte of the headers.
    HeaderByte(usize, u8),
    Cut(Index),
    Longer(usize),
    Network(u16),
    Start(u16),
    Field(u16),
    NoChecksum,
}

fn lie() -> impl Strategy<Value = Lie> {
    let near = || prop_oneof![0u16..120, any::<u16>()];
    prop_oneof![
        1 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Lie::Byte(at, byte)),
        6 => (12usize..90, prop_oneof![any::<u8>(), 0x40u8..0x50]).prop_map(|(at, byte)| Lie::HeaderByte(at, byte)),
        1 => any::<Index>().prop_map(Lie::Cut),
        1 => (1usize..64).prop_map(Lie::Longer),
        1 => near().prop_map(Lie::Network),
        1 => near().prop_map(Lie::Start),
        1 => prop_oneof![Just(6u16), Just(16), near()].prop_map(Lie::Field),
        1 => Just(Lie::NoChecksum),
    ]
}

fn tell(passed: &mut Passed, lie: Lie) {
    let len = passed.bytes.len();
    match lie {
        Lie::Byte(at, byte) if len > 0 => passed.bytes[at.index(len)] = byte,
        Lie::HeaderByte(at, byte) if at < len => passed.bytes[at] = byte,
        Lie::Byte(..) | Lie::HeaderByte(..) => {}
        Lie::Cut(at) => passed.bytes.truncate(at.index(len + 1).max(1)),
        Lie::Longer(more) => passed.bytes.resize(len + more, 0xaa),
        Lie::Network(network) => passed.network = network,
        Lie::Start(start) => {
            passed.checksum = passed.checksum.map(|open| OpenChecksum { start, ..open })
        }
        Lie::Field(field) => {
            passed.checksum = passed.checksum.map(|open| OpenChecksum { field, ..open })
        }
        Lie::NoChecksum => passed.checksum = None,
    }
}

fn segmentation() -> impl Strategy<Value = Option<OpenSegmentation>> {
    let mss = prop_oneof![
        Just(1448u16),
        Just(0),
        20u16..1500,
        8800u16..9100,
        any::<u16>().prop_map(|mss| mss | 64),
    ];
    let open =
        (mss, prop::bool::weighted(0.9)).prop_map(|(mss, tcp_v4)| OpenSegmentation { mss, tcp_v4 });
    prop::option::weighted(0.4, open)
}

fn passed() -> impl Strategy<Value = Passed> {
    let lies = prop_oneof![
        1 => Just(vec![]),
        3 => prop::collection::vec(lie(), 1..4),
    ];
    let cuts = prop::collection::vec(prop_oneof![4 => 1usize..200, 1 => 1usize..9000], 0..17);
    let vlan = prop::option::weighted(0.2, any::<u16>());
    (honest(), lies, cuts, segmentation(), vlan).prop_map(
        |(mut passed, lies, cuts, segmentation, vlan)| {
            for lie in lies {
                tell(&mut passed, lie);
            }
            passed.segmentation = segmentation;
            passed.vlan = vlan;
            passed.pieces.clear();
            let mut left = passed.bytes.len();
            for cut in cuts {
                let piece = cut.min(left);
                if piece > 0 {
                    passed.pieces.push(piece);
                }
                left -= piece;
            }
            if left > 0 {
                passed.pieces.push(left);
            }
            passed
        },
    )
}

/// Returns the number of cases: more can be asked for with the variable of proptest.
fn cases() -> u32 {
    let asked = std::env::var("PROPTEST_CASES").ok();
    asked.and_then(|cases| cases.parse().ok()).unwrap_or(200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn anything_said_of_a_frame(frames in prop::collection::vec(passed(), 50)) {
        let guest = Guest::new(TestMachine::new(TestMachine::default_config()));
        let mut port = Port::open(&guest, QueueSize::MIN);
        for mut passed in frames {
            let Some(frame) = passed.describe() else {
                continue;
            };
            prop_assert!(port.send(&passed.bytes, &passed.pieces, frame).unwrap());
            port.complete();
            let refusals = guest.machine.borrow().stats().refusals;
            prop_assert!(refusals.is_empty(), "{refusals:?}: {passed:?} as {frame:?}");
            let sent = guest.machine.borrow_mut().take_sent(0);
            let (frames, bytes) = frame.on_the_wire();
            prop_assert_eq!(sent.len() as u64, frames);
            if frame.tso.is_some() {
                let tag = 4 * u64::from(passed.vlan.is_some());
                let padded = |len: u64| len.max(60);
                let total: usize = sent.iter().map(Vec::len).sum();
                // Only the last segment can be so short that it is padded, or all are.
                prop_assert!(total as u64 >= padded(bytes + tag * frames));
                for segment in &sent {
                    prop_assert!(segment.len() <= MAX_MTU as usize + ETHERNET + VLAN_TAG);
                }
            } else {
                let wire = passed.on_the_wire(&frame);
                prop_assert_eq!(&sent[0][..wire.len()], &wire[..]);
            }
        }
        port.close();
    }
}

/// Returns a correct packet with everything left open.
fn correct(payload: usize, mss: Option<u16>) -> Passed {
    let bytes = TestFrame::tcp(
        TestFrame::PEER,
        (1, 2),
        7,
        0x18,
        &TestFrame::pattern(payload, 1),
    );
    Passed {
        pieces: vec![bytes.len()],
        bytes,
        network: 14,
        checksum: Some(OpenChecksum {
            start: 34,
            field: 16,
        }),
        segmentation: mss.map(|mss| OpenSegmentation { mss, tcp_v4: true }),
        vlan: None,
    }
}

/// Correct requests are left to the adapter.
#[test]
fn correct_requests_are_passed_on() {
    let request = TxChecksum::ipv4(14, 34, 16).unwrap();
    for payload in [0, 1, 1000, 8900] {
        let frame = describe(&correct(payload, None), None, MAX_MTU).unwrap();
        assert_eq!(frame.checksum, request);
    }
    for (payload, mss) in [(100, 40u16), (3000, 1448), (65_000, 8960)] {
        let packet = correct(payload, Some(mss));
        let frame = describe(&packet, packet.segmentation, MAX_MTU).unwrap();
        assert_eq!(frame.checksum, request);
        assert_eq!(frame.tso, Tso::new(mss, 54, packet.frame_len()));
        let frames = payload.div_ceil(mss.into()) as u64;
        assert_eq!(frame.on_the_wire(), (frames, payload as u64 + 54 * frames));
    }
    // Padding behind the packet does not count.
    let mut padded = correct(1, None);
    padded.bytes.resize(60, 0);
    padded.pieces = vec![60];
    assert_eq!(describe(&padded, None, MAX_MTU).unwrap().checksum, request);
}

/// The longest frames and segments, with and without a tag to be inserted.
#[test]
fn longest() {
    for (vlan, longest) in [(None, 9018), (Some(7), 9014)] {
        let of = |payload, mss| Passed {
            vlan,
            ..correct(payload, mss)
        };
        let fits = longest - 54;
        assert!(describe(&of(fits, None), None, MAX_MTU).is_ok());
        let longer = describe(&of(fits + 1, None), None, MAX_MTU);
        assert_eq!(longer, Err(Unsendable::Never));
        let can = |mss: usize| {
            let packet = of(60_000, Some(mss as u16));
            can_segment(&packet, packet.segmentation.unwrap(), MAX_MTU)
        };
        assert!(can(fits));
        assert!(!can(fits + 1));
    }
    let mut short = correct(0, None);
    short.checksum = None;
    short.bytes.truncate(14);
    short.pieces = vec![14];
    assert!(describe(&short, None, MAX_MTU).is_ok());
    short.bytes.truncate(13);
    short.pieces = vec![13];
    assert_eq!(describe(&short, None, MAX_MTU), Err(Unsendable::Never));
}

/// Packets that the adapter would send with a wrong checksum, or refuse, are left to software.
#[test]
fn wrong_headers_are_left_to_software() {
    type Change = (&'static str, fn(&mut Passed));
    let changes: [Change; 11] = [
        ("EtherType", |p| {
            p.bytes[12..14].copy_from_slice(&[0x86, 0xdd])
        }),
        ("version", |p| p.bytes[14] = 0x65),
        ("header too short", |p| p.bytes[14] = 0x44),
        ("header longer", |p| p.bytes[14] = 0x46),
        ("first fragment", |p| {
            p.bytes[20..22].copy_from_slice(&[0x20, 0])
        }),
        ("last fragment", |p| {
            p.bytes[20..22].copy_from_slice(&[0, 1])
        }),
        ("protocol", |p| p.bytes[23] = 132),
        ("network header", |p| p.network = 12),
        ("start", |p| {
            p.checksum = Some(OpenChecksum {
                start: 36,
                field: 16,
            })
        }),
        ("field", |p| {
            p.checksum = Some(OpenChecksum {
                start: 34,
                field: 6,
            })
        }),
        ("headers in pieces", |p| {
            p.pieces = vec![30, p.bytes.len() - 30]
        }),
    ];
    for (what, change) in changes {
        for mss in [None, Some(500)] {
            let mut packet = correct(1000, mss);
            change(&mut packet);
            match packet.segmentation {
                Some(open) => assert!(!can_segment(&packet, open, MAX_MTU), "{what}"),
                None => assert_eq!(
                    describe(&packet, None, MAX_MTU),
                    Err(Unsendable::Checksum),
                    "{what}"
                ),
            }
        }
    }
    // The length of the packet matters only for what is not segmented.
    for total in [0u16, 39, 1041] {
        let mut packet = correct(1000, None);
        packet.bytes[16..18].copy_from_slice(&total.to_be_bytes());
        assert_eq!(
            describe(&packet, None, MAX_MTU),
            Err(Unsendable::Checksum),
            "{total}"
        );
    }
    let mut udp = correct(0, None);
    udp.bytes = TestFrame::udp(TestFrame::PEER, (1, 2), &[0; 100]);
    udp.pieces = vec![udp.bytes.len()];
    udp.checksum = Some(OpenChecksum {
        start: 34,
        field: 6,
    });
    assert!(describe(&udp, None, MAX_MTU).is_ok());
    udp.bytes[39] -= 1;
    assert_eq!(
        describe(&udp, None, MAX_MTU),
        Err(Unsendable::Checksum),
        "length of UDP"
    );
}
