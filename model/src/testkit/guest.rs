// SPDX-License-Identifier: GPL-2.0

//! A well-behaved guest.

use ehea_abi::cb::adapter::PageSize;
use ehea_abi::cb::port::{MacAddress, PortBlock0, PortBlock4, PortCategory, ReceiveControl};
use ehea_abi::cb::qp::{QpBlock0, QpControl, QpState};
use ehea_abi::hcall::{
    BcmcArgs, BcmcScope, DisableAndGetHea, EqKind, FreeResource, MrAllocated, Opcode, PortCall,
    QpCall, QpCategory, ReturnCode,
};
use ehea_abi::regs;
use ehea_abi::ring::QueueSize;
use zerocopy::byteorder::big_endian::{U32, U64};

use super::{TestEq, TestMachine, TestPort};
use crate::config::Config;

/// Options for the objects that a guest brings up.
#[derive(Clone, Debug)]
pub struct GuestOptions {
    /// Logical ports to open.
    pub ports: Vec<u16>,
    /// Number of queue pairs for each port.
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

/// A guest with everything brought up. It takes everything down when it is dropped.
#[derive(Debug)]
pub struct TestGuest {
    /// The machine.
    pub machine: TestMachine,
    /// Options with which everything was brought up.
    pub options: GuestOptions,
    /// Notification event queue.
    pub neq: TestEq,
    /// The memory region.
    pub mr: MrAllocated,
    /// The open ports.
    pub ports: Vec<TestPort>,
    /// Address of a page for control blocks.
    pub block: u64,
}

impl Default for TestGuest {
    fn default() -> Self {
        Self::new(TestMachine::default_config(), GuestOptions::default())
    }
}

/// Start of the memory region, as the adapter sees it.
pub(super) const START: u64 = 0x8000_0000_0000_0000;
/// Protection domain of all objects.
pub(crate) const PD: u32 = 0xaabc_deff;

impl TestGuest {
    /// Brings everything up on a new machine with an adapter of configuration `config`.
    pub fn new(config: Config, options: GuestOptions) -> Self {
        Self::on(TestMachine::new(config), options)
    }

    /// Brings everything up on `machine`.
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

    /// Opens a port, in the order of §1.3.
    pub fn open(&mut self, number: u16) {
        self.open_on(number, None);
    }

    /// Opens a port as [`TestGuest::open`] does. If `events` is given, the completion queues of its
    /// only queue pair use that event queue.
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

    /// Returns the configured MAC address of a port.
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

    /// Queries or modifies a port by means of the control block in [`TestGuest::block`].
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

    /// Queries or modifies a queue pair by means of control block 0 in [`TestGuest::block`].
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

    /// Returns the control register of a queue pair.
    pub fn qp_control(&mut self, handle: u64) -> QpControl {
        self.qp_call(Opcode::QUERY_HEA_QP, handle, QpBlock0::SELECT_ALL.mask())
            .expect("query");
        QpControl(self.machine.read::<QpBlock0>(self.block).control.get())
    }

    /// Brings a queue pair to the state RDY2SND, as described in §1.4.
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

    /// Closes a port, in the order of §1.3.
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
