// SPDX-License-Identifier: GPL-2.0

//! Sending: from work requests to frames (§6.2).

use ehea_abi::cqe::{Cqe, CqeStatus};
use ehea_abi::wqe::{Descriptor, SwqeFormat, SwqeHeader, TxControl};
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::FromBytes as _;

use crate::host::{DmaError, Env, TraceLevel};
use crate::limits::MAX_SEGMENTED;
use crate::memory::translate::{Piece, Regions};
use crate::memory::Access;
use crate::object::flight::Arrival;
use crate::object::port::{bump, Port};
use crate::object::qp::{Outgoing, Qp};
use crate::object::state::State;
use crate::refusal::Violation;
use crate::traffic::budget::Budget;
use crate::traffic::filter::{destination, Cast};
use crate::traffic::rx::{CRC, MIN_FRAME};
use crate::traffic::segment;

impl State {
    /// Sends from a queue pair within a budget.
    pub(crate) fn transmit(&mut self, env: &mut Env<'_>, handle: u64, budget: &mut Budget) {
        while !budget.is_used_up() {
            match self.send_next(env, handle, budget) {
                Ok(true) => {}
                Ok(false) => break,
                Err(why) => {
                    budget.spend_frame(0);
                    self.fail_qp(env, handle, why);
                    break;
                }
            }
        }
    }

    /// Sends the next frame. If none is under way, it first reads the next send work request.
    /// Returns false if there is nothing to send, or if it must wait.
    fn send_next(
        &mut self,
        env: &mut Env<'_>,
        handle: u64,
        budget: &mut Budget,
    ) -> Result<bool, Violation> {
        let Some(qp) = self.qps.get_mut(handle) else {
            return Ok(false);
        };
        let Some(port) = self.ports.get_mut(qp.port) else {
            return Ok(false);
        };
        if !may_send(qp, port) {
            return Ok(false);
        }
        let mut outgoing = match qp.outgoing.take() {
            Some(outgoing) => outgoing,
            None => {
                // The array has the size of the largest slot. It is a copy, so that the guest
                // cannot change it during the check.
                let mut slot = [0u8; 512];
                let slot = slot
                    .get_mut(..qp.sq.cursor.slot_bytes())
                    .unwrap_or_default();
                env.dma_read(qp.sq.address()?, slot)
                    .map_err(DmaError::of_queue)?;
                let regions = Regions {
                    mrs: &self.mrs,
                    smrs: &self.smrs,
                };
                fetch(env, regions, qp.pd, slot, port.max_wire_frame(), budget)?
            }
        };
        if let Some(frame) = outgoing.frame.take() {
            if !send(env, port, qp.port, &frame) {
                port.tx_busy = true;
                outgoing.frame = Some(frame);
                qp.outgoing = Some(outgoing);
                return Ok(false);
            }
        }
        budget.spend_frame(0);
        if let Some(uncut) = outgoing.uncut.take() {
            let (frame, uncut) = segment::next_frame(uncut)?;
            budget.spend(frame.len());
            outgoing.frame = Some(frame);
            outgoing.uncut = uncut;
            qp.outgoing = Some(outgoing);
            return Ok(true);
        }
        qp.sq.take();
        port.counters
            .offloaded(outgoing.checksum, outgoing.segmented);
        if !outgoing.signalled || env.faults.drops_completion(port.number) {
            return Ok(true);
        }
        let cqe = Cqe {
            wr_id: U64::new(outgoing.wr_id),
            status: U16::new(CqeStatus::default().0),
            qp_token: U32::new(qp.token),
            ..Cqe::default()
        };
        self.depart(env, handle, Arrival::Sent(cqe))?;
        Ok(true)
    }
}

/// Checks whether the next send work request of a queue pair can be executed or continued.
pub(crate) fn may_send(qp: &Qp, port: &Port) -> bool {
    qp.can_send() && qp.sq.credits() > 0 && !port.tx_busy && qp.has_flight_room()
}

/// Gives a frame to the backend. Returns false if the backend is busy.
fn send(env: &mut Env<'_>, port: &mut Port, index: usize, frame: &[u8]) -> bool {
    if !port.link {
        port.counters.tx_errors = port.counters.tx_errors.saturating_add(1);
        return true;
    }
    let taken = if frame.len() < MIN_FRAME {
        let mut padded = [0u8; MIN_FRAME];
        for (to, from) in padded.iter_mut().zip(frame) {
            *to = *from;
        }
        env.host.tx_frame(index, &padded)
    } else {
        env.host.tx_frame(index, frame)
    };
    if !taken {
        return false;
    }
    let wire = frame.len().max(MIN_FRAME).saturating_add(CRC);
    bump(&mut port.statistics.txo, wire);
    match Cast::of(destination(frame)) {
        Cast::Unicast => bump(&mut port.statistics.txucp, 1),
        Cast::Multicast => bump(&mut port.statistics.txmcp, 1),
        Cast::Broadcast => bump(&mut port.statistics.txbcp, 1),
    }
    port.counters.sent(frame.len());
    env.trace(
        TraceLevel::Verbose,
        format_args!("port {}: sent {} bytes", port.number, frame.len()),
    );
    true
}

/// Reads a send work request and the data that it sends. PURGE counts at this moment (M11).
fn fetch(
    env: &mut Env<'_>,
    regions: Regions<'_>,
    pd: u32,
    slot: &[u8],
    max_wire_frame: usize,
    budget: &mut Budget,
) -> Result<Outgoing, Violation> {
    let (header, _) = SwqeHeader::ref_from_prefix(slot).map_err(|_| Violation::SendFormat)?;
    let control = header.control();
    let mut outgoing = Outgoing {
        wr_id: header.wr_id.get(),
        signalled: control.contains(TxControl::SIGNALLED_COMPLETION),
        ..Outgoing::default()
    };
    if control.contains(TxControl::PURGE) {
        return Ok(outgoing);
    }
    outgoing.segmented = control.contains(TxControl::TSO);
    outgoing.checksum = outgoing.segmented || control.contains(TxControl::TCP_CHECKSUM);
    let format = SwqeFormat::of(control).ok_or(Violation::SendFormat)?;
    let longest = max_wire_frame.saturating_sub(CRC);
    let limit = match control.contains(TxControl::TSO) {
        true => MAX_SEGMENTED,
        false => longest,
    };
    let frame = gather(env, regions, pd, slot, header, format, limit)?;
    budget.spend(frame.len());
    let (frame, uncut) = segment::first_frame(header, frame, longest)?;
    if uncut.is_some() {
        budget.spend(frame.len());
    }
    outgoing.frame = Some(frame);
    outgoing.uncut = uncut;
    Ok(outgoing)
}

/// Returns the data of a work request: immediate data, then the memory of the descriptors.
fn gather(
    env: &mut Env<'_>,
    regions: Regions<'_>,
    pd: u32,
    slot: &[u8],
    header: &SwqeHeader,
    format: SwqeFormat,
    limit: usize,
) -> Result<Vec<u8>, Violation> {
    // Data that the flags do not mark as present do not count, whatever the length field says.
    let immediate: &[u8] = match format {
        SwqeFormat::Descriptors => &[],
        SwqeFormat::Mixed | SwqeFormat::Immediate => {
            let length = usize::from(header.immediate_data_length);
            if length > format.immediate_max() {
                return Err(Violation::SendImmediate);
            }
            slot.get(format.immediate_offset()..)
                .and_then(|data| data.get(..length))
                .ok_or(Violation::SendImmediate)?
        }
    };
    let count = match format {
        SwqeFormat::Immediate => 0,
        SwqeFormat::Descriptors | SwqeFormat::Mixed => usize::from(header.descriptors),
    };
    let needs_one = !matches!(format, SwqeFormat::Immediate);
    if count > format.max_descriptors(slot.len()) || needs_one && count == 0 {
        return Err(Violation::SendDescriptors);
    }
    let descriptors: Vec<&Descriptor> = (0..count)
        .map(|index| {
            let at = format.descriptor_offset(index, slot.len())?;
            let (descriptor, _) = Descriptor::ref_from_prefix(slot.get(at..)?).ok()?;
            Some(descriptor)
        })
        .collect::<Option<_>>()
        .ok_or(Violation::SendDescriptors)?;
    // Everything is limited before it is translated, and translated before anything is read.
    let length = descriptors.iter().fold(immediate.len(), |sum, descriptor| {
        sum.saturating_add(descriptor.length.get() as usize)
    });
    if length > limit {
        return Err(Violation::FrameTooLong);
    }
    let mut pieces: Vec<Piece> = Vec::with_capacity(count);
    for descriptor in descriptors {
        regions.translate(pd, descriptor, Access::Read, limit, &mut pieces)?;
    }
    let mut frame = vec![0; length];
    let (head, mut rest) = frame
        .split_at_mut_checked(immediate.len())
        .ok_or(Violation::SendImmediate)?;
    head.copy_from_slice(immediate);
    for piece in pieces {
        let (now, later) = rest
            .split_at_mut_checked(piece.len)
            .ok_or(Violation::FrameTooLong)?;
        if !now.is_empty() {
            env.dma_read(piece.gpa, now).map_err(DmaError::of_data)?;
        }
        rest = later;
    }
    Ok(frame)
}
