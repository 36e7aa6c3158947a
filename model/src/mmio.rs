// SPDX-License-Identifier: GPL-2.0

//! Registers of queue pairs and completion queues (§5).

use ehea_abi::regs::{self, cq, qp, EP_PENDING, FECA_COUNT, N1_ARM, WORK_QUEUE_ADDER};

use crate::config::Config;
use crate::host::Env;
use crate::object::state::{Block, State};
use crate::refusal::Violation;

/// Size in bytes that a legal access must have.
const REGISTER: u64 = 8;

impl State {
    /// Returns the register block and the offset in it for a legal access. Ignores any other and
    /// returns `None`.
    fn register(&self, env: &mut Env<'_>, offset: u64, size: u32) -> Option<(Block, usize)> {
        if u64::from(size) != REGISTER || !offset.is_multiple_of(REGISTER) {
            env.ignore_mmio(offset, "not eight aligned bytes");
            return None;
        }
        let inside = usize::try_from(offset % Config::SLOT_SIZE).ok()?;
        let block = self.blocks.get(offset / Config::SLOT_SIZE);
        match block {
            Some(block) if inside < regs::BLOCK_SIZE => Some((block, inside)),
            _ => {
                env.ignore_mmio(offset, "no such register block");
                None
            }
        }
    }

    /// Reads a register. Registers that are not modelled, and adders, read as 0 (§5.1, choice).
    pub(crate) fn mmio_read(&mut self, env: &mut Env<'_>, offset: u64, size: u32) -> u64 {
        match self.register(env, offset, size) {
            Some((Block::Qp(handle), register)) => {
                self.qps.get(handle).map_or(0, |pair| match register {
                    qp::AER => pair.aer,
                    qp::SQC => pair.sq.credits().into(),
                    qp::RQ1C => pair.rq1.credits().into(),
                    qp::RQ2C => pair.rq2.credits().into(),
                    qp::RQ3C => pair.rq3.credits().into(),
                    _ => 0,
                })
            }
            Some((Block::Cq(handle), register)) => {
                self.cqs.get(handle).map_or(0, |queue| match register {
                    cq::FEC => queue.free().into(),
                    cq::EP => EP_PENDING.flag(queue.is_event_pending()),
                    cq::N1 => N1_ARM.flag(queue.is_armed()),
                    _ => 0,
                })
            }
            None => 0,
        }
    }

    pub(crate) fn mmio_write(&mut self, env: &mut Env<'_>, offset: u64, size: u32, value: u64) {
        match self.register(env, offset, size) {
            Some((Block::Qp(handle), register)) => {
                self.qp_register(env, handle, register, offset, value);
            }
            Some((Block::Cq(handle), register)) => {
                self.cq_register(env, handle, register, offset, value);
            }
            None => {}
        }
    }

    /// Handles a store to a register of a queue pair. Announced work is looked at later (M10).
    fn qp_register(
        &mut self,
        env: &mut Env<'_>,
        handle: u64,
        register: usize,
        offset: u64,
        value: u64,
    ) {
        let Some(pair) = self.qps.get_mut(handle) else {
            return;
        };
        if !pair.takes_doorbells() {
            return env.ignore_mmio(offset, "the queue pair is not set up");
        }
        let (queue, overrun) = match register {
            qp::SQA => (&mut pair.sq, Violation::SendQueueOverrun),
            qp::RQ1A => (&mut pair.rq1, Violation::ReceiveQueueOverrun),
            qp::RQ2A => (&mut pair.rq2, Violation::ReceiveQueueOverrun),
            qp::RQ3A => (&mut pair.rq3, Violation::ReceiveQueueOverrun),
            _ => return env.ignore_mmio(offset, "not a register to write"),
        };
        // 16 bits.
        let count = WORK_QUEUE_ADDER.get(value) as u32;
        if !queue.announce(count) {
            return self.fail_qp(env, handle, overrun);
        }
        if register == qp::RQ1A {
            let recv_cq = pair.recv_cq;
            if let Some(queue) = self.cqs.get_mut(recv_cq) {
                queue.consumed(count, self.now);
            }
        }
    }

    fn cq_register(
        &mut self,
        env: &mut Env<'_>,
        handle: u64,
        register: usize,
        offset: u64,
        value: u64,
    ) {
        let Some(queue) = self.cqs.get_mut(handle) else {
            return;
        };
        match register {
            cq::FECA => {
                // 32 bits.
                let count = FECA_COUNT.get(value) as u32;
                if !queue.add_free(count, self.now) {
                    env.ignore_mmio(offset, "more free entries than the completion queue has");
                }
            }
            cq::EP => queue.set_event_pending(EP_PENDING.is_set(value)),
            cq::N1 => queue.set_armed(N1_ARM.is_set(value)),
            _ => env.ignore_mmio(offset, "not a register to write"),
        }
    }
}
