// SPDX-License-Identifier: GPL-2.0

//! Queues and ports from a driver's point of view.

use ehea_abi::cqe::{Cqe, ReceiveQueue};
use ehea_abi::eqe;
use ehea_abi::regs;
use ehea_abi::ring::Toggle;
use ehea_abi::wqe::{Descriptor, Rwqe, WrId, WrType};
use zerocopy::FromBytes as _;

use super::TestMachine;

/// A ring in contiguous pages, and the guest's position in it.
#[derive(Clone, Debug)]
pub struct TestRing {
    /// Real address of the first page.
    pub base: u64,
    /// Number of slots.
    pub slots: u32,
    /// Size of a slot in bytes.
    pub slot_bytes: usize,
    /// Index of the guest's current slot.
    pub position: u32,
    /// Toggle bit of the guest's lap.
    pub toggle: Toggle,
}

impl TestRing {
    /// Returns a ring of `pages` queue pages.
    pub fn new(base: u64, pages: u32, slot_bytes: usize) -> Self {
        Self {
            base,
            slots: (pages as usize * 4096 / slot_bytes) as u32,
            slot_bytes,
            position: 0,
            toggle: Toggle::FIRST_LAP,
        }
    }

    /// Returns the address of the current slot.
    pub fn address(&self) -> u64 {
        self.base + u64::from(self.position) * self.slot_bytes as u64
    }

    /// Moves to the next slot.
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
    /// Handle of the queue.
    pub handle: u64,
    /// Number of the interrupt.
    pub irq: u32,
    /// Ring of the entries.
    pub ring: TestRing,
}

impl TestEq {
    /// Returns the new entries.
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
    /// Handle of the queue.
    pub handle: u64,
    /// Real address of the register block.
    pub registers: u64,
    /// Ring of the entries.
    pub ring: TestRing,
}

impl TestCq {
    /// Stores to a register.
    pub fn store(&self, machine: &mut TestMachine, register: usize, value: u64) {
        machine.store(self.registers + register as u64, value);
    }

    /// Clears the pending event and requests the next one.
    pub fn arm(&self, machine: &mut TestMachine) {
        self.store(machine, regs::cq::EP, 0);
        self.store(machine, regs::cq::N1, regs::N1_ARM.mask());
        assert_eq!(
            machine.load(self.registers + regs::cq::N1 as u64),
            regs::N1_ARM.mask()
        );
    }

    /// Returns the new entries, without giving them back.
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

    /// Returns the new entries and gives them back.
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
    /// The CRC that the adapter stored.
    pub crc: [u8; 4],
}

/// A queue pair with its completion queues and buffers.
#[derive(Debug)]
pub struct TestQp {
    /// Handle of the queue pair.
    pub handle: u64,
    /// Number of the queue pair.
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
    /// Receive queue 1.
    pub rq1: TestRing,
    /// Receive queue 2.
    pub rq2: TestRing,
    /// Receive queue 3.
    pub rq3: TestRing,
    /// Handles of the shared memory regions, for sending and for receiving.
    pub smrs: [u64; 2],
    /// Keys of the shared memory regions.
    pub lkeys: [u32; 2],
    /// Real addresses of the buffers of RQ2 and of RQ3, one buffer for each slot.
    pub buffers: [u64; 2],
    /// Real address of memory for frames to be sent: one page-aligned area for each slot.
    pub tx_memory: u64,
}

impl TestQp {
    /// Sizes in bytes of a buffer of RQ2 and of RQ3.
    pub const BUFFER: [u32; 2] = [2048, 9022];
    /// Distances in bytes from one buffer to the next.
    pub const STRIDE: [u64; 2] = [2048, 3 * 4096];
    /// Size in bytes of the memory for one frame to be sent.
    pub const TX_STRIDE: u64 = 4 * 4096;

    /// Stores to a register.
    pub fn store(&self, machine: &mut TestMachine, register: usize, value: u64) {
        machine.store(self.registers + register as u64, value);
    }

    /// Loads from a register.
    pub fn load(&self, machine: &mut TestMachine, register: usize) -> u64 {
        machine.load(self.registers + register as u64)
    }

    fn buffer(&self, queue: usize, index: u32) -> u64 {
        self.buffers[queue] + u64::from(index) * Self::STRIDE[queue]
    }

    /// Posts `count` buffers to RQ2 (`queue` is 0) or RQ3 (`queue` is 1), without ringing the
    /// doorbell. `bus` translates addresses.
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

    /// Posts a send work request of raw bytes and rings the doorbell.
    pub fn post_raw(&mut self, machine: &mut TestMachine, entry: &[u8]) {
        machine.write(self.sq.address(), entry);
        self.sq.advance();
        self.store(machine, regs::qp::SQA, 1);
    }

    /// Returns the frames received since the last call, without giving slots back.
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
