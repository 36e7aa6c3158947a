// SPDX-License-Identifier: GPL-2.0

//! State of an adapter: all of its objects in one place.

use ehea_abi::hcall::EqKind;

use crate::agenda::Agenda;
use crate::config::Config;
use crate::object::cq::Cq;
use crate::object::eq::Eq;
use crate::object::mr::{Mr, Smr};
use crate::object::port::Port;
use crate::object::qp::Qp;
use crate::object::table::{Kind, Table};
use crate::refusal::Refusal;
use crate::temper::{Mood, Pace};

/// Owner of a register block: the handle of a queue pair or completion queue.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Block {
    Qp(u64),
    Cq(u64),
}

/// The register blocks. A freed block is given out again as late as possible, so that a late access
/// to it is noticed.
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

    /// Returns the index of a free block.
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

    pub(crate) fn free(&mut self, slot: u32) {
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
    pub(crate) mood: Mood,
    /// Number of parts of turns of work so far.
    pub(crate) served: u64,
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
            agenda: Agenda::new(Pace::new(config.temper)),
            mood: Mood::new(config.temper),
            served: 0,
            now: 0,
            config,
        }
    }

    /// Returns the index of the port with the logical number `number`.
    pub(crate) fn port_index(&self, number: u16) -> Result<usize, Refusal> {
        usize::from(number)
            .checked_sub(1)
            .filter(|&index| index < self.ports.len())
            .ok_or(Refusal::PortNumber)
    }

    /// Returns the index of the port with the logical number `number`, if it is the guest's.
    pub(crate) fn owned_port(&self, number: u16) -> Result<usize, Refusal> {
        let index = self.port_index(number)?;
        match self.ports.get(index) {
            Some(port) if port.owned => Ok(index),
            _ => Err(Refusal::PortNotOwned),
        }
    }

    /// Checks whether the guest has objects.
    pub(crate) fn has_objects(&self) -> bool {
        let live = [
            self.eqs.live(),
            self.cqs.live(),
            self.qps.live(),
            self.mrs.live(),
            self.smrs.live(),
        ];
        live.iter().any(|&live| live != 0)
    }

    /// Checks whether the guest uses the port index `index`: it has queue pairs there, or has addresses registered.
    pub(crate) fn is_port_in_use(&self, index: usize) -> bool {
        self.qps.values().any(|qp| qp.port == index)
            || self
                .ports
                .get(index)
                .is_some_and(|port| port.bcmc.len() != 0)
    }

    pub(crate) fn neqs(&self) -> usize {
        let neq = |eq: &&Eq| eq.kind == EqKind::Notification;
        self.eqs.values().filter(neq).count()
    }
}
