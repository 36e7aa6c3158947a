// SPDX-License-Identifier: GPL-2.0

//! An open port whose queues are run by the driver's code.

use std::cell::Cell;
use std::rc::Rc;

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
use ehea_core::mr::{MemoryRegion, SharedRegion, PROTECTION_DOMAIN};
use ehea_core::queue::{
    parse_received, write_swqe, CompletionEntry, CompletionMemory, CompletionReader, CqGeometry,
    EqGeometry, Frame, Location, OutOfSlot, PostedBuffers, QpGeometry, Segment, SendCompleter,
    SendPoster, Slot, SwqeError,
};
use zerocopy::byteorder::big_endian::{U32, U64};

use super::guest::{Guest, Map};

/// Bytes between the buffers of RQ2 and of RQ3, and of frames to be sent.
const STRIDE: [u64; 3] = [4096, 12288, 16384];
const PORT: u16 = 1;

/// A ring in contiguous memory of the guest.
pub(crate) struct Ring<'a> {
    guest: &'a Guest,
    base: u64,
    slot_bytes: usize,
}

impl<'a> Ring<'a> {
    fn slot(&self, index: usize) -> RingSlot<'a> {
        RingSlot {
            guest: self.guest,
            address: self.base + (index * self.slot_bytes) as u64,
            size: self.slot_bytes,
        }
    }
}

impl CompletionMemory for Ring<'_> {
    type Entry<'a>
        = RingSlot<'a>
    where
        Self: 'a;

    fn entry(&self, index: usize) -> RingSlot<'_> {
        self.slot(index)
    }

    fn read_barrier(&self) {}
}

impl CompletionEntry for RingSlot<'_> {
    fn valid_word(&self) -> u64 {
        let address = self.address + Cqe::VALID_WORD as u64;
        self.guest.machine.borrow().read::<U64>(address).get()
    }

    fn wr_id(&self) -> u64 {
        self.guest.machine.borrow().read::<U64>(self.address).get()
    }

    fn completion(&self) -> Cqe {
        self.guest.machine.borrow().read(self.address)
    }
}

pub(crate) struct RingSlot<'a> {
    guest: &'a Guest,
    address: u64,
    size: usize,
}

impl Slot for RingSlot<'_> {
    fn size(&self) -> usize {
        self.size
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), OutOfSlot> {
        if offset + bytes.len() > self.size {
            return Err(OutOfSlot);
        }
        let address = self.address + offset as u64;
        self.guest.machine.borrow_mut().write(address, bytes);
        Ok(())
    }
}

type Key<'a> = SharedRegion<&'a Guest, Rc<MemoryRegion<&'a Guest>>>;

/// An open port with one queue pair.
pub(crate) struct Port<'a> {
    guest: &'a Guest,
    map: Map,
    send_key: Key<'a>,
    recv_key: Key<'a>,
    /// Handles in the order in which they are freed; the queue pair first.
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
    /// Memory for buffers of RQ2, RQ3 and frames to be sent.
    memory: [u64; 3],
    pub(crate) signalled: Cell<u64>,
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

    pub(crate) fn open(guest: &'a Guest, size: QueueSize) -> Self {
        let firmware = guest.firmware();
        let map = guest.map();
        let region = MemoryRegion::register(&firmware, &mut guest.list(), &map, PageSizes(0));
        let region = Rc::new(region.unwrap());

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
            port: PORT,
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
        let memory =
            STRIDE.map(|stride| Self::alloc_pages(guest, (stride * slots / 4096) as usize).0);
        let mut port = Self {
            guest,
            map,
            send_key: SharedRegion::register(region.clone()).unwrap(),
            recv_key: SharedRegion::register(region).unwrap(),
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
            memory,
            signalled: Cell::new(0),
        };
        port.bring_up(&qp);
        port.store(regs::qp::RQ1A, geometry.rq1.inline_capacity());
        port.refill();
        port
    }

    fn bring_up(&self, qp: &QpAllocated) {
        let firmware = self.guest.firmware();
        let (block, _) = Self::alloc_pages(self.guest, 1);
        let port_call = |category, select| {
            let call = PortCall {
                adapter: firmware.adapter(),
                category,
                port: PORT,
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
            let state = QpBlock0 {
                control: U64::new(control.0),
                ..QpBlock0::default()
            };
            self.guest.machine.borrow_mut().write(block, &state);
            let call = QpCall {
                adapter: firmware.adapter(),
                category: QpCategory::BLOCK0,
                qp: qp.handle,
                select: QpBlock0::SELECT_CONTROL.mask(),
                block,
            };
            firmware
                .call(Opcode::MODIFY_HEA_QP, call.pack(), "QP")
                .unwrap();
        }
    }

    fn store(&self, register: usize, count: usize) {
        let address = self.qp_registers + register as u64;
        let value = regs::WORK_QUEUE_ADDER.set(count as u64);
        self.guest.machine.borrow_mut().store(address, value);
    }

    fn bus(&self, real: u64, len: u64) -> u64 {
        self.map.translate(real, len).unwrap()
    }

    /// Posts as many buffers as are missing.
    fn refill(&mut self) {
        let lkey = self.recv_key.lkey();
        for (queue, register) in [(0, regs::qp::RQ2A), (1, regs::qp::RQ3A)] {
            let mut count = 0;
            loop {
                let (buffers, ring) = match queue {
                    0 => (&self.buffers2, &self.rq2),
                    _ => (&self.buffers3, &self.rq3),
                };
                if buffers.missing() == 0 {
                    break;
                }
                let index = buffers.next_slot();
                let real = self.memory[queue] + index as u64 * STRIDE[queue];
                let bus = self.bus(real, buffers.buffer_len().into());
                let mut slot = ring.slot(index);
                let buffers = match queue {
                    0 => &mut self.buffers2,
                    _ => &mut self.buffers3,
                };
                buffers.post(&mut slot, bus, lkey).unwrap();
                count += 1;
            }
            if count > 0 {
                self.store(register, count);
            }
        }
    }

    /// Sends a frame whose bytes are in pieces of these lengths; false if the queue is full.
    pub(crate) fn send(
        &mut self,
        bytes: &[u8],
        pieces: &[usize],
        frame: Frame,
    ) -> Result<bool, SwqeError> {
        let completed = self.completer.completed();
        let Some(ticket) = self.poster.reserve(completed, frame.is_immediate()) else {
            return Ok(false);
        };
        let mut address = self.memory[2] + ticket.slot as u64 * STRIDE[2];
        let mut rest = bytes;
        let mut segments = Vec::new();
        for &len in pieces {
            let (piece, tail) = rest.split_at(len);
            self.guest.machine.borrow_mut().write(address, piece);
            segments.push(Segment {
                address,
                len: len as u32,
            });
            // Pieces don't touch.
            address += len as u64 + 7;
            rest = tail;
        }
        write_swqe(
            &mut self.sq.slot(ticket.slot),
            &ticket,
            &frame,
            self.send_key.lkey(),
            segments,
            |real, len| self.map.translate(real, len),
            |slot, offset, len| slot.write(offset, &bytes[..len]),
        )?;
        self.poster.post(&ticket);
        self.signalled
            .set(self.signalled.get() + u64::from(ticket.signalled));
        self.store(regs::qp::SQA, 1);
        Ok(true)
    }

    /// Lets the adapter work and reads all send completions.
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

    /// Receives all frames that are there.
    pub(crate) fn receive(&mut self) -> Vec<(Location, Vec<u8>)> {
        self.guest.machine.borrow_mut().settle();
        let mut frames = Vec::new();
        while let Some((slot, cqe)) = self.recv_reader.next(&self.rq1) {
            let received = parse_received(&cqe, &self.buffers2, &self.buffers3).unwrap();
            let from = match received.location {
                Location::Inline => self.rq1.slot(slot).address + Cqe::INLINE_DATA as u64,
                Location::Rq2(index) => {
                    self.buffers2.used();
                    self.memory[0] + index as u64 * STRIDE[0]
                }
                Location::Rq3(index) => {
                    self.buffers3.used();
                    self.memory[1] + index as u64 * STRIDE[1]
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

    pub(crate) fn close(self) {
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
        let stats = self.guest.machine.borrow().stats();
        assert_eq!(stats.refused_accesses, 0);
        assert_eq!(stats.ignored_mmio, 0);
        assert!(stats.refusals.is_empty(), "{:?}", stats.refusals);
    }
}
