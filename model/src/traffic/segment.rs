// SPDX-License-Identifier: GPL-2.0

//! What the adapter does to a frame before it sends it: checksums, segmentation, VLAN tag (§6.2).

use std::collections::VecDeque;

use ehea_abi::wqe::{SwqeHeader, TxControl};
use zerocopy::{FromBytes as _, IntoBytes as _};

use crate::refusal::Violation;
use crate::traffic::checksum::{store, Ipv4, Sum, Tcp, UDP_CHECKSUM};
use crate::traffic::filter::{ETHER_HEADER, ETHER_TYPE, TPID_8021Q, VLAN_TAG};

/// The frames that a send work request asks for, made from its bytes. `longest` is the longest
/// frame that the port sends, without CRC.
pub(crate) fn frames(
    header: &SwqeHeader,
    mut frame: Vec<u8>,
    longest: usize,
) -> Result<VecDeque<Vec<u8>>, Violation> {
    if frame.len() < ETHER_HEADER {
        return Err(Violation::FrameTooShort);
    }
    let control = header.control();
    let tag = control.contains(TxControl::VLAN_INSERT);
    let longest_untagged = match tag {
        true => longest.saturating_sub(VLAN_TAG),
        false => longest,
    };
    let mut frames = if control.contains(TxControl::TSO) {
        segments(header, &frame, longest_untagged)?
    } else {
        if frame.len() > longest_untagged {
            return Err(Violation::FrameTooLong);
        }
        let ip = control.contains(TxControl::IP_CHECKSUM);
        let l4 = control.contains(TxControl::TCP_CHECKSUM);
        if ip || l4 {
            fill_checksums(header, &mut frame, ip, l4).ok_or(Violation::ChecksumHeader)?;
        }
        VecDeque::from([frame])
    };
    if tag {
        let [a, b] = TPID_8021Q.to_be_bytes();
        let [c, d] = header.vlan_tag.to_bytes();
        for frame in &mut frames {
            frame.splice(ETHER_TYPE..ETHER_TYPE, [a, b, c, d]);
        }
    }
    Ok(frames)
}

/// Where a frame's IPv4 header starts and where what follows it starts, as the work request says.
fn ip_range(header: &SwqeHeader) -> (usize, usize) {
    let end = usize::from(header.ip_end).saturating_add(1);
    (header.ip_start.into(), end)
}

/// Computes checksums from scratch; what stands in the fields is ignored (§6.2, choice). None if the
/// frame is not what the work request says.
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
        // UDP: 0 means "no checksum".
        let checksum = match (ip_header.protocol, checksum) {
            (Ipv4::UDP, 0) => 0xffff,
            (_, checksum) => checksum,
        };
        store(payload, field, checksum);
    }
    Some(())
}

/// Cuts a TCP packet into segments of `mss` bytes.
fn segments(
    header: &SwqeHeader,
    frame: &[u8],
    longest: usize,
) -> Result<VecDeque<Vec<u8>>, Violation> {
    let headers = usize::from(header.immediate_data_length);
    let mss = usize::from(header.mss.get());
    let total = headers.saturating_add(mss);
    if mss == 0 || total > longest {
        return Err(Violation::SegmentSize);
    }
    let (start, end) = ip_range(header);
    let (head, payload) = frame
        .split_at_checked(headers)
        .ok_or(Violation::SegmentHeader)?;
    let ip = head
        .get(start..)
        .and_then(|bytes| Ipv4::read_from_prefix(bytes).ok());
    let tcp = head
        .get(end..)
        .and_then(|bytes| Tcp::read_from_prefix(bytes).ok());
    let (Some((ip, _)), Some((tcp, _))) = (ip, tcp) else {
        return Err(Violation::SegmentHeader);
    };
    if ip.protocol != Ipv4::TCP || end.saturating_add(tcp.header_length()) != headers {
        return Err(Violation::SegmentHeader);
    }

    let mut frames = VecDeque::new();
    let mut rest = payload;
    let mut offset = 0u32;
    let mut id = ip.id.get();
    loop {
        let (now, later) = rest.split_at_checked(mss).unwrap_or((rest, &[]));
        let mut ip = ip;
        let mut tcp = tcp;
        let length = headers.saturating_add(now.len()).saturating_sub(start);
        ip.total_length
            .set(u16::try_from(length).map_err(|_| Violation::SegmentSize)?);
        ip.id.set(id);
        tcp.sequence.set(tcp.sequence.get().wrapping_add(offset));
        if !later.is_empty() {
            tcp.flags &= !(Tcp::FIN | Tcp::PSH);
        }
        let mut segment = Vec::with_capacity(total.saturating_add(VLAN_TAG));
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
        frames.push_back(segment);
        if later.is_empty() {
            return Ok(frames);
        }
        rest = later;
        // A segment's size has 16 bits.
        offset = offset.wrapping_add(header.mss.get().into());
        id = id.wrapping_add(1);
    }
}
