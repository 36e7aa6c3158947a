// SPDX-License-Identifier: GPL-2.0

//! Sending and receiving by a guest.

use ehea_abi::cqe::{Cqe, ReceiveQueue};
use ehea_abi::regs;
use ehea_abi::wqe::{Descriptor, SwqeFormat, SwqeHeader, TxControl};
use zerocopy::byteorder::big_endian::U16;
use zerocopy::IntoBytes as _;

use super::{Received, TestGuest, TestQp};

impl TestGuest {
    /// Sends a frame like the old driver, with a request for a completion: in format 3 up to 224
    /// bytes, else in format 2.
    pub fn send(&mut self, port: usize, qp: usize, frame: &[u8]) {
        self.send_with(port, qp, frame, SwqeHeader::default(), 160, &[]);
    }

    /// Sends a frame with the flags and offsets of `header`. If it has more than 224 bytes, the
    /// first `immediate` are in the work request, and the rest is in descriptors that end at
    /// `cuts`.
    pub fn send_with(
        &mut self,
        port: usize,
        qp: usize,
        frame: &[u8],
        mut header: SwqeHeader,
        immediate: usize,
        cuts: &[usize],
    ) {
        let ram = self.machine.ram().to_vec();
        let qp = &mut self.ports[port].qps[qp];
        let mut flags = header
            .control()
            .with(TxControl::CRC)
            .with(TxControl::SIGNALLED_COMPLETION);
        let mut entry = [0u8; 512];
        let whole = frame.len() <= SwqeFormat::IMMEDIATE_MAX && !flags.contains(TxControl::TSO);
        let immediate = if whole { frame.len() } else { immediate };
        let format = match (whole, immediate) {
            (true, _) => SwqeFormat::Immediate,
            (false, 0) => SwqeFormat::Descriptors,
            (false, _) => SwqeFormat::Mixed,
        };
        flags = flags.with(format.flags());
        let at = format.immediate_offset();
        entry[at..at + immediate].copy_from_slice(&frame[..immediate]);
        let base = qp.tx_memory + u64::from(qp.sq.position) * TestQp::TX_STRIDE;
        let rest = &frame[immediate..];
        let ends: Vec<usize> = cuts.iter().copied().chain([rest.len()]).collect();
        let mut start = 0;
        let mut count = 0;
        // Pieces lie apart from each other, each at an odd address.
        let mut gpa = base + 1;
        for end in ends {
            if end == start {
                continue;
            }
            let piece = &rest[start..end];
            self.machine.write(gpa, piece);
            let length = piece.len() as u32;
            let descriptor = Descriptor::new(Self::bus(&ram, gpa), qp.lkeys[0], length);
            let at = format.descriptor_offset(count, 512).expect("fits");
            entry[at..at + 16].copy_from_slice(descriptor.as_bytes());
            gpa += piece.len() as u64 + 33;
            count += 1;
            start = end;
        }
        assert!(gpa - base <= TestQp::TX_STRIDE);
        header.tx_control = U16::new(flags.0);
        header.immediate_data_length = immediate as u8;
        header.descriptors = count as u8;
        entry[..32].copy_from_slice(header.as_bytes());
        qp.post_raw(&mut self.machine, &entry);
    }

    /// Returns the frames that a queue pair received, and gives their slots and buffers back.
    pub fn receive(&mut self, port: usize, qp: usize) -> Vec<Received> {
        let ram = self.machine.ram().to_vec();
        let qp = &mut self.ports[port].qps[qp];
        let frames = qp.peek(&self.machine);
        for (queue, kind, register) in [
            (0, ReceiveQueue::Rq2, regs::qp::RQ2A),
            (1, ReceiveQueue::Rq3, regs::qp::RQ3A),
        ] {
            let used = |f: &&Received| f.cqe.receive_queue() == Some(kind);
            let count = frames.iter().filter(used).count() as u32;
            qp.post(&mut self.machine, queue, count, |gpa| Self::bus(&ram, gpa));
            if count > 0 {
                qp.store(&mut self.machine, register, count.into());
            }
        }
        if !frames.is_empty() {
            qp.store(&mut self.machine, regs::qp::RQ1A, frames.len() as u64);
        }
        frames
    }

    /// Returns the send completions of a queue pair and gives them back.
    pub fn completions(&mut self, port: usize, qp: usize) -> Vec<Cqe> {
        self.ports[port].qps[qp].send_cq.take(&mut self.machine)
    }
}
