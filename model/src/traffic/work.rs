// SPDX-License-Identifier: GPL-2.0

//! Turns of work: who sends and receives how much.
//!
//! A turn is limited, so that others who wait for the machine's lock do not wait long. Within a
//! turn, the ports take turns, and so do the queue pairs of a port, each with a quantum for either
//! direction. Those that were served least recently come first, also in the next turn of work.

use std::collections::VecDeque;

use crate::host::Env;
use crate::object::qp::Qp;
use crate::object::state::State;
use crate::traffic::budget::{Amount, Budget};
use crate::traffic::rx::may_receive;
use crate::traffic::tx::may_send;

impl State {
    /// Checks whether a turn of work would do anything.
    pub(crate) fn is_work_possible(&self) -> bool {
        self.qps.values().any(|qp| self.can_move(qp))
    }

    /// Checks whether a queue pair can send or receive something.
    fn can_move(&self, qp: &Qp) -> bool {
        let port = self.ports.get(qp.port);
        port.is_some_and(|port| may_send(qp, port) || may_receive(qp, port))
    }

    /// Does a turn of work: sends and receives. Returns the amount of work done.
    pub(crate) fn work(&mut self, env: &mut Env<'_>) -> Amount {
        let mut done = Amount::default();
        let mut lines = self.lines();
        while !done.is_a_turn() {
            let Some(mut line) = lines.pop_front() else {
                break;
            };
            let Some(handle) = line.pop_front() else {
                continue;
            };
            done = self.serve(env, handle, done);
            if self.qps.get(handle).is_some_and(|qp| self.can_move(qp)) {
                line.push_back(handle);
            }
            lines.push_back(line);
        }
        env.counters.worked(done.frames, done.bytes);
        done
    }

    /// Returns the queue pairs that can send or receive something: a line for each port, longest
    /// waiting first. A rough adapter serves the queue pairs of a port out of order.
    fn lines(&mut self) -> VecDeque<VecDeque<u64>> {
        let mut ready: Vec<_> = self
            .qps
            .iter()
            .filter(|(_, qp)| self.can_move(qp))
            .map(|(handle, qp)| {
                let port = self.ports.get(qp.port).map_or(0, |port| port.served);
                (port, qp.port, qp.served, handle)
            })
            .collect();
        ready.sort_unstable();
        ready
            .chunk_by_mut(|(_, a, ..), (_, b, ..)| a == b)
            .map(|line| {
                self.mood.shuffle(line);
                line.iter().map(|&(.., handle)| handle).collect()
            })
            .collect()
    }

    /// Gives both directions of a queue pair their quantum of a turn of which `done` is already
    /// done. Returns the amount that is done then.
    fn serve(&mut self, env: &mut Env<'_>, handle: u64, mut done: Amount) -> Amount {
        self.served = self.served.saturating_add(1);
        if let Some(qp) = self.qps.get_mut(handle) {
            qp.served = self.served;
            if let Some(port) = self.ports.get_mut(qp.port) {
                port.served = self.served;
            }
        }
        for direction in [Self::receive, Self::transmit] {
            let mut budget = Budget::quantum(done);
            direction(self, env, handle, &mut budget);
            done = done.plus(budget.spent());
        }
        done
    }
}
