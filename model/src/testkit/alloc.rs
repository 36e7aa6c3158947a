// SPDX-License-Identifier: GPL-2.0

//! Allocation of objects by a guest, and registration of their memory.

use ehea_abi::cb::adapter::PageSize;
use ehea_abi::hcall::{
    AllocCq, AllocEq, AllocMr, AllocQp, CqAllocated, EqAllocated, EqKind, MrAllocated, Opcode,
    QpAllocated, QueueSelect, RegisterRpages, RegisterSmr, Regs, ReturnCode, RqSlots,
    ACCESS_LOCAL_WRITE, MAX_PAGES_PER_CALL,
};
use ehea_abi::ring::{SlotSize, CQE_SIZE, EQE_SIZE};
use zerocopy::byteorder::big_endian::U64;

use super::guest::{PD, START};
use super::{TestCq, TestEq, TestGuest, TestMachine, TestQp, TestRing};

impl TestGuest {
    pub(super) fn must(machine: &mut TestMachine, opcode: Opcode, regs: Regs) -> Regs {
        match machine.call(opcode, regs) {
            Ok(regs) => regs,
            Err(code) => panic!("{opcode}: {code}; {:#?}", machine.host.traces()),
        }
    }

    /// Registers newly allocated pages for a queue.
    fn register_ring(
        machine: &mut TestMachine,
        resource: u64,
        queue: QueueSelect,
        pages: u32,
        slot_bytes: usize,
    ) -> TestRing {
        let base = machine.alloc_pages(pages.into());
        for page in 0..pages {
            let mut regs = RegisterRpages {
                adapter: machine.handle(),
                page_size: PageSize::K4.code(),
                queue,
                resource,
                address: base + u64::from(page) * 4096,
                count: 1,
            }
            .pack();
            let last = page + 1 == pages;
            let expected = [ReturnCode::PAGE_REGISTERED, ReturnCode::SUCCESS][usize::from(last)];
            let code = machine.hcall(Opcode::REGISTER_HEA_RPAGES, &mut regs);
            assert_eq!(code, expected, "page {page} of {pages}");
        }
        TestRing::new(base, pages, slot_bytes)
    }

    /// Allocates an event queue with its pages.
    pub fn alloc_eq(machine: &mut TestMachine, kind: EqKind) -> TestEq {
        let call = AllocEq {
            adapter: machine.handle(),
            kind,
            interrupt_sources: 1,
            max_eqes: 20,
        };
        let regs = Self::must(machine, Opcode::ALLOC_HEA_RESOURCE, call.pack());
        let eq = EqAllocated::unpack(&regs);
        let ring = Self::register_ring(machine, eq.handle, QueueSelect::Sq, eq.pages, EQE_SIZE);
        TestEq {
            handle: eq.handle,
            irq: eq.interrupt,
            ring,
        }
    }

    /// Allocates a completion queue with its pages.
    pub fn alloc_cq(machine: &mut TestMachine, eq: u64, cqes: u32) -> TestCq {
        let call = AllocCq {
            adapter: machine.handle(),
            eq,
            token: 1,
            cqes,
        };
        let regs = Self::must(machine, Opcode::ALLOC_HEA_RESOURCE, call.pack());
        let cq = CqAllocated::unpack(&regs);
        let ring = Self::register_ring(machine, cq.handle, QueueSelect::Sq, cq.pages, CQE_SIZE);
        TestCq {
            handle: cq.handle,
            registers: cq.registers,
            ring,
        }
    }

    /// Returns the call that allocates a memory region for all memory of the machine.
    pub fn alloc_mr_call(machine: &TestMachine, page: PageSize) -> AllocMr {
        AllocMr {
            adapter: machine.handle(),
            start: START,
            length: machine.ram().iter().map(|&(_, bytes)| bytes).sum(),
            access: ACCESS_LOCAL_WRITE,
            page_size: page.code(),
            pd: PD,
        }
    }

    /// Registers all memory of the machine as one region.
    pub fn register_memory(machine: &mut TestMachine, page: PageSize) -> MrAllocated {
        let call = Self::alloc_mr_call(machine, page);
        let regs = Self::must(machine, Opcode::ALLOC_HEA_RESOURCE, call.pack());
        let mr = MrAllocated::unpack(&regs);
        let pages: Vec<u64> = machine
            .ram()
            .iter()
            .flat_map(|&(start, bytes)| (start..start + bytes).step_by(page.bytes() as usize))
            .collect();
        let list = machine.alloc_pages(1);
        let mut code = ReturnCode::PAGE_REGISTERED;
        for part in pages.chunks(MAX_PAGES_PER_CALL) {
            assert_eq!(code, ReturnCode::PAGE_REGISTERED);
            let entries: Vec<U64> = part.iter().map(|&page| U64::new(page)).collect();
            machine.write(list, entries.as_slice());
            let single = part.len() == 1;
            let mut regs = RegisterRpages {
                adapter: machine.handle(),
                page_size: page.code(),
                queue: QueueSelect::Sq,
                resource: mr.handle,
                address: if single { part[0] } else { list },
                count: part.len() as u64,
            }
            .pack();
            code = machine.hcall(Opcode::REGISTER_HEA_RPAGES, &mut regs);
        }
        assert_eq!(code, ReturnCode::SUCCESS);
        mr
    }

    /// Returns the adapter's address of the guest address `gpa`.
    pub fn bus(ram: &[(u64, u64)], gpa: u64) -> u64 {
        let mut before = START;
        for &(start, bytes) in ram {
            if gpa >= start && gpa < start + bytes {
                return before + gpa - start;
            }
            before += bytes;
        }
        panic!("{gpa:#x} is not RAM");
    }

    fn register_smr(machine: &mut TestMachine, mr: u64) -> MrAllocated {
        let call = RegisterSmr {
            adapter: machine.handle(),
            mr,
            start: START,
            access: ACCESS_LOCAL_WRITE,
            pd: PD,
        };
        MrAllocated::unpack(&Self::must(machine, Opcode::REGISTER_SMR, call.pack()))
    }

    /// Returns the call by which a driver allocates a queue pair.
    pub fn alloc_qp_call(&self, port: u16, send_cq: u64, recv_cq: u64, eq: u64) -> AllocQp {
        let size = self.options.size.code();
        AllocQp {
            adapter: self.machine.handle(),
            low_latency: true,
            signalling: AllocQp::SIGNAL_ON_REQUEST,
            receive_queues: AllocQp::ALL_RECEIVE_QUEUES,
            send_cq,
            recv_cq,
            affiliated_eq: eq,
            token: 0,
            pd: PD,
            sq_size: size,
            sq_slot: SlotSize::B512.code(),
            rq: RqSlots {
                size: [size; 3],
                slot: [
                    SlotSize::B256.code(),
                    SlotSize::B128.code(),
                    SlotSize::B128.code(),
                ],
            },
            port,
            threshold_rq2: AllocQp::THRESHOLD_RQ2_DEFAULT,
            threshold_rq3: AllocQp::THRESHOLD_RQ3_DEFAULT,
        }
    }

    pub(super) fn alloc_qp(
        &mut self,
        port: u16,
        token: u32,
        affiliated: u64,
        events: Option<&TestEq>,
    ) -> TestQp {
        let eq = match events {
            Some(eq) => eq.clone(),
            None => Self::alloc_eq(&mut self.machine, EqKind::Completion),
        };
        let entries = self.options.size.entries();
        let recv_cq = Self::alloc_cq(&mut self.machine, eq.handle, 3 * entries);
        let send_cq = Self::alloc_cq(&mut self.machine, eq.handle, 2 * entries);
        let mut call = self.alloc_qp_call(port, send_cq.handle, recv_cq.handle, affiliated);
        call.token = token;
        let machine = &mut self.machine;
        let regs = Self::must(machine, Opcode::ALLOC_HEA_RESOURCE, call.pack());
        let qp = QpAllocated::unpack(&regs);
        let [pages1, pages2, pages3] = qp.rq_pages;
        let mut ring = |queue, pages, slot: SlotSize| {
            Self::register_ring(machine, qp.handle, queue, pages, slot.bytes())
        };
        let sq = ring(QueueSelect::Sq, qp.sq_pages, SlotSize::B512);
        let rq1 = ring(QueueSelect::Rq1, pages1, SlotSize::B256);
        let rq2 = ring(QueueSelect::Rq2, pages2, SlotSize::B128);
        let rq3 = ring(QueueSelect::Rq3, pages3, SlotSize::B128);
        let send = Self::register_smr(machine, self.mr.handle);
        let recv = Self::register_smr(machine, self.mr.handle);
        let slots = u64::from(self.options.size.slots());
        TestQp {
            handle: qp.handle,
            number: qp.number,
            registers: qp.registers,
            eq,
            send_cq,
            recv_cq,
            sq,
            rq1,
            rq2,
            rq3,
            smrs: [send.handle, recv.handle],
            lkeys: [send.lkey, recv.lkey],
            buffers: TestQp::STRIDE.map(|s| machine.alloc_pages((s * slots).div_ceil(4096))),
            tx_memory: machine.alloc_pages(TestQp::TX_STRIDE * slots / 4096),
        }
    }
}
