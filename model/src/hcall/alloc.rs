// SPDX-License-Identifier: GPL-2.0

//! H_ALLOC_HEA_RESOURCE and H_REGISTER_SMR (§3.1 to §3.4, §3.6).
//!
//! Everything is checked before anything is allocated.

use std::collections::VecDeque;

use ehea_abi::cb::adapter::PageSize;
use ehea_abi::cb::qp::QpState;
use ehea_abi::hcall::{
    AllocCq, AllocEq, AllocMr, AllocQp, CqAllocated, EqAllocated, EqKind, MrAllocated, QpAllocated,
    RegisterSmr, Regs, ResourceType, ACCESS_LOCAL_WRITE,
};
use ehea_abi::ring::{QueueSize, SlotSize, CQES_PER_PAGE, EQES_PER_PAGE};

use crate::config::Config;
use crate::hcall::Fewer;
use crate::host::{Env, TraceLevel};
use crate::limits::{MAX_CQES, MAX_EQES, MAX_NEQS};
use crate::object::cq::Cq;
use crate::object::eq::Eq;
use crate::object::fifo::Fifo;
use crate::object::mr::{Mr, Smr};
use crate::object::qp::{Qp, QpCounters, WorkQueue};
use crate::object::state::{Block, State};
use crate::object::table::Kind;
use crate::refusal::Refusal;

/// Unit to which the maximum length of a memory region is rounded up, in bytes.
const SECTION: u64 = 16 << 20;

/// Returns the number of pages of a ring with room for `entries` entries and one more. `fewer` is
/// the number of times that a fault halves the entries.
fn pages_for(entries: u32, per_page: u32, fewer: Fewer) -> u32 {
    let entries = entries.checked_shr(fewer).unwrap_or(0).max(1);
    entries.saturating_add(1).div_ceil(per_page)
}

impl State {
    pub(crate) fn alloc(
        &mut self,
        env: &mut Env<'_>,
        regs: &mut Regs,
        fewer: Fewer,
    ) -> Result<(), Refusal> {
        *regs = match ResourceType::of(regs) {
            ResourceType::EQ => self.alloc_eq(env, regs, fewer)?.pack(),
            ResourceType::CQ => self.alloc_cq(&AllocCq::unpack(regs), fewer)?.pack(),
            ResourceType::QP => self.alloc_qp(AllocQp::unpack(regs), fewer)?.pack(),
            ResourceType::MR => self.alloc_mr(env, &AllocMr::unpack(regs))?.pack(),
            _ => return Err(Refusal::ResourceType),
        };
        let [handle, ..] = *regs;
        env.trace(TraceLevel::Event, format_args!("allocated {handle:#x}"));
        Ok(())
    }

    fn alloc_eq(
        &mut self,
        env: &mut Env<'_>,
        regs: &Regs,
        fewer: Fewer,
    ) -> Result<EqAllocated, Refusal> {
        let call = AllocEq::unpack(regs).ok_or(Refusal::EqOptions)?;
        if call.interrupt_sources != 1 {
            return Err(Refusal::EqOptions);
        }
        if call.max_eqes == 0 || call.max_eqes > MAX_EQES {
            return Err(Refusal::EqSize);
        }
        if self.eqs.is_full() {
            return Err(Refusal::EqLimit);
        }
        if call.kind == EqKind::Notification && self.neqs() >= MAX_NEQS {
            return Err(Refusal::NeqLimit);
        }
        let pages = pages_for(call.max_eqes, EQES_PER_PAGE, fewer);
        let interrupt = env.host.irq_alloc().ok_or(Refusal::InterruptLimit)?;
        let handle = self
            .eqs
            .insert(|id| Eq::new(call.kind, id.number(), interrupt, pages))
            .ok_or(Refusal::EqLimit)?;
        Ok(EqAllocated {
            handle,
            eqes: pages.saturating_mul(EQES_PER_PAGE).saturating_sub(1),
            pages,
            interrupt,
        })
    }

    fn registers(&self, slot: u32) -> u64 {
        let offset = u64::from(slot).saturating_mul(Config::SLOT_SIZE);
        self.config.mmio_base.saturating_add(offset)
    }

    fn alloc_cq(&mut self, call: &AllocCq, fewer: Fewer) -> Result<CqAllocated, Refusal> {
        let eq = self.eqs.get(call.eq).ok_or(Refusal::EqHandle)?;
        if eq.kind == EqKind::Notification {
            return Err(Refusal::EqHandle);
        }
        if call.cqes == 0 || call.cqes > MAX_CQES {
            return Err(Refusal::CqSize);
        }
        if self.cqs.is_full() {
            return Err(Refusal::CqLimit);
        }
        let slot = self.blocks.find_free()?;
        let pages = pages_for(call.cqes, CQES_PER_PAGE, fewer);
        let handle = self
            .cqs
            .insert(|id| Cq::new(id.number(), call.eq, call.token, pages, slot))
            .ok_or(Refusal::CqLimit)?;
        self.blocks.take(slot, Block::Cq(handle));
        Ok(CqAllocated {
            handle,
            cqes: pages.saturating_mul(CQES_PER_PAGE).saturating_sub(1),
            pages,
            registers: self.registers(slot),
        })
    }

    fn alloc_qp(&mut self, mut call: AllocQp, fewer: Fewer) -> Result<QpAllocated, Refusal> {
        if call.signalling != AllocQp::SIGNAL_ON_REQUEST {
            return Err(Refusal::QpSignalling);
        }
        if !call.low_latency
            || call.receive_queues != AllocQp::ALL_RECEIVE_QUEUES
            || call.threshold_rq2 != AllocQp::THRESHOLD_RQ2_DEFAULT
            || call.threshold_rq3 != AllocQp::THRESHOLD_RQ3_DEFAULT
        {
            return Err(Refusal::QpOptions);
        }
        if !self.cqs.contains(call.send_cq) {
            return Err(Refusal::SendCqHandle);
        }
        if !self.cqs.contains(call.recv_cq) {
            return Err(Refusal::RecvCqHandle);
        }
        match self.eqs.get(call.affiliated_eq) {
            Some(eq) if eq.kind == EqKind::Affiliated => {}
            _ => return Err(Refusal::EqHandle),
        }
        let port = self.owned_port(call.port)?;
        let queue = |size: &mut u8, slot: u8, smallest: SlotSize| {
            QueueSize::from_code(*size)?;
            let less = size.saturating_sub(u8::try_from(fewer).unwrap_or(u8::MAX));
            *size = less.max(QueueSize::MIN.code());
            let slot = SlotSize::from_code(slot).filter(|&slot| slot >= smallest)?;
            Some(WorkQueue::new(QueueSize::from_code(*size)?, slot))
        };
        // Smaller slots have no room for immediate or in-line data: their layout is not known.
        let sq = queue(&mut call.sq_size, call.sq_slot, SlotSize::B256);
        let [size1, size2, size3] = &mut call.rq.size;
        let [slot1, slot2, slot3] = call.rq.slot;
        let rq1 = queue(size1, slot1, SlotSize::B256);
        let rq2 = queue(size2, slot2, SlotSize::B128);
        let rq3 = queue(size3, slot3, SlotSize::B128);
        let (Some(sq), Some(rq1), Some(rq2), Some(rq3)) = (sq, rq1, rq2, rq3) else {
            return Err(Refusal::QpSizes);
        };
        let answer = QpAllocated::for_sizes(0, 0, 0, &call).ok_or(Refusal::QpSizes)?;
        if self.qps.is_full() {
            return Err(Refusal::QpLimit);
        }
        let slot = self.blocks.find_free()?;
        let handle = self
            .qps
            .insert(|id| Qp {
                number: id.number(),
                send_cq: call.send_cq,
                recv_cq: call.recv_cq,
                eq: call.affiliated_eq,
                token: call.token,
                pd: call.pd,
                port,
                slot,
                sq,
                rq1,
                rq2,
                rq3,
                state: QpState::Reset,
                enabled: false,
                announced: false,
                aer: 0,
                paused_ns: None,
                outgoing: None,
                fifo: Fifo::default(),
                in_flight: VecDeque::new(),
                counters: QpCounters::default(),
                served: 0,
            })
            .ok_or(Refusal::QpLimit)?;
        self.blocks.take(slot, Block::Qp(handle));
        Ok(QpAllocated {
            handle,
            number: self.qps.get(handle).map_or(0, |qp| qp.number),
            registers: self.registers(slot),
            ..answer
        })
    }

    /// Returns the maximum length of a memory region: all memory that the machine has now.
    pub(crate) fn max_mr_length(env: &mut Env<'_>) -> u64 {
        let size = env.host.ram_size();
        size.checked_next_multiple_of(SECTION).unwrap_or(size)
    }

    fn alloc_mr(&mut self, env: &mut Env<'_>, call: &AllocMr) -> Result<MrAllocated, Refusal> {
        let page = PageSize::from_code(call.page_size)
            .filter(|&page| self.config.mr_page_sizes.contains(page))
            .ok_or(Refusal::MrPageSize)?;
        let writable = access(call.access)?;
        let page_bytes = page.bytes();
        if call.length == 0
            || !call.length.is_multiple_of(page_bytes)
            || call.length > Self::max_mr_length(env)
        {
            return Err(Refusal::MrLength);
        }
        check_start(call.start, call.length, page)?;
        let handle = self
            .mrs
            .insert(|id| {
                let key = id.key(Kind::Mr);
                Mr::new(call.start, call.length, page, call.pd, writable, key)
            })
            .ok_or(Refusal::MrLimit)?;
        Ok(MrAllocated {
            handle,
            lkey: self.mrs.get(handle).map_or(0, |mr| mr.key),
        })
    }

    pub(crate) fn register_smr(
        &mut self,
        env: &mut Env<'_>,
        regs: &mut Regs,
    ) -> Result<(), Refusal> {
        let call = RegisterSmr::unpack(regs);
        let mr = self.mrs.get(call.mr).ok_or(Refusal::MrHandle)?;
        if !mr.is_complete() {
            return Err(Refusal::MrIncomplete);
        }
        let writable = access(call.access)?;
        if writable && !mr.writable {
            return Err(Refusal::MrAccess);
        }
        check_start(call.start, mr.length, mr.page)?;
        let handle = self
            .smrs
            .insert(|id| Smr {
                mr: call.mr,
                start: call.start,
                pd: call.pd,
                writable,
                key: id.key(Kind::Smr),
            })
            .ok_or(Refusal::SmrLimit)?;
        let answer = MrAllocated {
            handle,
            lkey: self.smrs.get(handle).map_or(0, |smr| smr.key),
        };
        *regs = answer.pack();
        env.trace(
            TraceLevel::Event,
            format_args!("shared {:#x} as {handle:#x}", call.mr),
        );
        Ok(())
    }
}

/// Returns whether an access control word allows writing. No other right is supported (§12,
/// choice).
fn access(word: u32) -> Result<bool, Refusal> {
    if word & !ACCESS_LOCAL_WRITE != 0 {
        return Err(Refusal::MrAccess);
    }
    Ok(word & ACCESS_LOCAL_WRITE != 0)
}

fn check_start(start: u64, length: u64, page: PageSize) -> Result<(), Refusal> {
    if !start.is_multiple_of(page.bytes()) || start.checked_add(length).is_none() {
        return Err(Refusal::MrStart);
    }
    Ok(())
}
