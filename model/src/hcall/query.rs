// SPDX-License-Identifier: GPL-2.0

//! Queries of the adapter; queries and modifications of queue pairs (§3.8, §3.10, §4.1 to §4.3).

use std::mem::offset_of;

use ehea_abi::bits::Bits64;
use ehea_abi::cb::adapter::AdapterBlock;
use ehea_abi::cb::qp::{QpBlock0, QpBlock1, QpControl, QpState};
use ehea_abi::hcall::{QpCall, QpCategory, QpModified, QueryHea, Regs};
use ehea_abi::ring::{QueueSize, SlotSize};
use ehea_abi::wqe::{Rwqe, SwqeFormat};
use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromZeros as _, IntoBytes as _};

use crate::host::{Env, TraceLevel};
use crate::limits::{MAX_CQES, MAX_MULTICAST, MAX_NEQS};
use crate::object::qp::{Qp, WorkQueue};
use crate::object::state::State;
use crate::refusal::Refusal;

/// A field of a control block: the bit that selects it, its offset and its length.
pub(crate) struct Field {
    pub(crate) select: Bits64,
    pub(crate) offset: usize,
    pub(crate) len: usize,
}

/// Lists the fields of a control block in the order of their selection bits.
macro_rules! fields {
    ($block:ty: $($bit:literal $name:ident $len:literal),* $(,)?) => {
        [$(Field {
            select: Bits64::bit($bit),
            offset: offset_of!($block, $name),
            len: $len,
        }),*]
    };
}
pub(crate) use fields;

/// Checks a selection mask.
pub(crate) fn check_mask(select: u64, all: Bits64) -> Result<(), Refusal> {
    if select == 0 || select & !all.mask() != 0 {
        return Err(Refusal::SelectionMask);
    }
    Ok(())
}

/// Writes the selected fields of a control block and leaves the others untouched.
pub(crate) fn write_selected(
    env: &mut Env<'_>,
    gpa: u64,
    block: &[u8],
    fields: &[Field],
    select: u64,
) -> Result<(), Refusal> {
    for field in fields.iter().filter(|field| field.select.is_set(select)) {
        let end = field.offset.saturating_add(field.len);
        let Some(bytes) = block.get(field.offset..end) else {
            continue;
        };
        env.write(gpa.saturating_add(field.offset as u64), bytes)
            .map_err(|_| Refusal::BlockAddress)?;
    }
    Ok(())
}

const QP_FIELDS0: [Field; 6] = fields!(QpBlock0:
    0 control 8, 1 max_swqes 4, 2 max_rwqes 4, 3 port_number 4, 4 aer 8, 5 tenure 8);
const QP_FIELDS1: [Field; 5] = fields!(QpBlock1:
    0 qp_number 4, 1 async_eq 4, 2 send_cq 8, 3 recv_cq 8, 4 sge_sq 4);
/// Fields of the receive queues, which are one array whose elements are selected one by one.
const QP_SGE_RQ: [Field; 3] = {
    const AT: usize = offset_of!(QpBlock1, sge_rq);
    [
        Field {
            select: Bits64::bit(5),
            offset: AT,
            len: 4,
        },
        Field {
            select: Bits64::bit(6),
            offset: AT + 4,
            len: 4,
        },
        Field {
            select: Bits64::bit(7),
            offset: AT + 8,
            len: 4,
        },
    ]
};

fn entries(queue: &WorkQueue) -> u32 {
    queue.cursor.slots().saturating_sub(1)
}

impl State {
    /// Fills the adapter block with true values where the meaning of the field is known (§4.1,
    /// choice).
    pub(crate) fn query_adapter(&mut self, env: &mut Env<'_>, regs: &Regs) -> Result<(), Refusal> {
        let gpa = env.block_address(QueryHea::unpack(regs).block)?;
        let number = |n: usize| U32::new(u32::try_from(n).unwrap_or(u32::MAX));
        let ports = number(self.ports.len());
        let block = AdapterBlock {
            cur_qps: U32::new(self.qps.live()),
            cur_cqs: U32::new(self.cqs.live()),
            cur_eqs: U32::new(self.eqs.live()),
            cur_mrs: U32::new(self.mrs.live()),
            max_qps: U32::new(self.qps.limit()),
            max_cqs: U32::new(self.cqs.limit()),
            max_eqs: U32::new(self.eqs.limit()),
            max_mrs: U32::new(self.mrs.limit()),
            max_pds: U32::new(u32::MAX),
            max_cqes: U32::new(MAX_CQES),
            max_wqes: U32::new(QueueSize::MAX.entries()),
            max_sge_rq2: number(Rwqe::max_descriptors(SlotSize::B512.bytes())),
            max_sge_rq3: number(Rwqe::max_descriptors(SlotSize::B512.bytes())),
            mr_page_size: U32::new(self.config.mr_page_sizes.0),
            max_mr_size: U64::new(Self::max_mr_length(env)),
            num_ports: ports,
            max_mc_mac: U64::new((MAX_MULTICAST as u64).saturating_add(1)),
            max_isn_per_eq: U32::new(1),
            max_neqs: number(MAX_NEQS),
            max_vlan_ids: U64::new(4096),
            max_port_groups: U32::new(1),
            max_phys_ports: ports,
            ..AdapterBlock::default()
        };
        env.write(gpa, block.as_bytes())
            .map_err(|_| Refusal::BlockAddress)
    }

    pub(crate) fn query_qp(&mut self, env: &mut Env<'_>, call: &QpCall) -> Result<(), Refusal> {
        let gpa = env.block_address(call.block)?;
        self.arrive_all(env, call.qp);
        let qp = self.qps.get(call.qp).ok_or(Refusal::QpHandle)?;
        match call.category {
            QpCategory::BLOCK0 => {
                check_mask(call.select, QpBlock0::SELECT_ALL)?;
                let block = block0(qp);
                write_selected(env, gpa, block.as_bytes(), &QP_FIELDS0, call.select)
            }
            QpCategory::BLOCK1 => {
                check_mask(call.select, QpBlock1::SELECT_ALL)?;
                let block = block1(qp, self.eqs.get(qp.eq).map_or(0, |eq| eq.number));
                write_selected(env, gpa, block.as_bytes(), &QP_FIELDS1, call.select)?;
                write_selected(env, gpa, block.as_bytes(), &QP_SGE_RQ, call.select)
            }
            _ => Err(Refusal::QpCategory),
        }
    }

    pub(crate) fn modify_qp(&mut self, env: &mut Env<'_>, regs: &mut Regs) -> Result<(), Refusal> {
        let call = QpCall::unpack(regs);
        let gpa = env.block_address(call.block)?;
        if call.category != QpCategory::BLOCK0 {
            return Err(Refusal::QpCategory);
        }
        check_mask(call.select, QpBlock0::SELECT_ALL)?;
        if call.select != QpBlock0::SELECT_CONTROL.mask() {
            return Err(Refusal::ReadOnlyAttribute);
        }
        let mut block = QpBlock0::new_zeroed();
        env.read(gpa, block.as_mut_bytes())
            .map_err(|_| Refusal::BlockAddress)?;
        let control = QpControl(block.control.get());
        let requested = control.requested().map_err(|_| Refusal::QpState)?;

        let (cqs, eqs) = (&self.cqs, &self.eqs);
        let qp = self.qps.get_mut(call.qp).ok_or(Refusal::QpHandle)?;
        let next = requested.unwrap_or(qp.state);
        if !qp.may_become(next) {
            return Err(Refusal::QpTransition);
        }
        let complete = qp.has_all_pages()
            && [qp.send_cq, qp.recv_cq]
                .into_iter()
                .all(|cq| cqs.get(cq).is_some_and(|cq| cq.pages.is_complete()))
            && eqs.get(qp.eq).is_some_and(|eq| eq.pages.is_complete());
        if !complete && !matches!(next, QpState::Reset | QpState::Error) {
            return Err(Refusal::QpIncomplete);
        }
        if next == QpState::Reset {
            self.arrive_all(env, call.qp);
        }
        let qp = self.qps.get_mut(call.qp).ok_or(Refusal::QpHandle)?;
        if next != qp.state {
            qp.enter(next);
        }
        if let Some(ns) = qp.set_enabled(control.is_enabled(), self.now) {
            env.counters.paused(qp.number, ns);
        }
        let (port, number, state, enabled) = (qp.port, qp.number, qp.state, qp.enabled);
        let answer = QpModified {
            invalid_attribute: 0,
            sq_entries: u16::try_from(entries(&qp.sq)).unwrap_or(u16::MAX),
            rq_entries: u16::try_from(entries(&qp.rq1)).unwrap_or(u16::MAX),
            processed: call.select,
        };
        *regs = answer.pack();
        env.trace(
            TraceLevel::Event,
            format_args!("queue pair {number:#x} is {state:?}, enabled {enabled}"),
        );
        self.update_port(port);
        Ok(())
    }
}

fn block0(qp: &Qp) -> QpBlock0 {
    QpBlock0 {
        control: U64::new(QpControl::result(qp.state, qp.enabled).0),
        max_swqes: U32::new(entries(&qp.sq)),
        max_rwqes: U32::new(entries(&qp.rq1)),
        port_number: U32::new(u32::try_from(qp.port).unwrap_or(0).saturating_add(1)),
        aer: U64::new(qp.aer),
        ..QpBlock0::default()
    }
}

fn block1(qp: &Qp, async_eq: u32) -> QpBlock1 {
    let count = |n: usize| U32::new(u32::try_from(n).unwrap_or(u32::MAX));
    let [sq, _, rq2, rq3] = qp.queues().map(|queue| queue.cursor.slot_bytes());
    QpBlock1 {
        qp_number: U32::new(qp.number),
        async_eq: U32::new(async_eq),
        send_cq: U64::new(qp.send_cq),
        recv_cq: U64::new(qp.recv_cq),
        sge_sq: count(SwqeFormat::Descriptors.max_descriptors(sq)),
        sge_rq: [
            U32::new(0),
            count(Rwqe::max_descriptors(rq2)),
            count(Rwqe::max_descriptors(rq3)),
        ],
    }
}
