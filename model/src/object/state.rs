// SPDX-License-Identifier: GPL-2.0

//! All objects of an adapter in one place, and what spans several of them.

use ehea_abi::hcall::EqKind;

use crate::config::Config;
use crate::events::Agenda;
use crate::host::{Env, TraceLevel};
use crate::memory::tce::Mappings;
use crate::object::cq::Cq;
use crate::object::eq::Eq;
use crate::object::mr::{Mr, Smr};
use crate::object::port::Port;
use crate::object::qp::Qp;
use crate::object::table::{Kind, Table};
use crate::refusal::Refusal;
use crate::stats::{Counters, Live, MrStats, PortStats, Stats};

/// What a register block belongs to: the handle of a queue pair or completion queue.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Block {
    Qp(u64),
    Cq(u64),
}

/// The register blocks. Freed ones are given out again as late as possible, so that a late access
/// to a freed one is noticed.
#[derive(Debug)]
pub(crate) struct Blocks {
    blocks: Vec<Option<Block>>,
    next: usize,
}

impl Blocks {
    fn new(count: u32) -> Self {
        Self {
            blocks: vec![None; count as usize],
            next: 0,
        }
    }

    /// A free block.
    pub(crate) fn find_free(&self) -> Result<u32, Refusal> {
        let (before, after) = self
            .blocks
            .split_at_checked(self.next)
            .unwrap_or((&self.blocks, &[]));
        let free = |blocks: &[Option<Block>]| blocks.iter().position(Option::is_none);
        free(after)
            .map(|at| at.saturating_add(self.next))
            .or_else(|| free(before))
            .and_then(|at| u32::try_from(at).ok())
            .ok_or(Refusal::RegisterLimit)
    }

    pub(crate) fn take(&mut self, slot: u32, block: Block) {
        if let Some(place) = self.blocks.get_mut(slot as usize) {
            *place = Some(block);
            self.next = (slot as usize).saturating_add(1);
        }
    }

    fn free(&mut self, slot: u32) {
        if let Some(place) = self.blocks.get_mut(slot as usize) {
            *place = None;
        }
    }

    pub(crate) fn get(&self, slot: u64) -> Option<Block> {
        *self.blocks.get(usize::try_from(slot).ok()?)?
    }
}

/// The adapter's state.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) eqs: Table<Eq>,
    pub(crate) cqs: Table<Cq>,
    pub(crate) qps: Table<Qp>,
    pub(crate) mrs: Table<Mr>,
    pub(crate) smrs: Table<Smr>,
    pub(crate) blocks: Blocks,
    pub(crate) ports: Vec<Port>,
    pub(crate) agenda: Agenda,
    /// Virtual time of the call that is being handled.
    pub(crate) now: u64,
}

impl State {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            eqs: Table::new(Kind::Eq, config.max_eqs),
            cqs: Table::new(Kind::Cq, config.max_cqs()),
            qps: Table::new(Kind::Qp, config.max_qps),
            mrs: Table::new(Kind::Mr, config.max_mrs),
            smrs: Table::new(Kind::Smr, config.max_smrs()),
            blocks: Blocks::new(config.mmio_slots),
            ports: (1u16..)
                .zip(&config.macs)
                .map(|(number, &mac)| Port::new(number, mac, config.flow_control))
                .collect(),
            agenda: Agenda::default(),
            now: 0,
            config,
        }
    }

    /// Machine reset: as new, but the tables keep their generations, the links their state and the
    /// ports their counters.
    pub(crate) fn reset(&mut self, env: &mut Env<'_>) {
        for handle in self.smrs.handles() {
            self.smrs.remove(handle);
        }
        for handle in self.mrs.handles() {
            self.mrs.remove(handle);
        }
        for handle in self.qps.handles() {
            self.remove_qp(env, handle);
        }
        for handle in self.cqs.handles() {
            self.remove_cq(handle);
        }
        for handle in self.eqs.handles() {
            self.remove_eq(env, handle);
        }
        for (port, &mac) in self.ports.iter_mut().zip(&self.config.macs) {
            let fresh = Port::new(port.number, mac, self.config.flow_control);
            let old = std::mem::replace(port, fresh);
            port.link = old.link;
            port.counters = old.counters;
        }
        self.agenda.clear();
        env.trace(TraceLevel::Event, format_args!("reset"));
    }

    pub(crate) fn remove_eq(&mut self, env: &mut Env<'_>, handle: u64) {
        if let Some(eq) = self.eqs.remove(handle) {
            env.host.irq_free(eq.irq);
        }
    }

    pub(crate) fn remove_cq(&mut self, handle: u64) {
        if let Some(cq) = self.cqs.remove(handle) {
            self.blocks.free(cq.slot);
        }
    }

    pub(crate) fn remove_qp(&mut self, env: &mut Env<'_>, handle: u64) {
        if let Some(qp) = self.qps.remove(handle) {
            self.blocks.free(qp.slot);
            self.update_port(env, qp.port);
        }
    }

    /// The port with a logical number.
    pub(crate) fn port_index(&self, number: u16) -> Result<usize, Refusal> {
        usize::from(number)
            .checked_sub(1)
            .filter(|&index| index < self.ports.len())
            .ok_or(Refusal::PortNumber)
    }

    /// A queue pair of the port changed its state: keeps track of whether frames can still be
    /// received, and announces the port when a queue pair can send for the first time (M12).
    pub(crate) fn update_port(&mut self, env: &mut Env<'_>, index: usize) {
        let mut operational = false;
        for qp in self.qps.values_mut().filter(|qp| qp.port == index) {
            operational |= qp.is_operational();
            if qp.can_send() && !std::mem::replace(&mut qp.announced, true) {
                self.agenda.announce_port(self.now, index);
            }
        }
        let Some(port) = self.ports.get_mut(index) else {
            return;
        };
        port.operational = operational;
        if !operational {
            while port.fifo_pop().is_some() {
                port.drop_frame();
            }
            if std::mem::take(&mut port.held_back) {
                env.host.rx_flush(index);
            }
        }
    }

    /// Memory left the machine: nothing of it is accessed any more.
    pub(crate) fn ram_removed(&mut self, env: &mut Env<'_>, gpa: u64, len: u64) {
        let mut lost = 0u64;
        for mr in self.mrs.values_mut() {
            lost = lost.saturating_add(mr.forget(gpa, len).into());
        }
        let queues = self
            .eqs
            .values_mut()
            .map(|eq| &mut eq.pages)
            .chain(self.cqs.values_mut().map(|cq| &mut cq.pages))
            .chain(
                self.qps
                    .values_mut()
                    .flat_map(|qp| qp.queues_mut().map(|queue| &mut queue.pages)),
            );
        for pages in queues {
            lost = lost.saturating_add(pages.forget(gpa, len).into());
        }
        for _ in 0..lost {
            env.counters.removed_while_registered();
        }
        if lost > 0 {
            env.trace(
                TraceLevel::Refused,
                format_args!(
                    "memory {gpa:#x}+{len:#x} left the machine while {lost} objects had pages in it"
                ),
            );
        }
    }

    pub(crate) fn neqs(&self) -> usize {
        let neq = |eq: &&Eq| eq.kind == EqKind::Notification;
        self.eqs.values().filter(neq).count()
    }

    pub(crate) fn stats(&self, counters: &Counters, mappings: Option<&Mappings>) -> Stats {
        let neqs = self.neqs() as u64;
        let own = |map: &std::collections::BTreeMap<&'static str, u64>| {
            map.iter().map(|(&k, &v)| (k.to_owned(), v)).collect()
        };
        let queue_bytes = self
            .eqs
            .values()
            .map(|eq| eq.pages.bytes())
            .chain(self.cqs.values().map(|cq| cq.pages.bytes()))
            .chain(
                self.qps
                    .values()
                    .flat_map(|qp| qp.queues().map(|q| q.pages.bytes())),
            );
        Stats {
            live: Live {
                eq: u64::from(self.eqs.live()).saturating_sub(neqs),
                neq: neqs,
                cq: self.cqs.live().into(),
                qp: self.qps.live().into(),
                mr: self.mrs.live().into(),
                smr: self.smrs.live().into(),
                bcmc: self.ports.iter().fold(0, |sum, port| {
                    u64::saturating_add(sum, port.bcmc.len() as u64)
                }),
            },
            hcalls: own(&counters.hcalls),
            refusals: own(&counters.refusals),
            pinned_bytes: self
                .mrs
                .values()
                .map(Mr::reachable)
                .chain(queue_bytes)
                .fold(0, u64::saturating_add),
            refused_accesses: counters.refused_accesses,
            cmo_refused: counters.cmo_refused,
            tce_mapped_pages: mappings.map_or(0, Mappings::mapped),
            tce_maps: mappings.map_or(0, Mappings::made),
            ignored_mmio: counters.ignored_mmio,
            interrupts: counters.interrupts,
            removed_while_registered: counters.removed_while_registered,
            removed_accesses: counters.removed_accesses,
            pauses: counters.pauses.iter().copied().collect(),
            mrs: self
                .mrs
                .iter()
                .map(|(h, mr)| self.mr_stats(h, mr))
                .collect(),
            ports: self.ports.iter().map(port_stats).collect(),
            dma: counters.dma.clone(),
        }
    }

    fn mr_stats(&self, handle: u64, mr: &Mr) -> MrStats {
        MrStats {
            handle,
            bytes: mr.length,
            page_bytes: mr.page.bytes(),
            pages: mr.pages(),
            register_calls: mr.register_calls,
            runs: mr.runs().iter().map(|run| (run.gpa, run.len)).collect(),
            smrs: self.smrs.values().filter(|smr| smr.mr == handle).count() as u64,
        }
    }
}

fn port_stats(port: &Port) -> PortStats {
    PortStats {
        port: port.number,
        link: port.link,
        rx_frames: port.counters.rx_frames,
        rx_bytes: port.counters.rx_bytes,
        rx_dropped: port.counters.rx_dropped,
        rx_fifo_bytes: port.fifo_bytes() as u64,
        tx_frames: port.counters.tx_frames,
        tx_bytes: port.counters.tx_bytes,
        tx_errors: port.counters.tx_errors,
    }
}
