// SPDX-License-Identifier: GPL-2.0

//! Offloads: the checksums and the segmentation that the adapter can be asked for (eHEA ABI §6.2).
//!
//! What its sender says of a frame may come from anybody: a packet socket, a tunnel, a virtual
//! machine behind a bridge. The adapter stops a queue pair if a work request does not match the
//! headers of its frame. Therefore the headers are read here, and the adapter is asked only for what
//! it can do with them. Software has to do the rest.

use super::swqe::{Frame, Tso, TxChecksum};

/// Length of an Ethernet header in bytes.
const ETHERNET_HEADER: u32 = 14;
/// Length of a VLAN tag in bytes.
const VLAN_TAG: u32 = 4;
/// Length in bytes of the longest packet that the adapter is asked to segment.
pub const LONGEST_SEGMENTED: u32 = 1 << 16;

/// EtherType of IPv4, as it is in a frame.
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
/// Length of an IPv4 header without options in bytes (RFC 791).
const IPV4_HEADER: usize = 20;
/// "More fragments" and the offset of a fragment (RFC 791).
const FRAGMENT: u16 = 0x3fff;

/// Protocol number, length of the shortest header in bytes, and offset of the checksum in it
/// (RFC 9293).
const TCP: (u8, usize, usize) = (6, 20, 16);
/// The same of UDP (RFC 768).
const UDP: (u8, usize, usize) = (17, 8, 6);
/// Offset of the byte of a TCP header whose upper half is the length of the header, in words of four
/// bytes.
const TCP_DATA_OFFSET: usize = 12;
/// Offset of the length in a UDP header.
const UDP_LENGTH: usize = 4;

/// Checksum that the sender of a frame has left open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenChecksum {
    /// Offset of the first byte that the checksum covers from the start of the frame.
    pub start: u16,
    /// Offset of the checksum from `start`.
    pub field: u16,
}

/// Segmentation that the sender of a frame has left open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenSegmentation {
    /// Length of the payload of each segment in bytes.
    pub mss: u16,
    /// True for TCP over IPv4 without anything else, false for everything that the adapter does not
    /// know.
    pub tcp_v4: bool,
}

/// A frame to be sent, and what its sender says of it, right or wrong.
pub trait Packet {
    /// Returns the length of the frame in bytes, without a tag to be inserted and without CRC.
    fn frame_len(&self) -> u32;

    /// Returns the bytes at the start of the frame that are in one piece, at most `frame_len()`.
    fn linear(&self) -> &[u8];

    /// Returns the tag control information of a VLAN tag to be inserted.
    fn vlan(&self) -> Option<u16>;

    /// Returns the offset of the network header from the start of the frame.
    fn network_offset(&self) -> u16;

    /// Returns the checksum that is left open.
    fn open_checksum(&self) -> Option<OpenChecksum>;
}

/// Reason why a frame cannot be sent as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsendable {
    /// Software has to fill in the open checksum first.
    Checksum,
    /// The frame cannot be sent at all. It is too short or too long, or it should be segmented in a
    /// way that [`can_segment`] rules out.
    Never,
}

/// Returns the length in bytes of the longest frame that can be sent if the port sends packets of
/// `max_mtu` bytes. There is room for one VLAN tag, in the frame or to be inserted.
fn longest(packet: &impl Packet, max_mtu: u32) -> u32 {
    let tag = if packet.vlan().is_some() { 0 } else { VLAN_TAG };
    max_mtu.saturating_add(ETHERNET_HEADER).saturating_add(tag)
}

/// Checks whether a frame of `len` bytes that the adapter does not segment can be sent.
#[inline(always)]
fn fits(packet: &impl Packet, len: u32, max_mtu: u32) -> bool {
    // A difference that wraps is large.
    len.wrapping_sub(ETHERNET_HEADER) <= max_mtu || fits_untagged(packet, len, max_mtu)
}

/// [`fits`] for a frame that fits only if its tag is in it.
#[cold]
fn fits_untagged(packet: &impl Packet, len: u32, max_mtu: u32) -> bool {
    (ETHERNET_HEADER..=longest(packet, max_mtu)).contains(&len)
}

/// Describes a frame for its work request. `segmentation` is what its sender has left open. The port
/// sends packets of up to `max_mtu` bytes.
///
/// # Errors
///
/// [`Unsendable`]: says what has to be done first, or that the frame cannot be sent.
#[inline(always)]
pub fn describe(
    packet: &impl Packet,
    segmentation: Option<OpenSegmentation>,
    max_mtu: u32,
) -> Result<Frame, Unsendable> {
    let len = packet.frame_len();
    let (checksum, tso) = match segmentation {
        None => {
            if !fits(packet, len, max_mtu) {
                return Err(Unsendable::Never);
            }
            let checksum = match packet.open_checksum() {
                None => TxChecksum::None,
                Some(open) => checksum(packet, open).ok_or(Unsendable::Checksum)?,
            };
            (checksum, None)
        }
        Some(open) => {
            let (checksum, tso) = segmented(packet, open, max_mtu).ok_or(Unsendable::Never)?;
            (checksum, Some(tso))
        }
    };
    Ok(Frame {
        len,
        linear_len: packet.linear().len() as u32,
        checksum,
        tso,
        vlan: packet.vlan(),
    })
}

/// Checks whether the adapter can segment a packet. Otherwise software has to.
pub fn can_segment(packet: &impl Packet, open: OpenSegmentation, max_mtu: u32) -> bool {
    segmented(packet, open, max_mtu).is_some()
}

/// Returns the checksums that the adapter has to fill in, or `None` if software has to.
#[inline]
fn checksum(packet: &impl Packet, open: OpenChecksum) -> Option<TxChecksum> {
    let headers = Headers::of(packet, open);
    headers.checksum(packet.frame_len())
}

/// Returns what the adapter has to be asked for to segment a packet, or `None` if software has to
/// segment it.
#[cold]
fn segmented(
    packet: &impl Packet,
    open: OpenSegmentation,
    max_mtu: u32,
) -> Option<(TxChecksum, Tso)> {
    let headers = Headers::of(packet, packet.open_checksum().filter(|_| open.tcp_v4)?);
    headers.segmentation(packet.frame_len(), open.mss, longest(packet, max_mtu))
}

/// Start of a frame, and what the sender says of its headers.
struct Headers<'a> {
    linear: &'a [u8],
    network: u16,
    open: OpenChecksum,
}

/// Packet in IPv4, whose header is where the sender says.
struct Ipv4<'a> {
    protocol: u8,
    /// Value of the header's field for the length of the packet in bytes.
    total_length: u16,
    /// Length of the header in bytes.
    header: usize,
    /// TCP or UDP header, and what follows it in the linear part.
    transport: &'a [u8],
}

impl<'a> Headers<'a> {
    #[inline]
    fn of(packet: &'a impl Packet, open: OpenChecksum) -> Self {
        Self {
            linear: packet.linear(),
            network: packet.network_offset(),
            open,
        }
    }

    /// Returns the packet if it is an unfragmented packet in IPv4 and the checksum starts right
    /// behind its header.
    #[inline]
    fn ipv4(&self) -> Option<Ipv4<'a>> {
        let (ethernet, packet) = self.linear.split_at_checked(self.network.into())?;
        // Behind tags of VLANs, too. The adapter gets the offset.
        if ethernet.len() < ETHERNET_HEADER as usize
            || ethernet.last_chunk() != Some(&ETHERTYPE_IPV4)
        {
            return None;
        }
        let ip: &[u8; IPV4_HEADER] = packet.first_chunk()?;
        let [version_ihl, _, total_a, total_b, _, _, fragment_a, fragment_b, _, protocol, ..] = *ip;
        let header = usize::from(version_ihl & 0xf).wrapping_mul(4);
        let is_plain = version_ihl >> 4 == 4
            && header >= IPV4_HEADER
            && u16::from_be_bytes([fragment_a, fragment_b]) & FRAGMENT == 0;
        if !is_plain
            || usize::from(self.open.start) != usize::from(self.network).wrapping_add(header)
        {
            return None;
        }
        Some(Ipv4 {
            protocol,
            total_length: u16::from_be_bytes([total_a, total_b]),
            header,
            transport: packet.get(header..)?,
        })
    }

    fn request(&self) -> Option<TxChecksum> {
        TxChecksum::ipv4(
            self.network.into(),
            self.open.start.into(),
            self.open.field.into(),
        )
    }

    /// Returns the checksums that the adapter has to fill in for a frame of `frame` bytes.
    #[inline]
    fn checksum(&self, frame: u32) -> Option<TxChecksum> {
        let packet = self.ipv4()?;
        let total = usize::from(packet.total_length);
        let len = total.checked_sub(packet.header)?;
        // The adapter sums what the header says, the stack all of the frame. They agree but for
        // padding behind the packet.
        if u32::from(self.network).wrapping_add(packet.total_length.into()) > frame {
            return None;
        }
        let is_right = match (packet.protocol, usize::from(self.open.field)) {
            (protocol, field) if (protocol, field) == (TCP.0, TCP.2) => len >= TCP.1,
            (protocol, field) if (protocol, field) == (UDP.0, UDP.2) => {
                let length = packet.transport.get(UDP_LENGTH..)?.first_chunk()?;
                len >= UDP.1 && usize::from(u16::from_be_bytes(*length)) == len
            }
            _ => false,
        };
        if !is_right {
            return None;
        }
        self.request()
    }

    /// Returns what the adapter has to be asked for to cut a frame of `len` bytes into segments with
    /// `mss` bytes of payload. No segment is longer than `longest` bytes.
    fn segmentation(&self, len: u32, mss: u16, longest: u32) -> Option<(TxChecksum, Tso)> {
        let packet = self.ipv4()?;
        if (packet.protocol, usize::from(self.open.field)) != (TCP.0, TCP.2)
            || len > LONGEST_SEGMENTED
        {
            return None;
        }
        let tcp = usize::from(packet.transport.get(TCP_DATA_OFFSET)? >> 4).wrapping_mul(4);
        if tcp < TCP.1 || tcp > packet.transport.len() {
            return None;
        }
        let headers = u32::from(self.open.start).wrapping_add(tcp as u32);
        if headers.wrapping_add(mss.into()) > longest {
            return None;
        }
        Some((self.request()?, Tso::new(mss, headers, len)?))
    }
}
