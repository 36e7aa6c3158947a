// SPDX-License-Identifier: GPL-2.0

//! Reception: from the wire into the FIFO of a queue pair, and from there into its queues (§6.5,
//! §7).

use ehea_abi::cb::port::ReceiveControl;
use ehea_abi::cqe::{Cqe, CqeStatus, ReceiveQueue};
use ehea_abi::wqe::{Descriptor, Rwqe};
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::FromBytes as _;

use crate::host::{DmaError, Env, TraceLevel};
use crate::limits::RECEIVE_BUFFER;
use crate::memory::translate::{Piece, Regions};
use crate::memory::Access;
use crate::object::flight::Arrival;
use crate::object::port::{bump, Port, MAX_WIRE_FRAME_STANDARD};
use crate::object::qp::Qp;
use crate::object::state::State;
use crate::refusal::Violation;
use crate::traffic::budget::Budget;
use crate::traffic::checksum::{Ipv4, Sum, Tcp, UDP_CHECKSUM, UDP_HEADER};
use crate::traffic::filter::{
    destination, route, vlan_tci, word, Cast, ETHER_HEADER, ETHER_TYPE, TYPE_IPV4, VLAN_TAG,
};

/// Length in bytes of the shortest frame on the wire, without CRC. Frames from the backend may be
/// shorter.
pub(crate) const MIN_FRAME: usize = 60;
/// Length of the CRC in bytes.
pub(crate) const CRC: usize = Cqe::CRC_LENGTH as usize;
/// Bytes stored as the CRC, which the backend does not provide (§7.4, choice). A driver that
/// mistakes them for data notices.
const CRC_BYTES: [u8; CRC] = [0xc5; CRC];
/// Length in bytes, with CRC, up to which frames go into RQ1 (§7.2, choice).
const RQ1_MAX: usize = 192;
/// Length in bytes, with CRC, up to which frames go into RQ2.
const RQ2_MAX: usize = 2048;

impl State {
    /// Checks whether the backend may deliver a frame.
    pub(crate) fn can_rx(&mut self, index: usize) -> bool {
        let flow_control = self.config.flow_control;
        let Some(port) = self.ports.get_mut(index) else {
            return true;
        };
        port.held_back = flow_control && port.must_hold_back();
        !port.held_back
    }

    /// Receives a frame from the wire. Returns false if the backend must keep it.
    pub(crate) fn rx_frame(&mut self, env: &mut Env<'_>, index: usize, frame: &[u8]) -> bool {
        if !self.can_rx(index) {
            return false;
        }
        let Some(port) = self.ports.get_mut(index) else {
            return true;
        };
        let wire = frame.len().max(MIN_FRAME).saturating_add(CRC);
        let jumbo = port.receive_option(ReceiveControl::JUMBO_FRAME);
        if !port.link || !port.operational || frame.len() < ETHER_HEADER {
            port.drop_frame();
        } else if wire > port.max_wire_frame() || wire > MAX_WIRE_FRAME_STANDARD && !jumbo {
            port.drop_long_frame();
        } else if !port.accepts(frame) {
            env.trace(
                TraceLevel::Verbose,
                format_args!(
                    "port {}: frame to {:x?} filtered",
                    port.number,
                    destination(frame).0
                ),
            );
        } else {
            self.hold(index, frame);
        }
        true
    }

    /// Chooses a queue pair for a frame and makes the frame wait for it. The choice is made when a
    /// frame arrives and is not affected by later changes (§7.1, choice).
    fn hold(&mut self, index: usize, frame: &[u8]) {
        let Some(port) = self.ports.get_mut(index) else {
            return;
        };
        let qp = route(&self.qps, index, port, frame).and_then(|handle| self.qps.get_mut(handle));
        match qp {
            Some(qp) if !qp.lets_wait(self.config.disabled_drops) => {
                qp.counters.dropped = qp.counters.dropped.saturating_add(1);
                port.drop_frame();
            }
            Some(qp) if port.fifo_has_room() => {
                let length = frame.len().max(MIN_FRAME);
                let mut own = Vec::with_capacity(length.saturating_add(CRC));
                own.extend_from_slice(frame);
                own.resize(length, 0);
                port.hold(&mut qp.fifo, own);
            }
            _ => port.drop_frame(),
        }
    }

    /// Tells the backends to continue that were told to wait and need not wait any more.
    pub(crate) fn release_backends(&mut self, env: &mut Env<'_>) {
        for (index, port) in self.ports.iter_mut().enumerate() {
            if port.held_back && !port.must_hold_back() {
                port.held_back = false;
                env.host.rx_flush(index);
            }
        }
    }

    /// Delivers frames of a queue pair within a budget.
    pub(crate) fn receive(&mut self, env: &mut Env<'_>, handle: u64, budget: &mut Budget) {
        while !budget.is_used_up() {
            let Some(bytes) = self.deliver_next(env, handle) else {
                break;
            };
            budget.spend_frame(bytes);
        }
    }

    /// Delivers the next frame of a queue pair and returns its length in bytes. Returns `None` if
    /// there is no frame, or if it must wait.
    fn deliver_next(&mut self, env: &mut Env<'_>, handle: u64) -> Option<usize> {
        let qp = self.qps.get_mut(handle)?;
        let port = self.ports.get_mut(qp.port)?;
        let queue = ready_queue(qp, port)?;
        let mut frame = port.release(&mut qp.fifo)?;
        let received = frame.len();
        let tag = stripped_tag(port, &frame);
        if tag.is_some() {
            frame.drain(ETHER_TYPE..ETHER_TYPE.saturating_add(VLAN_TAG));
        }
        let check = check(&frame, port.receive_control);
        let mut cqe = Cqe {
            kind: Cqe::kind_byte(queue),
            status: U16::new(check.status.0 | env.faults.corrupt_status(port.number)),
            num_bytes_transferred: U16::new(
                u16::try_from(frame.len().saturating_add(CRC)).unwrap_or(u16::MAX),
            ),
            inet_checksum_value: U16::new(check.checksum),
            header_length: check.header_length,
            qp_token: U32::new(qp.token),
            ..Cqe::default()
        };
        if let Some(tci) = tag {
            cqe.status
                .set(cqe.status().with(CqeStatus::VLAN_TAG_XTRACT).0);
            cqe.vlan_tag = U16::new(tci);
        }
        frame.extend_from_slice(&CRC_BYTES);

        let regions = Regions {
            mrs: &self.mrs,
            smrs: &self.smrs,
        };
        let cast = Cast::of(destination(&frame));
        let stored = match place(env, regions, qp, queue, cqe, frame) {
            Ok(Some(arrival)) => self.depart(env, handle, arrival),
            Ok(None) => {
                qp.counters.dropped = qp.counters.dropped.saturating_add(1);
                port.drop_long_frame();
                return Some(received);
            }
            Err(why) => Err(why),
        };
        let qp = self.qps.get_mut(handle)?;
        let port = self.ports.get_mut(qp.port)?;
        if let Err(why) = stored {
            qp.counters.dropped = qp.counters.dropped.saturating_add(1);
            port.drop_frame();
            self.fail_qp(env, handle, why);
            return Some(received);
        }
        qp.counters.received = qp.counters.received.saturating_add(1);
        let statistics = &mut port.statistics;
        bump(&mut statistics.rxo, received.saturating_add(CRC));
        match cast {
            Cast::Unicast => bump(&mut statistics.rxucp, 1),
            Cast::Multicast => bump(&mut statistics.rxmcp, 1),
            Cast::Broadcast => bump(&mut statistics.rxbcp, 1),
        }
        if cqe.status().any_of(CqeStatus::ERROR_MASK) {
            bump(&mut statistics.rxuerr, 1);
        }
        port.counters.received(received);
        env.trace(
            TraceLevel::Verbose,
            format_args!(
                "port {}: {received} bytes to queue pair {:#x}, {queue:?}, status {:#x}",
                port.number,
                qp.number,
                cqe.status().0
            ),
        );
        Some(received)
    }
}

/// Checks whether a frame that waits for a queue pair can be delivered.
pub(crate) fn may_receive(qp: &Qp, port: &Port) -> bool {
    ready_queue(qp, port).is_some()
}

/// Returns the receive queue that can take the next frame of a queue pair now.
fn ready_queue(qp: &Qp, port: &Port) -> Option<ReceiveQueue> {
    let frame = qp.fifo.front()?;
    let tag = stripped_tag(port, frame).map_or(0, |_| VLAN_TAG);
    let stored = frame.len().saturating_sub(tag);
    choose_queue(qp, stored.saturating_add(CRC))
}

/// Returns the VLAN tag that is moved from a frame into its completion.
fn stripped_tag(port: &Port, frame: &[u8]) -> Option<u16> {
    vlan_tci(frame).filter(|_| port.receive_option(ReceiveControl::VLAN_XTRACT))
}

/// Returns the receive queue for a frame of `length` bytes with CRC, or `None` if the frame has to
/// wait. Every frame takes a slot of RQ1.
fn choose_queue(qp: &Qp, length: usize) -> Option<ReceiveQueue> {
    if !qp.can_receive() || qp.rq1.credits() == 0 || !qp.has_flight_room() {
        return None;
    }
    if length <= RQ1_MAX {
        Some(ReceiveQueue::Rq1)
    } else if length <= RQ2_MAX {
        (qp.rq2.credits() > 0).then_some(ReceiveQueue::Rq2)
    } else {
        (qp.rq3.credits() > 0).then_some(ReceiveQueue::Rq3)
    }
}

/// Takes the slots and buffer for a frame and its completion. Returns `None` if the buffer is too
/// short; nothing is taken then.
fn place(
    env: &mut Env<'_>,
    regions: Regions<'_>,
    qp: &mut Qp,
    queue: ReceiveQueue,
    mut completion: Cqe,
    frame: Vec<u8>,
) -> Result<Option<Arrival>, Violation> {
    let slot = (qp.rq1.address()?, qp.rq1.cursor.toggle().bit());
    let work_queue = match queue {
        ReceiveQueue::Rq1 => None,
        ReceiveQueue::Rq2 => Some(&mut qp.rq2),
        ReceiveQueue::Rq3 => Some(&mut qp.rq3),
    };
    let mut buffer = Buffer::default();
    if let Some(work_queue) = work_queue {
        // The array has the size of the largest slot. It is a copy, so that the guest cannot change
        // it during the check.
        let mut entry = [0u8; 512];
        let bytes = work_queue.cursor.slot_bytes();
        let entry = entry.get_mut(..bytes).unwrap_or_default();
        env.dma_read(work_queue.address()?, entry)
            .map_err(DmaError::of_queue)?;
        buffer = receive_buffer(regions, qp.pd, entry)?;
        if buffer.room() < frame.len() {
            return Ok(None);
        }
        work_queue.take();
        completion.wr_id = U64::new(buffer.wr_id);
    }
    qp.rq1.take();
    Ok(Some(Arrival::Received {
        buffer: buffer.pieces,
        keys: buffer.keys,
        frame,
        slot,
        completion,
    }))
}

/// A receive buffer: the identifier of its work request, its pieces of guest memory and their keys.
#[derive(Default)]
struct Buffer {
    wr_id: u64,
    pieces: Vec<(u64, usize)>,
    keys: Vec<u32>,
}

impl Buffer {
    fn room(&self) -> usize {
        let lengths = self.pieces.iter().map(|&(_, len)| len);
        lengths.fold(0, usize::saturating_add)
    }
}

/// Returns the buffer that a work request describes.
fn receive_buffer(regions: Regions<'_>, pd: u32, entry: &[u8]) -> Result<Buffer, Violation> {
    let (rwqe, _) = Rwqe::ref_from_prefix(entry).map_err(|_| Violation::ReceiveDescriptors)?;
    let count = usize::from(rwqe.data_segments);
    if count == 0 || count > Rwqe::max_descriptors(entry.len()) {
        return Err(Violation::ReceiveDescriptors);
    }
    let descriptors = entry.get(Rwqe::DESCRIPTORS..).unwrap_or_default();
    let (descriptors, _) = <[Descriptor]>::ref_from_prefix_with_elems(descriptors, count)
        .map_err(|_| Violation::ReceiveDescriptors)?;
    let mut pieces: Vec<Piece> = Vec::with_capacity(count);
    for descriptor in descriptors {
        regions.translate(pd, descriptor, Access::Write, RECEIVE_BUFFER, &mut pieces)?;
    }
    Ok(Buffer {
        wr_id: rwqe.wr_id.get(),
        pieces: pieces.iter().map(|piece| (piece.gpa, piece.len)).collect(),
        keys: descriptors.iter().map(|d| d.lkey.get()).collect(),
    })
}

/// Result of the adapter's checks of a frame.
struct Check {
    status: CqeStatus,
    checksum: u16,
    header_length: u8,
}

/// Checks an unfragmented IPv4 TCP or UDP frame. For every other frame, the result is the checksum
/// of everything behind the Ethernet header (§7.4, choice).
fn check(frame: &[u8], control: ReceiveControl) -> Check {
    let packet = frame.get(ETHER_HEADER..).unwrap_or_default();
    let verified = match word(frame, ETHER_TYPE) {
        Some(TYPE_IPV4) => verify_ipv4(packet),
        _ => Verified::default(),
    };
    let wanted = |bit| control.contains(ReceiveControl::VALID.with(bit));
    let mut status = CqeStatus::default();
    if wanted(ReceiveControl::IP_CHKSUM) && verified.header_is_intact == Some(false) {
        status = status.with(CqeStatus::ERR_IP);
    }
    if wanted(ReceiveControl::TCP_UDP_CHKSUM) && verified.payload_is_intact == Some(false) {
        status = status.with(CqeStatus::ERR_TCP);
    }
    let both = ReceiveControl::IP_CHKSUM.with(ReceiveControl::TCP_UDP_CHKSUM);
    let checked =
        wanted(both) && verified.header_is_intact.is_some() && verified.payload_is_intact.is_some();
    let checksum = if checked {
        0
    } else {
        status = status.with(CqeStatus::BLIND_CKSUM);
        Sum::default().bytes(packet).checksum()
    };
    Check {
        status,
        checksum,
        header_length: verified.header_length,
    }
}

/// Results of the verification; `None` for a part that could not be verified.
#[derive(Default)]
struct Verified {
    header_is_intact: Option<bool>,
    payload_is_intact: Option<bool>,
    /// Length of the TCP or UDP header in bytes.
    header_length: u8,
}

fn verify_ipv4(packet: &[u8]) -> Verified {
    let mut verified = Verified::default();
    let Ok((ip, _)) = Ipv4::ref_from_prefix(packet) else {
        return verified;
    };
    let header_length = ip.header_length();
    let packet = packet
        .get(..ip.total_length.get().into())
        .unwrap_or_default();
    let Some((header, payload)) = packet.split_at_checked(header_length) else {
        return verified;
    };
    if !ip.is_version_4() || header_length < size_of::<Ipv4>() {
        return verified;
    }
    verified.header_is_intact = Some(Sum::default().bytes(header).is_intact());
    if ip.is_fragment() {
        return verified;
    }
    let l4_header = match ip.protocol {
        Ipv4::TCP => Tcp::ref_from_prefix(payload)
            .ok()
            .map(|(tcp, _)| tcp.header_length())
            .filter(|&length| length >= size_of::<Tcp>()),
        Ipv4::UDP => Some(UDP_HEADER),
        _ => None,
    };
    let Some(l4_header) = l4_header.filter(|&length| length <= payload.len()) else {
        return verified;
    };
    verified.header_length = u8::try_from(l4_header).unwrap_or(0);
    let unchecked = ip.protocol == Ipv4::UDP && word(payload, UDP_CHECKSUM) == Some(0);
    if !unchecked {
        let sum = ip.pseudo_header(payload.len()).bytes(payload);
        verified.payload_is_intact = Some(sum.is_intact());
    }
    verified
}
