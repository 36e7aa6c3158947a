// SPDX-License-Identifier: GPL-2.0

//! An open port whose queues are operated by the driver's code.

mod moving;

pub(crate) use moving::Stuck;

use std::cell::Cell;
use std::rc::Rc;

use ehea_core::abi::bits::Bits64;
use ehea_core::abi::cb::adapter::PageSizes;
use ehea_core::abi::cb::port::{PortBlock0, PortBlock4, PortCategory, ReceiveControl};
use ehea_core::abi::cb::qp::{QpBlock0, QpControl, QpState};
use ehea_core::abi::cqe::Cqe;
use ehea_core::abi::hcall::{
    AllocCq, AllocEq, AllocQp, CqAllocated, DisableAndGetHea, EqAllocated, EqKind, Opcode,
    PortCall, QpAllocated, QpCall, QpCategory, RqSlots,
};
use ehea_core::abi::regs;
use ehea_core::abi::ring::{QueueSize, SlotSize};
use ehea_core::hcall::{HcallError, PROTECTION_DOMAIN};
use ehea_core::mr::{self};
use ehea_core::queue::{
    parse_received, write_immediate, write_mixed, CompletionReader, CqGeometry, EqGeometry, Frame,
    Location, PostedBuffers, QpGeometry, Segment, SendCompleter, SendPoster, Slot, SwqeError,
};
use zerocopy::byteorder::big_endian::{U32, U64};

use super::generation::{register, Generation, Keys};
use super::guest::Guest;
use super::ring::{Ring, RingSlot};

/// Distances in bytes between buffers of RQ2, buffers of RQ3, and frames to be sent.
const STRIDE: [u64; 3] = [4096, 12288, 16384];
/// Number of bytes that a port takes from one place for buffers of RQ2, buffers of RQ3, and frames
/// to be sent.
const MEMORY: u64 = 8 << 20;

/// Place from which buffers come.
#[derive(Clone, Copy, Debug)]
struct Memory {
    /// First addresses of buffers of RQ2, of buffers of RQ3, and of frames to be sent.
    base: [u64; 3],
}

impl Memory {
    /// Returns the place of `MEMORY` bytes at `start`.
    fn at(start: u64, slots: u64) -> Self {
        let [rq2, rq3, send] = STRIDE.map(|stride| stride * slots);
        assert!(rq2 + rq3 + send <= MEMORY);
        Self {
            base: [start, start + rq2, start + rq2 + rq3],
        }
    }

    fn buffer(&self, queue: usize, slot: usize) -> u64 {
        self.base[queue] + slot as u64 * STRIDE[queue]
    }
}

/// An open port with one queue pair.
pub(crate) struct Port<'a> {
    guest: &'a Guest,
    number: u16,
    /// Keys in use, or `None` while the queue pair pauses and there is no memory region.
    keys: Option<Keys<'a>>,
    /// Keys that are prepared for a change to another memory map.
    next: Option<Keys<'a>>,
    /// Handles in the order in which they are freed, the queue pair first.
    handles: Vec<u64>,
    qp_registers: u64,
    send_cq_registers: u64,
    sq: Ring<'a>,
    rq1: Ring<'a>,
    rq2: Ring<'a>,
    rq3: Ring<'a>,
    send_cq: Ring<'a>,
    pub(crate) poster: SendPoster,
    pub(crate) completer: SendCompleter,
    send_reader: CompletionReader,
    recv_reader: CompletionReader,
    buffers2: PostedBuffers,
    buffers3: PostedBuffers,
    /// Buffers of RQ2 and RQ3, by slot.
    buffers: [Vec<Option<u64>>; 2],
    /// Place that is always mapped.
    memory: Memory,
    /// Place where the kernel allocates buffers, if it is another one.
    source: Option<Memory>,
    /// Address of the control block.
    block: u64,
    slots: u64,
    pub(crate) signalled: Cell<u64>,
    /// Address of the last buffer that was not mapped.
    pub(crate) missed: Cell<Option<u64>>,
    /// True while the queue pair pauses.
    paused: bool,
    /// Never true: nothing is lost here when work requests are written again.
    broken: bool,
    /// True if the queue pair cannot resume, so that the port must be closed and opened again.
    pub(crate) needs_reset: bool,
}

impl<'a> Port<'a> {
    fn alloc_pages(guest: &Guest, count: usize) -> (u64, Vec<u64>) {
        let base = guest.machine.borrow_mut().alloc_pages(count as u64);
        (base, (0..count as u64).map(|n| base + n * 4096).collect())
    }

    fn alloc_eq(guest: &Guest, kind: EqKind) -> u64 {
        let firmware = guest.firmware();
        let call = AllocEq {
            adapter: firmware.adapter(),
            kind,
            interrupt_sources: 1,
            max_eqes: 20,
        };
        let regs = firmware.call(Opcode::ALLOC_HEA_RESOURCE, call.pack(), "EQ");
        let eq = EqAllocated::unpack(&regs.unwrap());
        let geometry = EqGeometry::check(&call, &eq).unwrap();
        let (_, pages) = Self::alloc_pages(guest, geometry.pages());
        firmware
            .register_queue(eq.handle, Default::default(), pages.into_iter(), "EQ")
            .unwrap();
        eq.handle
    }

    fn alloc_cq(guest: &'a Guest, eq: u64, cqes: u32) -> (CqAllocated, CqGeometry, Ring<'a>) {
        let firmware = guest.firmware();
        let call = AllocCq {
            adapter: firmware.adapter(),
            eq,
            token: 1,
            cqes,
        };
        let regs = firmware.call(Opcode::ALLOC_HEA_RESOURCE, call.pack(), "CQ");
        let cq = CqAllocated::unpack(&regs.unwrap());
        let geometry = CqGeometry::check(&call, &cq).unwrap();
        let (base, pages) = Self::alloc_pages(guest, geometry.pages());
        firmware
            .register_queue(cq.handle, Default::default(), pages.into_iter(), "CQ")
            .unwrap();
        let ring = Ring {
            guest,
            base,
            slot_bytes: 64,
        };
        (cq, geometry, ring)
    }

    /// Opens port 1 with a map of all memory.
    pub(crate) fn open(guest: &'a Guest, size: QueueSize) -> Self {
        let (number, count) = (mr::MapNumber::default(), Rc::default());
        let map = Rc::new(guest.map());
        let region = register(guest, PageSizes(0), &map).unwrap();
        let generation = Generation::new(number, map, region, count);
        Self::open_with(guest, 1, size, &Rc::new(generation))
    }

    /// Opens a port.
    pub(crate) fn open_with(
        guest: &'a Guest,
        number: u16,
        size: QueueSize,
        generation: &Rc<Generation<'a>>,
    ) -> Self {
        let firmware = guest.firmware();
        let affiliated = Self::alloc_eq(guest, EqKind::Affiliated);
        let eq = Self::alloc_eq(guest, EqKind::Completion);
        let (recv_cq, _, _) = Self::alloc_cq(guest, eq, 3 * size.entries());
        let (send_cq, send_cq_geometry, send_cq_ring) =
            Self::alloc_cq(guest, eq, 2 * size.entries());
        let call = AllocQp {
            adapter: firmware.adapter(),
            low_latency: true,
            signalling: AllocQp::SIGNAL_ON_REQUEST,
            receive_queues: AllocQp::ALL_RECEIVE_QUEUES,
            send_cq: send_cq.handle,
            recv_cq: recv_cq.handle,
            affiliated_eq: affiliated,
            token: 0,
            pd: PROTECTION_DOMAIN,
            sq_size: size.code(),
            sq_slot: SlotSize::B512.code(),
            rq: RqSlots {
                size: [size.code(); 3],
                slot: [
                    SlotSize::B256.code(),
                    SlotSize::B128.code(),
                    SlotSize::B128.code(),
                ],
            },
            port: number,
            threshold_rq2: AllocQp::THRESHOLD_RQ2_DEFAULT,
            threshold_rq3: AllocQp::THRESHOLD_RQ3_DEFAULT,
        };
        let regs = firmware.call(Opcode::ALLOC_HEA_RESOURCE, call.pack(), "QP");
        let qp = QpAllocated::unpack(&regs.unwrap());
        let geometry = QpGeometry::check(&call, &qp).unwrap();
        let [sq, rq1, rq2, rq3] = geometry.queues().map(|(select, queue)| {
            let (base, pages) = Self::alloc_pages(guest, queue.pages());
            firmware
                .register_queue(qp.handle, select, pages.into_iter(), "QP")
                .unwrap();
            Ring {
                guest,
                base,
                slot_bytes: queue.slot_bytes(),
            }
        });
        let slots = geometry.sq.slots() as u64;
        let (memory, _) = Self::alloc_pages(guest, (MEMORY / 4096) as usize);
        let (block, _) = Self::alloc_pages(guest, 1);
        let mut port = Self {
            guest,
            number,
            keys: Some(Keys::new(generation).unwrap()),
            next: None,
            handles: vec![qp.handle, send_cq.handle, recv_cq.handle, eq, affiliated],
            qp_registers: qp.registers,
            send_cq_registers: send_cq.registers,
            sq,
            rq1,
            rq2,
            rq3,
            send_cq: send_cq_ring,
            poster: SendPoster::new(&geometry.sq),
            completer: SendCompleter::new(&geometry.sq),
            send_reader: CompletionReader::new(send_cq_geometry.slots()),
            recv_reader: CompletionReader::new(geometry.rq1.slots()),
            buffers2: PostedBuffers::rq2(&geometry.rq2, 2048),
            buffers3: PostedBuffers::rq3(&geometry.rq3, 9022),
            buffers: [&geometry.rq2, &geometry.rq3].map(|queue| vec![None; queue.slots()]),
            memory: Memory::at(memory, slots),
            source: None,
            block,
            slots,
            signalled: Cell::new(0),
            missed: Cell::new(None),
            paused: false,
            broken: false,
            needs_reset: false,
        };
        port.bring_up(&qp);
        port.store(regs::qp::RQ1A, geometry.rq1.inline_capacity());
        port.refill();
        port
    }

    fn bring_up(&self, qp: &QpAllocated) {
        let firmware = self.guest.firmware();
        let block = self.block;
        let port_call = |category, select| {
            let call = PortCall {
                adapter: firmware.adapter(),
                category,
                port: self.number,
                select,
                block,
            };
            firmware
                .call(Opcode::MODIFY_HEA_PORT, call.pack(), "port")
                .unwrap();
        };
        let mut attributes = PortBlock0 {
            port_rc: U64::new(
                ReceiveControl::VALID
                    .with(ReceiveControl::VLAN_XTRACT)
                    .with(ReceiveControl::JUMBO_FRAME)
                    .0,
            ),
            ..PortBlock0::default()
        };
        attributes.default_qpn_arr[0].set(qp.number.into());
        self.guest.machine.borrow_mut().write(block, &attributes);
        port_call(
            PortCategory::ATTRIBUTES,
            PortBlock0::SELECT_RECEIVE_CONTROL.mask() | PortBlock0::SELECT_DEFAULT_QPNS.mask(),
        );
        let jumbo = PortBlock4 {
            jumbo_frame: U32::new(1),
            ..PortBlock4::default()
        };
        self.guest.machine.borrow_mut().write(block, &jumbo);
        port_call(PortCategory::LINK, PortBlock4::SELECT_JUMBO.mask());
        for control in [
            QpControl::request(QpState::Initialized, false),
            QpControl::request(QpState::Initialized, true),
            QpControl::request(QpState::ReadyToSend, true),
        ] {
            self.modify(qp.handle, control).unwrap();
        }
    }

    fn qp_call(&self, opcode: Opcode, qp: u64, select: Bits64) -> Result<(), HcallError> {
        let firmware = self.guest.firmware();
        let call = QpCall {
            adapter: firmware.adapter(),
            category: QpCategory::BLOCK0,
            qp,
            select: select.mask(),
            block: self.block,
        };
        firmware.call(opcode, call.pack(), "QP").map(drop)
    }

    fn modify(&self, qp: u64, control: QpControl) -> Result<(), HcallError> {
        let state = QpBlock0 {
            control: U64::new(control.0),
            ..QpBlock0::default()
        };
        self.guest.machine.borrow_mut().write(self.block, &state);
        self.qp_call(Opcode::MODIFY_HEA_QP, qp, QpBlock0::SELECT_CONTROL)
    }

    fn store(&self, register: usize, count: usize) {
        let address = self.qp_registers + register as u64;
        let value = regs::WORK_QUEUE_ADDER.set(count as u64);
        self.guest.machine.borrow_mut().store(address, value);
    }

    /// Makes the kernel allocate buffers at `start` from now on, or at its first place for `None`.
    pub(crate) fn allocate_at(&mut self, start: Option<u64>) {
        self.source = start.map(|start| Memory::at(start, self.slots));
    }

    fn keys(&self) -> &Keys<'a> {
        self.keys.as_ref().expect("the queue pair has no keys")
    }

    fn translate(&self, real: u64, len: u64) -> Option<u64> {
        self.keys().generation().map().translate(real, len)
    }

    /// Returns a buffer that is mapped. A buffer of the kernel that is not mapped counts as a miss,
    /// and another one takes its place.
    fn buffer(&self, queue: usize, slot: usize, len: u64) -> u64 {
        if let Some(source) = self.source {
            let real = source.buffer(queue, slot);
            if self.translate(real, len).is_some() {
                return real;
            }
            self.missed.set(Some(real));
        }
        self.memory.buffer(queue, slot)
    }

    /// Posts as many buffers as are missing.
    fn refill(&mut self) {
        for (queue, register) in [(0, regs::qp::RQ2A), (1, regs::qp::RQ3A)] {
            let mut count = 0;
            loop {
                let buffers = [&self.buffers2, &self.buffers3][queue];
                if buffers.missing() == 0 {
                    break;
                }
                let (index, len) = (buffers.next_slot(), buffers.buffer_len().into());
                let real = self.buffer(queue, index, len);
                let bus = self.translate(real, len).unwrap();
                self.buffers[queue][index] = Some(real);
                let mut slot = [&self.rq2, &self.rq3][queue].slot(index);
                let lkey = self.keys().receive().key;
                let buffers = [&mut self.buffers2, &mut self.buffers3];
                let [buffers2, buffers3] = buffers;
                let buffers = if queue == 0 { buffers2 } else { buffers3 };
                buffers.post(&mut slot, bus, lkey).unwrap();
                count += 1;
            }
            if count > 0 {
                self.store(register, count);
            }
        }
    }

    /// Sends a frame whose bytes are in pieces of the lengths `pieces`. Returns false if the queue
    /// is full.
    pub(crate) fn send(
        &mut self,
        bytes: &[u8],
        pieces: &[usize],
        frame: Frame,
    ) -> Result<bool, SwqeError> {
        let completed = self.completer.completed();
        let ticket = self.poster.reserve(completed, frame.is_immediate());
        let Some(ticket) = ticket.filter(|_| !self.paused) else {
            return Ok(false);
        };
        let mut address = self.buffer(2, ticket.slot, STRIDE[2]);
        let mut rest = bytes;
        let mut segments = Vec::new();
        for &len in pieces {
            let (piece, tail) = rest.split_at(len);
            self.guest.machine.borrow_mut().write(address, piece);
            segments.push(Segment {
                address,
                len: len as u32,
            });
            // The pieces do not touch.
            address += len as u64 + 7;
            rest = tail;
        }
        let mut slot = self.sq.slot(ticket.slot);
        let copy = |slot: &mut RingSlot<'_>, offset, len: usize| slot.write(offset, &bytes[..len]);
        if frame.is_immediate() {
            write_immediate(&mut slot, &ticket, &frame, copy)?;
        } else {
            let lkey = self.keys().send().key;
            let translate = |piece: &Segment| self.translate(piece.address, piece.len.into());
            write_mixed(&mut slot, &ticket, &frame, lkey, segments, translate, copy)?;
        }
        self.poster.post(&ticket);
        self.signalled
            .set(self.signalled.get() + u64::from(ticket.signalled));
        self.store(regs::qp::SQA, 1);
        Ok(true)
    }

    /// Lets the adapter work, then reads all send completions.
    pub(crate) fn complete(&mut self) {
        self.guest.machine.borrow_mut().settle();
        let mut count = 0;
        while let Some(sent) = self.send_reader.next_sent(&self.send_cq) {
            let done = self.completer.complete(sent, self.poster.posted()).unwrap();
            assert_eq!(done.error, None);
            count += 1;
        }
        let address = self.send_cq_registers + regs::cq::FECA as u64;
        let mut machine = self.guest.machine.borrow_mut();
        machine.store(address, regs::FECA_COUNT.set(count));
        assert!(count <= self.signalled.get());
        self.signalled.set(self.signalled.get() - count);
    }

    /// Receives all frames that have arrived.
    pub(crate) fn receive(&mut self) -> Vec<(Location, Vec<u8>)> {
        self.guest.machine.borrow_mut().settle();
        let mut frames = Vec::new();
        while let Some((slot, cqe)) = self.recv_reader.next(&self.rq1) {
            let received = parse_received(&cqe, &self.buffers2, &self.buffers3).unwrap();
            let from = match received.location {
                Location::Inline => slot.address + Cqe::INLINE_DATA as u64,
                Location::Rq2(index) => {
                    self.buffers2.used();
                    self.buffers[0][index].take().unwrap()
                }
                Location::Rq3(index) => {
                    self.buffers3.used();
                    self.buffers[1][index].take().unwrap()
                }
            };
            let len = received.frame.unwrap().len;
            let bytes = self.guest.machine.borrow().read_bytes(from, len);
            frames.push((received.location, bytes));
        }
        if !frames.is_empty() {
            self.store(regs::qp::RQ1A, frames.len());
        }
        self.refill();
        frames
    }

    /// Closes the port and asserts that nothing went wrong.
    pub(crate) fn close(self) {
        let guest = self.guest;
        self.shut();
        let stats = guest.machine.borrow().stats();
        assert_eq!(stats.refused_accesses, 0);
        assert_eq!(stats.ignored_mmio, 0);
        assert!(stats.refusals.is_empty(), "{:?}", stats.refusals);
    }

    /// Closes the port.
    pub(crate) fn shut(self) {
        let firmware = self.guest.firmware();
        let call = DisableAndGetHea {
            adapter: firmware.adapter(),
            report: DisableAndGetHea::WQE_POINTERS,
            qp: self.handles[0],
        };
        firmware
            .call(Opcode::DISABLE_AND_GET_HEA, call.pack(), "QP")
            .unwrap();
        for &handle in &self.handles {
            firmware.free(handle, false, "queue").unwrap();
        }
    }
}
