// SPDX-License-Identifier: GPL-2.0

//! A well-behaved guest.

use ehea_abi::cb::adapter::PageSize;
use ehea_abi::cb::port::{MacAddress, PortBlock0, PortBlock4, PortCategory, ReceiveControl};
use ehea_abi::cb::qp::{QpBlock0, QpControl, QpState};
use ehea_abi::cqe::{Cqe, ReceiveQueue};
use ehea_abi::hcall::{
    AllocCq, AllocEq, AllocMr, AllocQp, BcmcArgs, BcmcScope, CqAllocated, DisableAndGetHea,
    EqAllocated, EqKind, FreeResource, MrAllocated, Opcode, PortCall, QpAllocated, QpCall,
    QpCategory, QueueSelect, RegisterRpages, RegisterSmr, Regs, ReturnCode, RqSlots,
    ACCESS_LOCAL_WRITE, MAX_PAGES_PER_CALL,
};
use ehea_abi::regs;
use ehea_abi::ring::{QueueSize, SlotSize, CQE_SIZE, EQE_SIZE};
use ehea_abi::wqe::{Descriptor, SwqeFormat, SwqeHeader, TxControl};
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::IntoBytes as _;

use super::{Received, TestCq, TestEq, TestMachine, TestPort, TestQp, TestRing};
use crate::config::Config;

/// What a guest brings up.
#[derive(Clone, Debug)]
pub struct GuestOptions {
    /// Logical ports to open.
    pub ports: Vec<u16>,
    /// Queue pairs for each port.
    pub queue_pairs: usize,
    /// Size of all queues.
    pub size: QueueSize,
    /// Page size of the memory region.
    pub page: PageSize,
    /// Receive control of the ports.
    pub receive_control: ReceiveControl,
}

impl Default for GuestOptions {
    fn default() -> Self {
        Self {
            ports: vec![1],
            queue_pairs: 1,
            size: QueueSize::MIN,
            page: PageSize::K4,
            receive_control: ReceiveControl::VALID
                .with(ReceiveControl::VLAN_XTRACT)
                .with(ReceiveControl::JUMBO_FRAME)
                .with(ReceiveControl::TCP_UDP_CHKSUM)
                .with(ReceiveControl::IP_CHKSUM),
        }
    }
}

/// A guest with everything up. Takes it down when it is dropped.
#[derive(Debug)]
pub struct TestGuest {
    /// The machine.
    pub machine: TestMachine,
    /// What was brought up.
    pub options: GuestOptions,
    /// Notification event queue.
    pub neq: TestEq,
    /// The memory region.
    pub mr: MrAllocated,
    /// The open ports.
    pub ports: Vec<TestPort>,
    /// A page for control blocks.
    pub block: u64,
}

impl Default for TestGuest {
    fn default() -> Self {
        Self::new(TestMachine::default_config(), GuestOptions::default())
    }
}

/// Start of the memory region in the adapter's view.
const START: u64 = 0x8000_0000_0000_0000;
/// The protection domain.
pub(crate) const PD: u32 = 0xaabc_deff;

impl TestGuest {
    /// Brings everything up on a machine with that adapter.
    pub fn new(config: Config, options: GuestOptions) -> Self {
        Self::on(TestMachine::new(config), options)
    }

    /// Brings everything up on that machine.
    pub fn on(mut machine: TestMachine, options: GuestOptions) -> Self {
        let block = machine.alloc_pages(1);
        let neq = Self::alloc_eq(&mut machine, EqKind::Notification);
        let mr = Self::register_memory(&mut machine, options.page);
        let mut guest = Self {
            machine,
            neq,
            mr,
            ports: Vec::new(),
            block,
            options,
        };
        for port in guest.options.ports.clone() {
            guest.open(port);
        }
        // The ports are announced, twice.
        guest.machine.advance(1_100_000_000);
        guest
    }

    fn must(machine: &mut TestMachine, opcode: Opcode, regs: Regs) -> Regs {
        match machine.call(opcode, regs) {
            Ok(regs) => regs,
            Err(code) => panic!("{opcode}: {code}; {:#?}", machine.host.traces()),
        }
    }

    /// Registers fresh pages for a queue.
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

    /// The call that allocates a memory region for all memory of the machine.
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

    /// The adapter's address of guest memory.
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

    /// The call that allocates a queue pair as a driver does.
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

    fn alloc_qp(
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

    /// Opens a port: the order of §1.3.
    pub fn open(&mut self, number: u16) {
        self.open_on(number, None);
    }

    /// As [`TestGuest::open`], with completion events of its one queue pair on that event queue.
    pub fn open_on(&mut self, number: u16, events: Option<&TestEq>) {
        let affiliated = Self::alloc_eq(&mut self.machine, EqKind::Affiliated);
        let qps: Vec<_> = (0..self.options.queue_pairs as u32)
            .map(|token| self.alloc_qp(number, token, affiliated.handle, events))
            .collect();
        self.set_default_qps(number, &qps.iter().map(|qp| qp.number).collect::<Vec<_>>());
        let jumbo = PortBlock4 {
            jumbo_frame: U32::new(1),
            ..PortBlock4::default()
        };
        self.machine.write(self.block, &jumbo);
        self.port_call(
            Opcode::MODIFY_HEA_PORT,
            number,
            PortCategory::LINK,
            PortBlock4::SELECT_JUMBO.mask(),
        )
        .expect("jumbo frames");
        self.ports.push(TestPort {
            number,
            affiliated,
            qps,
        });
        let port = self.ports.len() - 1;
        for qp in 0..self.options.queue_pairs {
            self.activate(port, qp);
            let queue_pair = &self.ports[port].qps[qp];
            queue_pair.send_cq.clone().arm(&mut self.machine);
            self.ports[port].qps[qp]
                .recv_cq
                .clone()
                .arm(&mut self.machine);
            self.fill(port, qp);
        }
        self.bcmc(
            Opcode::REG_BCMC,
            number,
            BcmcScope::BROADCAST,
            self.mac(number),
        );
    }

    /// The configured address of a port.
    pub fn mac(&self, number: u16) -> MacAddress {
        self.machine.config().macs[usize::from(number) - 1]
    }

    /// Writes receive control and the default queue pairs.
    pub fn set_default_qps(&mut self, number: u16, qps: &[u32]) {
        let mut block = PortBlock0 {
            port_rc: U64::new(self.options.receive_control.0),
            ..PortBlock0::default()
        };
        for (entry, &qp) in block.default_qpn_arr.iter_mut().zip(qps) {
            entry.set(qp.into());
        }
        self.machine.write(self.block, &block);
        let select =
            PortBlock0::SELECT_RECEIVE_CONTROL.mask() | PortBlock0::SELECT_DEFAULT_QPNS.mask();
        self.port_call(
            Opcode::MODIFY_HEA_PORT,
            number,
            PortCategory::ATTRIBUTES,
            select,
        )
        .expect("default queue pairs");
    }

    /// Queries or modifies a port with the block in [`TestGuest::block`].
    pub fn port_call(
        &mut self,
        opcode: Opcode,
        port: u16,
        category: PortCategory,
        select: u64,
    ) -> Result<(), ReturnCode> {
        let call = PortCall {
            adapter: self.machine.handle(),
            category,
            port,
            select,
            block: self.block,
        };
        self.machine.call(opcode, call.pack()).map(|_| ())
    }

    /// Registers or deregisters a pair of broadcast or multicast scopes.
    pub fn bcmc(&mut self, opcode: Opcode, port: u16, scopes: [BcmcScope; 2], mac: MacAddress) {
        for scope in scopes {
            let call = BcmcArgs {
                adapter: self.machine.handle(),
                port,
                scope,
                mac,
                vlan: 0,
            };
            Self::must(&mut self.machine, opcode, call.pack());
        }
    }

    /// Requests a state of a queue pair.
    pub fn set_qp(&mut self, handle: u64, control: QpControl) -> Result<(), ReturnCode> {
        let block = QpBlock0 {
            control: U64::new(control.0),
            ..QpBlock0::default()
        };
        self.machine.write(self.block, &block);
        self.qp_call(
            Opcode::MODIFY_HEA_QP,
            handle,
            QpBlock0::SELECT_CONTROL.mask(),
        )
    }

    /// Queries or modifies block 0 of a queue pair in [`TestGuest::block`].
    pub fn qp_call(&mut self, opcode: Opcode, qp: u64, select: u64) -> Result<(), ReturnCode> {
        let call = QpCall {
            adapter: self.machine.handle(),
            category: QpCategory::BLOCK0,
            qp,
            select,
            block: self.block,
        };
        self.machine.call(opcode, call.pack()).map(|_| ())
    }

    /// The control register of a queue pair.
    pub fn qp_control(&mut self, handle: u64) -> QpControl {
        self.qp_call(Opcode::QUERY_HEA_QP, handle, QpBlock0::SELECT_ALL.mask())
            .expect("query");
        QpControl(self.machine.read::<QpBlock0>(self.block).control.get())
    }

    /// Brings a queue pair to RDY2SND as §1.4 says.
    pub fn activate(&mut self, port: usize, qp: usize) {
        let handle = self.ports[port].qps[qp].handle;
        for control in [
            QpControl::request(QpState::Initialized, false),
            QpControl::request(QpState::Initialized, true),
            QpControl::request(QpState::ReadyToSend, true),
        ] {
            self.qp_control(handle);
            self.set_qp(handle, control).expect("bring-up");
        }
        let up = QpControl::result(QpState::ReadyToSend, true);
        assert_eq!(self.qp_control(handle), up);
    }

    /// Gives all slots and buffers of a queue pair to the adapter.
    pub fn fill(&mut self, port: usize, qp: usize) {
        let qp = &mut self.ports[port].qps[qp];
        let entries = self.options.size.entries();
        let ram = self.machine.ram().to_vec();
        for queue in 0..2 {
            qp.post(&mut self.machine, queue, entries, |gpa| {
                Self::bus(&ram, gpa)
            });
        }
        for register in [regs::qp::RQ1A, regs::qp::RQ2A, regs::qp::RQ3A] {
            qp.store(&mut self.machine, register, entries.into());
        }
    }

    /// Sends a frame as the old driver does: format 3 up to 224 bytes, else format 2; signalled.
    pub fn send(&mut self, port: usize, qp: usize, frame: &[u8]) {
        self.send_with(port, qp, frame, SwqeHeader::default(), 160, &[]);
    }

    /// Sends a frame with flags and offsets of `header`, `immediate` bytes in the work request of a
    /// frame of more than 224 bytes and descriptors that end at `cuts`.
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

    /// Frames received by a queue pair; their slots and buffers are given back.
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

    /// Send completions of a queue pair, given back.
    pub fn completions(&mut self, port: usize, qp: usize) -> Vec<Cqe> {
        self.ports[port].qps[qp].send_cq.take(&mut self.machine)
    }

    /// Frees a resource.
    pub fn free(&mut self, resource: u64, force: bool) -> Result<(), ReturnCode> {
        let call = FreeResource {
            adapter: self.machine.handle(),
            resource,
            force,
        };
        self.machine
            .call(Opcode::FREE_RESOURCE, call.pack())
            .map(|_| ())
    }

    /// Disables a queue pair for good.
    pub fn disable(&mut self, qp: u64) -> Result<(), ReturnCode> {
        let call = DisableAndGetHea {
            adapter: self.machine.handle(),
            report: DisableAndGetHea::WQE_POINTERS,
            qp,
        };
        self.machine
            .call(Opcode::DISABLE_AND_GET_HEA, call.pack())
            .map(|_| ())
    }

    /// Closes a port: the order of §1.3.
    pub fn close(&mut self, port: usize) {
        let port = self.ports.remove(port);
        let mac = self.mac(port.number);
        self.bcmc(Opcode::DEREG_BCMC, port.number, BcmcScope::BROADCAST, mac);
        for qp in port.qps {
            self.disable(qp.handle).expect("disable");
            for handle in [
                qp.handle,
                qp.send_cq.handle,
                qp.recv_cq.handle,
                qp.eq.handle,
            ] {
                self.free(handle, false).expect("free");
            }
            for smr in qp.smrs {
                self.free(smr, true).expect("free");
            }
        }
        self.free(port.affiliated.handle, false).expect("free");
    }

    /// Takes everything down.
    pub fn shut_down(&mut self) {
        while !self.ports.is_empty() {
            self.close(0);
        }
        self.free(self.neq.handle, false).expect("free");
        self.free(self.mr.handle, true).expect("free");
    }
}

impl Drop for TestGuest {
    fn drop(&mut self) {
        if !std::thread::panicking() && self.machine.stats().live.neq > 0 {
            self.shut_down();
        }
    }
}
