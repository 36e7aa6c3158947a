// SPDX-License-Identifier: GPL-2.0

//! Processing of a frame before it is sent: checksums, segmentation, VLAN tag (§6.2).

use ehea_abi::wqe::{SwqeHeader, TxControl};
use zerocopy::{FromBytes as _, IntoBytes as _};

use crate::object::qp::Uncut;
use crate::refusal::Violation;
use crate::traffic::checksum::{store, Ipv4, Sum, Tcp, UDP_CHECKSUM};
use crate::traffic::filter::{ETHER_HEADER, ETHER_TYPE, TPID_8021Q, VLAN_TAG};

/// Returns the first frame for a send work request, made from its bytes `frame`, and the rest that
/// is still to be cut. `longest` is the length of the longest frame that the port sends, without
/// CRC.
pub(crate) fn first_frame(
    header: &SwqeHeader,
    mut frame: Vec<u8>,
    longest: usize,
) -> Result<(Vec<u8>, Option<Uncut>), Violation> {
    if frame.len() < ETHER_HEADER {
        return Err(Violation::FrameTooShort);
    }
    let control = header.control();
    let longest = match control.contains(TxControl::VLAN_INSERT) {
        true => longest.saturating_sub(VLAN_TAG),
        false => longest,
    };
    if control.contains(TxControl::TSO) {
        let headers = usize::from(header.immediate_data_length);
        let mss = usize::from(header.mss.get());
        if mss == 0 || headers.saturating_add(mss) > longest {
            return Err(Violation::SegmentSize);
        }
        let uncut = Uncut {
            header: *header,
            packet: frame,
            segments: 0,
            offset: 0,
        };
        return next_frame(uncut);
    }
    if frame.len() > longest {
        return Err(Violation::FrameTooLong);
    }
    let ip = control.contains(TxControl::IP_CHECKSUM);
    let l4 = control.contains(TxControl::TCP_CHECKSUM);
    if ip || l4 {
        fill_checksums(header, &mut frame, ip, l4).ok_or(Violation::ChecksumHeader)?;
    }
    insert_tag(header, &mut frame);
    Ok((frame, None))
}

/// Returns the next segment of a packet and the rest of the packet. All segments have the same
/// headers, so only the first can fail.
pub(crate) fn next_frame(mut uncut: Uncut) -> Result<(Vec<u8>, Option<Uncut>), Violation> {
    let (mut frame, last) = segment(&uncut)?;
    insert_tag(&uncut.header, &mut frame);
    if last {
        return Ok((frame, None));
    }
    let mss = usize::from(uncut.header.mss.get());
    uncut.offset = uncut.offset.saturating_add(mss);
    uncut.segments = uncut.segments.wrapping_add(1);
    Ok((frame, Some(uncut)))
}

fn insert_tag(header: &SwqeHeader, frame: &mut Vec<u8>) {
    if header.control().contains(TxControl::VLAN_INSERT) {
        let [a, b] = TPID_8021Q.to_be_bytes();
        let [c, d] = header.vlan_tag.to_bytes();
        frame.splice(ETHER_TYPE..ETHER_TYPE, [a, b, c, d]);
    }
}

/// Returns the offset of a frame's IPv4 header and the offset of what follows it, according to the
/// work request.
fn ip_range(header: &SwqeHeader) -> (usize, usize) {
    let end = usize::from(header.ip_end).saturating_add(1);
    (header.ip_start.into(), end)
}

/// Computes checksums from scratch and ignores the old values of the fields (§6.2, choice). Returns
/// `None` if the frame does not match the work request.
fn fill_checksums(header: &SwqeHeader, frame: &mut [u8], ip: bool, l4: bool) -> Option<()> {
    let (start, end) = ip_range(header);
    let (head, payload) = frame.split_at_mut_checked(end)?;
    let ip_bytes = head.get_mut(start..)?;
    let (ip_header, _) = Ipv4::read_from_prefix(ip_bytes).ok()?;
    let length = ip_bytes.len();
    if start < ETHER_HEADER || !ip_header.is_version_4() || ip_header.header_length() != length {
        return None;
    }
    if ip {
        store(ip_bytes, Ipv4::CHECKSUM, 0);
        let checksum = Sum::default().bytes(ip_bytes).checksum();
        store(ip_bytes, Ipv4::CHECKSUM, checksum);
    }
    if l4 {
        let field = match ip_header.protocol {
            Ipv4::TCP => Tcp::CHECKSUM,
            Ipv4::UDP => UDP_CHECKSUM,
            _ => return None,
        };
        if usize::from(header.tcp_offset) != end.checked_add(field)? {
            return None;
        }
        let length = usize::from(ip_header.total_length.get()).checked_sub(length)?;
        let payload = payload.get_mut(..length)?;
        payload.get(field..field.checked_add(2)?)?;
        store(payload, field, 0);
        let checksum = ip_header.pseudo_header(length).bytes(payload).checksum();
        // In UDP, 0 means "no checksum".
        let checksum = match (ip_header.protocol, checksum) {
            (Ipv4::UDP, 0) => 0xffff,
            (_, checksum) => checksum,
        };
        store(payload, field, checksum);
    }
    Some(())
}

/// Cuts the next segment of `mss` bytes out of a TCP packet. Returns whether it is the last.
fn segment(uncut: &Uncut) -> Result<(Vec<u8>, bool), Violation> {
    let header = &uncut.header;
    let headers = usize::from(header.immediate_data_length);
    let (start, end) = ip_range(header);
    let (head, payload) = uncut
        .packet
        .split_at_checked(headers)
        .ok_or(Violation::SegmentHeader)?;
    let ip = head
        .get(start..)
        .and_then(|bytes| Ipv4::read_from_prefix(bytes).ok());
    let tcp = head
        .get(end..)
        .and_then(|bytes| Tcp::read_from_prefix(bytes).ok());
    let (Some(mut ip), Some(mut tcp)) = (ip.map(|(ip, _)| ip), tcp.map(|(tcp, _)| tcp)) else {
        return Err(Violation::SegmentHeader);
    };
    if ip.protocol != Ipv4::TCP || end.saturating_add(tcp.header_length()) != headers {
        return Err(Violation::SegmentHeader);
    }

    let rest = payload.get(uncut.offset..).unwrap_or_default();
    let mss = header.mss.get().into();
    let (now, later) = rest.split_at_checked(mss).unwrap_or((rest, &[]));
    let length = headers.saturating_add(now.len());
    ip.total_length
        .set(u16::try_from(length.saturating_sub(start)).map_err(|_| Violation::SegmentSize)?);
    ip.id.set(ip.id.get().wrapping_add(uncut.segments));
    // A packet is shorter than 2^32 bytes.
    tcp.sequence
        .set(tcp.sequence.get().wrapping_add(uncut.offset as u32));
    let last = later.is_empty();
    if !last {
        tcp.flags &= !(Tcp::FIN | Tcp::PSH);
    }
    let mut segment = Vec::with_capacity(length.saturating_add(VLAN_TAG));
    segment.extend_from_slice(head);
    segment.extend_from_slice(now);
    let written = segment
        .get_mut(start..)
        .is_some_and(|b| ip.write_to_prefix(b).is_ok())
        && segment
            .get_mut(end..)
            .is_some_and(|b| tcp.write_to_prefix(b).is_ok());
    if !written || fill_checksums(header, &mut segment, true, true).is_none() {
        return Err(Violation::SegmentHeader);
    }
    Ok((segment, last))
}
