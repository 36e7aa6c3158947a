// SPDX-License-Identifier: GPL-2.0

//! Turns of work: who sends and receives how much.

use crate::host::Env;
use crate::object::state::State;
use crate::traffic::rx::may_receive;
use crate::traffic::tx::may_send;

/// Frames of a turn, both directions together; then others get theirs.
const WORK_BUDGET: usize = 1024;
/// Frames of one queue before another one gets its turn.
const QUEUE_BUDGET: usize = 64;

impl State {
    /// Whether a turn of work would do anything.
    pub(crate) fn is_work_possible(&self) -> bool {
        self.qps.values().any(|qp| {
            let port = self.ports.get(qp.port);
            port.is_some_and(|port| may_send(qp, port) || may_receive(qp, port))
        })
    }

    /// A turn of work: sends and receives. Returns how many frames and work requests it was.
    pub(crate) fn work(&mut self, env: &mut Env<'_>) -> usize {
        let mut budget = WORK_BUDGET;
        loop {
            let before = budget;
            let mut qps = self.qps.handles();
            self.mood.shuffle(&mut qps);
            for qp in qps {
                let done = self.receive(env, qp, budget.min(QUEUE_BUDGET));
                budget = budget.saturating_sub(done);
                let done = self.transmit(env, qp, budget.min(QUEUE_BUDGET));
                budget = budget.saturating_sub(done);
            }
            if budget == before || budget == 0 {
                return WORK_BUDGET.saturating_sub(budget);
            }
        }
    }
}
