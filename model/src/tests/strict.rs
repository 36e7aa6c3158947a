// SPDX-License-Identifier: GPL-2.0

//! Tests that every refusal can be reached, gives its code and is counted under its name.

use std::collections::BTreeSet;

use ehea_abi::cb::adapter::PageSize;
use ehea_abi::cb::port::{
    MacAddress, PortBlock0, PortBlock2, PortBlock4, PortCategory, ReceiveControl,
};
use ehea_abi::cb::qp::{QpBlock0, QpControl, QpState};
use ehea_abi::hcall::{
    AllocCq, AllocEq, AllocMr, AllocQp, BcmcArgs, BcmcScope, DisableAndGetHea, EqKind, ErrorData,
    FreeResource, MrAllocated, Opcode, PortCall, QpAllocated, QpCall, QpCategory, QueryHea,
    QueueSelect, RegisterRpages, RegisterSmr, Regs, ResetEvents,
};
use zerocopy::byteorder::big_endian::{U32, U64};

use crate::testkit::{GuestOptions, TestGuest, TestMachine};
use crate::{Refusal, TraceLevel};

const CALL: Opcode = Opcode::ALLOC_HEA_RESOURCE;
const START: u64 = 0x8000_0000_0000_0000;

fn alloc_eq(kind: EqKind, max_eqes: u32) -> Regs {
    AllocEq {
        adapter: TestMachine::default_config().adapter_handle,
        kind,
        interrupt_sources: 1,
        max_eqes,
    }
    .pack()
}

struct Case<'a> {
    guest: &'a mut TestGuest,
    handle: u64,
}

impl Case<'_> {
    fn alloc_cq(&self, eq: u64, cqes: u32) -> (Opcode, Regs) {
        let call = AllocCq {
            adapter: self.handle,
            eq,
            token: 0,
            cqes,
        };
        (CALL, call.pack())
    }

    fn alloc_qp(&self, change: impl FnOnce(&mut AllocQp)) -> (Opcode, Regs) {
        let port = &self.guest.ports[0];
        let (send, recv) = (&port.qps[0].send_cq, &port.qps[0].recv_cq);
        let (send, recv, eq) = (send.handle, recv.handle, port.affiliated.handle);
        let mut call = self.guest.alloc_qp_call(1, send, recv, eq);
        change(&mut call);
        (CALL, call.pack())
    }

    fn alloc_mr(&self, change: impl FnOnce(&mut AllocMr)) -> (Opcode, Regs) {
        let mut call = TestGuest::alloc_mr_call(&self.guest.machine, PageSize::K4);
        change(&mut call);
        (CALL, call.pack())
    }

    /// Returns the handle of a new memory region for four pages, none of which is registered.
    fn empty_mr(&mut self) -> u64 {
        let (opcode, regs) = self.alloc_mr(|call| call.length = 0x4000);
        MrAllocated::unpack(&self.guest.machine.call(opcode, regs).unwrap()).handle
    }

    fn pages(&self, change: impl FnOnce(&mut RegisterRpages)) -> (Opcode, Regs) {
        let mut call = RegisterRpages {
            adapter: self.handle,
            page_size: 0,
            queue: QueueSelect::Sq,
            resource: 0,
            address: 0x1000,
            count: 1,
        };
        change(&mut call);
        (Opcode::REGISTER_HEA_RPAGES, call.pack())
    }

    fn smr(&self, change: impl FnOnce(&mut RegisterSmr)) -> (Opcode, Regs) {
        let mut call = RegisterSmr {
            adapter: self.handle,
            mr: self.guest.mr.handle,
            start: START,
            access: 0x0080_0000,
            pd: 0,
        };
        change(&mut call);
        (Opcode::REGISTER_SMR, call.pack())
    }

    fn free(&self, resource: u64) -> (Opcode, Regs) {
        let call = FreeResource {
            adapter: self.handle,
            resource,
            force: false,
        };
        (Opcode::FREE_RESOURCE, call.pack())
    }

    fn port(&self, opcode: Opcode, change: impl FnOnce(&mut PortCall)) -> (Opcode, Regs) {
        let mut call = PortCall {
            adapter: self.handle,
            category: PortCategory::ATTRIBUTES,
            port: 1,
            select: PortBlock0::SELECT_MAC.mask(),
            block: self.guest.block,
        };
        change(&mut call);
        (opcode, call.pack())
    }

    fn qp(&self, opcode: Opcode, change: impl FnOnce(&mut QpCall)) -> (Opcode, Regs) {
        let mut call = QpCall {
            adapter: self.handle,
            category: QpCategory::BLOCK0,
            qp: self.guest.ports[0].qps[0].handle,
            select: QpBlock0::SELECT_CONTROL.mask(),
            block: self.guest.block,
        };
        change(&mut call);
        (opcode, call.pack())
    }

    fn request(&mut self, control: u64) -> (Opcode, Regs) {
        let block = QpBlock0 {
            control: U64::new(control),
            ..QpBlock0::default()
        };
        self.guest.machine.write(self.guest.block, &block);
        self.qp(Opcode::MODIFY_HEA_QP, |_| ())
    }

    fn bcmc(&self, scope: BcmcScope, mac: [u8; 6], vlan: u16) -> (Opcode, Regs) {
        let call = BcmcArgs {
            adapter: self.handle,
            port: 1,
            scope,
            mac: MacAddress(mac),
            vlan,
        };
        (Opcode::REG_BCMC, call.pack())
    }

    /// Prepares the mistake and returns the call that makes it.
    #[allow(clippy::too_many_lines)]
    fn provoke(&mut self, refusal: Refusal) -> (Opcode, Regs) {
        use Refusal as R;
        let adapter = self.handle;
        let port = &self.guest.ports[0];
        let eq = port.affiliated.handle;
        let pair = &port.qps[0];
        let (qp, send_cq, completion_eq) = (pair.handle, pair.send_cq.handle, pair.eq.handle);
        let neq = self.guest.neq.handle;
        let block = self.guest.block;
        match refusal {
            R::AdapterHandle => (Opcode::QUERY_HEA, QueryHea { adapter: 1, block }.pack()),
            R::UnknownOpcode => (Opcode(0x24c), [adapter, 0, 0, 0, 0, 0, 0, 0, 0]),
            R::NotImplemented => (Opcode::GET_HEA_INFO, [adapter, 0, 0, 0, 0, 0, 0, 0, 0]),
            R::ResourceType => (CALL, [adapter, 6, 0, 0, 0, 0, 0, 0, 0]),
            R::ResourceHandle => self.free(qp ^ 1),
            R::BlockAddress => (
                Opcode::QUERY_HEA,
                QueryHea {
                    adapter,
                    block: block + 8,
                }
                .pack(),
            ),
            R::SelectionMask => self.port(Opcode::QUERY_HEA_PORT, |c| c.select = 0),
            R::ReadOnlyAttribute => self.port(Opcode::MODIFY_HEA_PORT, |c| {
                c.category = PortCategory::STATISTICS;
                c.select = PortBlock2::SELECT_ALL.mask();
            }),
            R::AttributeValue => {
                self.guest.machine.write(block, &[0xffu8; 8]);
                self.port(Opcode::MODIFY_HEA_PORT, |_| ())
            }
            R::PortNumber => self.port(Opcode::QUERY_HEA_PORT, |c| c.port = 2),
            R::PortNotOwned => {
                self.guest.close(0);
                let machine = &mut self.guest.machine;
                assert!(machine.adapter.give_back_port(&mut machine.host, 0));
                self.port(Opcode::QUERY_HEA_PORT, |_| ())
            }
            R::PortCategory => self.port(Opcode::QUERY_HEA_PORT, |c| c.category = PortCategory(3)),
            R::EqOptions => (CALL, [adapter, 0x8100_8000_0000_0003, 20, 0, 0, 0, 0, 0, 0]),
            R::EqSize => (CALL, alloc_eq(EqKind::Affiliated, 0)),
            R::EqLimit => {
                let machine = &mut self.guest.machine;
                while machine.call(CALL, alloc_eq(EqKind::Completion, 1)).is_ok() {}
                (CALL, alloc_eq(EqKind::Completion, 1))
            }
            R::NeqLimit => {
                let machine = &mut self.guest.machine;
                machine
                    .call(CALL, alloc_eq(EqKind::Notification, 1))
                    .unwrap();
                (CALL, alloc_eq(EqKind::Notification, 1))
            }
            R::InterruptLimit => {
                self.guest.machine.limit_irqs(3);
                (CALL, alloc_eq(EqKind::Completion, 1))
            }
            R::EqHandle => self.alloc_cq(neq, 100),
            R::EqInUse => self.free(completion_eq),
            R::CqSize => self.alloc_cq(completion_eq, 0x2_0000),
            R::CqLimit => {
                let (opcode, regs) = self.alloc_cq(completion_eq, 1);
                while self.guest.machine.call(opcode, regs).is_ok() {}
                (opcode, regs)
            }
            // The configuration of the test has few register blocks.
            R::RegisterLimit => {
                let (opcode, regs) = self.alloc_qp(|_| ());
                while self.guest.machine.call(opcode, regs).is_ok() {}
                (opcode, regs)
            }
            R::SendCqHandle => self.alloc_qp(|c| c.send_cq = 0),
            R::RecvCqHandle => self.alloc_qp(|c| c.recv_cq = qp),
            R::CqInUse => self.free(send_cq),
            R::QpOptions => self.alloc_qp(|c| c.low_latency = false),
            R::QpSignalling => self.alloc_qp(|c| c.signalling = 0),
            R::QpSizes => self.alloc_qp(|c| c.rq.slot[0] = 0),
            R::QpLimit => {
                let (opcode, regs) = self.alloc_qp(|_| ());
                while self.guest.machine.call(opcode, regs).is_ok() {}
                (opcode, regs)
            }
            R::QpHandle => self.qp(Opcode::QUERY_HEA_QP, |c| c.qp = send_cq),
            R::QpCategory => self.qp(Opcode::QUERY_HEA_QP, |c| c.category = QpCategory(2)),
            R::QpState => self.request(0x0000_0400_0000_0000),
            R::QpTransition => self.request(QpControl::request(QpState::ReadyToReceive, true).0),
            R::QpIncomplete => {
                let (opcode, regs) = self.alloc_qp(|_| ());
                let regs = self.guest.machine.call(opcode, regs).unwrap();
                let fresh = QpAllocated::unpack(&regs).handle;
                self.request(QpControl::request(QpState::Initialized, false).0);
                self.qp(Opcode::MODIFY_HEA_QP, |c| c.qp = fresh)
            }
            R::QpEnabled => self.free(qp),
            R::DisableReport => {
                let call = DisableAndGetHea {
                    adapter,
                    report: 4,
                    qp,
                };
                (Opcode::DISABLE_AND_GET_HEA, call.pack())
            }
            R::MrLength => self.alloc_mr(|c| c.length += 4096),
            R::MrStart => self.alloc_mr(|c| c.start += 1),
            R::MrAccess => self.alloc_mr(|c| c.access |= 0x0040_0000),
            R::MrPageSize => self.alloc_mr(|c| c.page_size = PageSize::M16.code()),
            R::MrLimit => {
                let (opcode, regs) = self.alloc_mr(|_| ());
                while self.guest.machine.call(opcode, regs).is_ok() {}
                (opcode, regs)
            }
            R::MrHandle => self.smr(|c| c.mr = 0),
            R::MrIncomplete => {
                let mr = self.empty_mr();
                self.smr(|c| c.mr = mr)
            }
            R::MrInUse => self.free(self.guest.mr.handle),
            R::SmrLimit => {
                let (opcode, regs) = self.smr(|_| ());
                while self.guest.machine.call(opcode, regs).is_ok() {}
                (opcode, regs)
            }
            R::PageCount => {
                let resource = self.empty_mr();
                self.pages(|c| (c.resource, c.count) = (resource, 0))
            }
            R::PagesExceed => {
                let resource = self.empty_mr();
                self.pages(|c| (c.resource, c.count) = (resource, 5))
            }
            R::PageSize => {
                let resource = self.empty_mr();
                self.pages(|c| (c.resource, c.page_size) = (resource, 1))
            }
            R::PageAlignment => {
                let resource = self.empty_mr();
                self.pages(|c| (c.resource, c.address) = (resource, 0x1800))
            }
            R::PageNotRam => {
                let resource = self.empty_mr();
                self.pages(|c| (c.resource, c.address) = (resource, 40 << 20))
            }
            R::TranslationLimit => {
                let (_, regs) = super::limits::fill(&mut self.guest.machine);
                (Opcode::REGISTER_HEA_RPAGES, regs)
            }
            R::QueueSelect => self.pages(|c| (c.resource, c.queue) = (eq, QueueSelect::Rq1)),
            R::BcmcScope => {
                let scope = BcmcScope {
                    untagged: true,
                    all_vlans: true,
                    ..BcmcScope::default()
                };
                self.bcmc(scope, [2, 0, 0, 0, 0, 1], 0)
            }
            R::BcmcAddress => self.bcmc(BcmcScope::BROADCAST[0], [2, 0, 0, 0, 0, 2], 0),
            R::BcmcLimit => {
                for last in 0..64 {
                    let (opcode, regs) =
                        self.bcmc(BcmcScope::MULTICAST[0], [1, 0, 0x5e, 0, 0, last], 0);
                    self.guest.machine.call(opcode, regs).unwrap();
                }
                self.bcmc(BcmcScope::MULTICAST[0], [1, 0, 0x5e, 0, 0, 64], 0)
            }
            R::NoErrorData => {
                let call = ErrorData {
                    adapter,
                    resource: qp,
                    block,
                };
                (Opcode::ERROR_DATA, call.pack())
            }
        }
    }
}

#[test]
fn every_refusal_is_reachable() {
    for &refusal in Refusal::ALL {
        let mut config = TestMachine::default_config();
        config.max_eqs = 6;
        config.max_qps = 3;
        if refusal == Refusal::RegisterLimit {
            config.mmio_slots = 4;
        }
        let mut guest = TestGuest::new(config, GuestOptions::default());
        guest.machine.may_leak = true;
        let handle = guest.machine.handle();
        let mut case = Case {
            guest: &mut guest,
            handle,
        };
        let (opcode, regs) = case.provoke(refusal);
        let machine = &mut guest.machine;
        let before = (machine.refusals(refusal.name()), machine.stats().live);
        let mut answer = regs;
        let code = machine.hcall(opcode, &mut answer);
        assert_eq!(
            code,
            refusal.code(),
            "{refusal:?}: {:?}",
            machine.host.traces().last()
        );
        assert_eq!(answer, regs, "{refusal:?} leaves the arguments");
        let after = (machine.refusals(refusal.name()), machine.stats().live);
        assert_eq!(after, (before.0 + 1, before.1), "{refusal:?}");
        let traces = machine.host.traces();
        let lines = traces.iter().filter(|(level, text)| {
            *level == TraceLevel::Refused && text.contains(&format!("({})", refusal.name()))
        });
        assert_eq!(
            lines.count() as u64,
            after.0,
            "{refusal:?} has one line each"
        );
        machine.reset();
    }
}

/// Mistakes that only raw registers can express are refused.
#[test]
fn more_mistakes() {
    let mut guest = TestGuest::default();
    let handle = guest.machine.handle();
    let case = Case {
        guest: &mut guest,
        handle,
    };
    let smr = case.guest.ports[0].qps[0].smrs[0];
    let block = case.guest.block;
    let mut calls = vec![
        case.alloc_mr(|c| c.length = 0),
        case.alloc_mr(|c| c.length -= 1),
        case.alloc_mr(|c| c.length = u64::MAX - 4095),
        case.alloc_mr(|c| c.start = 0u64.wrapping_sub(4096)),
        case.alloc_mr(|c| c.access |= 1),
        case.smr(|c| c.start = 0u64.wrapping_sub(4096)),
        case.smr(|c| c.access = 0x0380_0000),
        case.pages(|c| c.resource = smr),
        case.pages(|c| c.resource = 0),
        case.alloc_qp(|c| c.sq_size = 5),
        case.alloc_qp(|c| c.sq_slot = 0),
        case.alloc_qp(|c| c.sq_slot = 3),
        case.alloc_qp(|c| c.rq.size[2] = 15),
        case.alloc_qp(|c| c.threshold_rq3 = 5),
        case.alloc_qp(|c| c.receive_queues = 0),
        case.alloc_qp(|c| c.port = 0),
        case.alloc_qp(|c| c.affiliated_eq = c.send_cq),
        case.qp(Opcode::MODIFY_HEA_QP, |c| {
            c.select = QpBlock0::SELECT_ALL.mask()
        }),
        case.qp(Opcode::MODIFY_HEA_QP, |c| c.select = 1),
        case.qp(Opcode::MODIFY_HEA_QP, |c| c.block = 40 << 20),
        case.bcmc(BcmcScope::MULTICAST[0], [2, 0, 0, 0, 0, 1], 0),
        case.bcmc(BcmcScope::ALL_MULTICAST[0], [1, 0, 0, 0, 0, 1], 0),
        case.bcmc(BcmcScope::BROADCAST[1], [2, 0, 0, 0, 0, 1], 5),
        case.port(Opcode::MODIFY_HEA_PORT, |c| {
            c.select = PortBlock0::SELECT_ALL.mask();
        }),
        case.port(Opcode::MODIFY_HEA_PORT, |c| {
            c.category = PortCategory::LINK;
            c.select = PortBlock4::SELECT_OP_STATE.mask();
        }),
        (
            Opcode::RESET_EVENTS,
            ResetEvents {
                adapter: handle,
                neq: case.guest.ports[0].affiliated.handle,
                events: 7,
            }
            .pack(),
        ),
    ];
    // The speed is unknown, and so is the VLAN filter mode.
    let speed = PortBlock4 {
        port_speed: U32::new(5),
        ..PortBlock4::default()
    };
    let control = PortBlock0 {
        port_rc: U64::new(ReceiveControl::VALID.0 | 3),
        ..PortBlock0::default()
    };
    let second = case.guest.machine.alloc_pages(1);
    case.guest.machine.write(block, &speed);
    case.guest.machine.write(second, &control);
    calls.push(case.port(Opcode::MODIFY_HEA_PORT, |c| {
        c.category = PortCategory::LINK;
        c.select = PortBlock4::SELECT_SPEED.mask();
    }));
    calls.push(case.port(Opcode::MODIFY_HEA_PORT, |c| {
        c.select = PortBlock0::SELECT_RECEIVE_CONTROL.mask();
        c.block = second;
    }));
    let before = guest.machine.stats().live;
    for (i, (opcode, regs)) in calls.into_iter().enumerate() {
        assert!(
            guest.machine.call(opcode, regs).is_err(),
            "call {i}: {opcode} {regs:x?}"
        );
    }
    assert_eq!(guest.machine.stats().live, before);
}

/// The handles, keys and register blocks of a guest's objects all differ.
#[test]
fn handles_are_unique() {
    let guest = TestGuest::new(
        TestMachine::default_config(),
        GuestOptions {
            queue_pairs: 4,
            ..GuestOptions::default()
        },
    );
    let mut handles = BTreeSet::from([guest.neq.handle, guest.mr.handle]);
    let mut keys = BTreeSet::from([guest.mr.lkey]);
    let mut blocks = BTreeSet::new();
    let mut count = 2;
    for port in &guest.ports {
        handles.insert(port.affiliated.handle);
        count += 1;
        for qp in &port.qps {
            handles.extend([
                qp.handle,
                qp.send_cq.handle,
                qp.recv_cq.handle,
                qp.eq.handle,
            ]);
            handles.extend(qp.smrs);
            keys.extend(qp.lkeys);
            blocks.extend([qp.registers, qp.send_cq.registers, qp.recv_cq.registers]);
            count += 6;
        }
    }
    assert_eq!((handles.len(), keys.len(), blocks.len()), (count, 9, 12));
}
