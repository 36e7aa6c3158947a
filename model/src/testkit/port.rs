// SPDX-License-Identifier: GPL-2.0

//! Queues and ports as a driver sees them.

use ehea_abi::cqe::{Cqe, ReceiveQueue};
use ehea_abi::eqe;
use ehea_abi::regs;
use ehea_abi::ring::Toggle;
use ehea_abi::wqe::{Descriptor, Rwqe, WrId, WrType};
use zerocopy::FromBytes as _;

use super::TestMachine;

/// A ring in contiguous pages and the guest's position in it.
#[derive(Clone, Debug)]
pub struct TestRing {
    /// Real address of the first page.
    pub base: u64,
    /// Slots.
    pub slots: u32,
    /// Bytes of a slot.
    pub slot_bytes: usize,
    /// The guest's position.
    pub position: u32,
    /// Toggle bit of the guest's lap.
    pub toggle: Toggle,
}

impl TestRing {
    /// A ring of `pages` queue pages.
    pub fn new(base: u64, pages: u32, slot_bytes: usize) -> Self {
        Self {
            base,
            slots: (pages as usize * 4096 / slot_bytes) as u32,
            slot_bytes,
            position: 0,
            toggle: Toggle::FIRST_LAP,
        }
    }

    /// Address of the current slot.
    pub fn address(&self) -> u64 {
        self.base + u64::from(self.position) * self.slot_bytes as u64
    }

    /// Goes to the next slot.
    pub fn advance(&mut self) {
        self.position += 1;
        if self.position == self.slots {
            self.position = 0;
            self.toggle = self.toggle.next_lap();
        }
    }
}

/// An event queue.
#[derive(Clone, Debug)]
pub struct TestEq {
    /// Handle.
    pub handle: u64,
    /// Interrupt number.
    pub irq: u32,
    /// Entries.
    pub ring: TestRing,
}

impl TestEq {
    /// The new entries.
    pub fn take(&mut self, machine: &TestMachine) -> Vec<u64> {
        let mut entries = Vec::new();
        loop {
            let entry = machine.read::<zerocopy::byteorder::big_endian::U64>(self.ring.address());
            if !self.ring.toggle.matches(eqe::VALID.is_set(entry.get())) {
                return entries;
            }
            entries.push(entry.get());
            self.ring.advance();
        }
    }
}

/// A completion queue.
#[derive(Clone, Debug)]
pub struct TestCq {
    /// Handle.
    pub handle: u64,
    /// Real address of the register block.
    pub registers: u64,
    /// Entries.
    pub ring: TestRing,
}

impl TestCq {
    /// A store to a register.
    pub fn store(&self, machine: &mut TestMachine, register: usize, value: u64) {
        machine.store(self.registers + register as u64, value);
    }

    /// Clears the pending event and asks for the next one.
    pub fn arm(&self, machine: &mut TestMachine) {
        self.store(machine, regs::cq::EP, 0);
        self.store(machine, regs::cq::N1, regs::N1_ARM.mask());
        assert_eq!(
            machine.load(self.registers + regs::cq::N1 as u64),
            regs::N1_ARM.mask()
        );
    }

    /// The new entries, without giving them back.
    pub fn peek(&mut self, machine: &TestMachine) -> Vec<Cqe> {
        let mut entries = Vec::new();
        loop {
            let cqe: Cqe = machine.read(self.ring.address());
            if !self.ring.toggle.matches(Cqe::toggle_of(cqe.valid)) {
                return entries;
            }
            entries.push(cqe);
            self.ring.advance();
        }
    }

    /// The new entries, given back.
    pub fn take(&mut self, machine: &mut TestMachine) -> Vec<Cqe> {
        let entries = self.peek(machine);
        self.store(machine, regs::cq::FECA, entries.len() as u64);
        entries
    }
}

/// A received frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The completion.
    pub cqe: Cqe,
    /// The frame without CRC.
    pub frame: Vec<u8>,
    /// The CRC as it was stored.
    pub crc: [u8; 4],
}

/// A queue pair with its completion queues and buffers.
#[derive(Debug)]
pub struct TestQp {
    /// Handle.
    pub handle: u64,
    /// Number.
    pub number: u32,
    /// Real address of the register block.
    pub registers: u64,
    /// Completion event queue.
    pub eq: TestEq,
    /// Send completion queue.
    pub send_cq: TestCq,
    /// Receive completion queue.
    pub recv_cq: TestCq,
    /// Send queue.
    pub sq: TestRing,
    /// Receive queues.
    pub rq1: TestRing,
    /// RQ2.
    pub rq2: TestRing,
    /// RQ3.
    pub rq3: TestRing,
    /// Handles of the shared memory regions for sending and receiving.
    pub smrs: [u64; 2],
    /// Their keys.
    pub lkeys: [u32; 2],
    /// Real addresses of one buffer for each slot of RQ2 and RQ3.
    pub buffers: [u64; 2],
    /// Real address of memory for frames to be sent: one page-aligned area for each slot.
    pub tx_memory: u64,
}

impl TestQp {
    /// Bytes of a buffer of RQ2 and of RQ3.
    pub const BUFFER: [u32; 2] = [2048, 9022];
    /// Bytes from one buffer to the next.
    pub const STRIDE: [u64; 2] = [2048, 3 * 4096];
    /// Bytes of memory for one frame to be sent.
    pub const TX_STRIDE: u64 = 4 * 4096;

    /// A store to a register.
    pub fn store(&self, machine: &mut TestMachine, register: usize, value: u64) {
        machine.store(self.registers + register as u64, value);
    }

    /// A load from a register.
    pub fn load(&self, machine: &mut TestMachine, register: usize) -> u64 {
        machine.load(self.registers + register as u64)
    }

    fn buffer(&self, queue: usize, index: u32) -> u64 {
        self.buffers[queue] + u64::from(index) * Self::STRIDE[queue]
    }

    /// Posts `count` buffers to RQ2 (`queue` 0) or RQ3 (1), without ringing. `bus` translates.
    pub fn post(
        &mut self,
        machine: &mut TestMachine,
        queue: usize,
        count: u32,
        bus: impl Fn(u64) -> u64,
    ) {
        for _ in 0..count {
            let index = [self.rq2.position, self.rq3.position][queue];
            let wr_id = WrId {
                kind: [WrType::RQ2_BUFFER, WrType::RQ3_BUFFER][queue],
                index,
                ..WrId::default()
            };
            let vaddr = bus(self.buffer(queue, index));
            let descriptor = Descriptor::new(vaddr, self.lkeys[1], Self::BUFFER[queue]);
            let ring = if queue == 0 {
                &mut self.rq2
            } else {
                &mut self.rq3
            };
            machine.write(ring.address(), &Rwqe::new(wr_id, descriptor));
            ring.advance();
        }
    }

    /// Posts a send work request of raw bytes and rings.
    pub fn post_raw(&mut self, machine: &mut TestMachine, entry: &[u8]) {
        machine.write(self.sq.address(), entry);
        self.sq.advance();
        self.store(machine, regs::qp::SQA, 1);
    }

    /// The frames received since this was last asked, without giving slots back.
    pub fn peek(&mut self, machine: &TestMachine) -> Vec<Received> {
        let mut frames = Vec::new();
        loop {
            let at = self.rq1.address();
            let cqe: Cqe = machine.read(at);
            if !self.rq1.toggle.matches(Cqe::toggle_of(cqe.valid)) {
                return frames;
            }
            let length = cqe.frame_length().expect("longer than its CRC");
            let index = WrId::unpack(cqe.wr_id.get()).index;
            let from = match cqe.receive_queue().expect("a receive queue") {
                ReceiveQueue::Rq1 => at + Cqe::INLINE_DATA as u64,
                ReceiveQueue::Rq2 => self.buffer(0, index),
                ReceiveQueue::Rq3 => self.buffer(1, index),
            };
            let mut frame = machine.read_bytes(from, length + 4);
            let crc = <[u8; 4]>::read_from_bytes(&frame.split_off(length)).unwrap();
            frames.push(Received { cqe, frame, crc });
            self.rq1.advance();
        }
    }
}

/// An open port.
#[derive(Debug)]
pub struct TestPort {
    /// Logical port number.
    pub number: u16,
    /// Affiliated event queue.
    pub affiliated: TestEq,
    /// Queue pairs.
    pub qps: Vec<TestQp>,
}
