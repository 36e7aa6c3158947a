// SPDX-License-Identifier: GPL-2.0

//! Work that is done when its time has come.

use crate::host::Env;
use crate::object::state::State;

impl State {
    /// Schedules what follows from the state that a call left behind. Every call ends with this.
    pub(crate) fn schedule(&mut self, env: &mut Env<'_>) {
        self.release_backends(env);
        if !self.agenda.has_work() && self.is_work_possible() {
            self.agenda.work_soon(self.now);
        }
        if let Some(deadline) = self.agenda.ask() {
            env.host.timer_set(deadline);
        }
    }

    /// Does the work that is due.
    pub(crate) fn run(&mut self, env: &mut Env<'_>) {
        let due = self.agenda.take_due(self.now);
        if due.arrival {
            self.arrive_due(env);
        }
        if due.work {
            self.work(env);
            if self.is_work_possible() {
                self.agenda.work_on(self.now);
            }
        }
        if due.recheck {
            self.reraise(env);
        }
        for port in due.notices {
            if self.ports.get(port).is_some_and(|p| p.operational) {
                self.post_port_state(env, port);
            }
        }
    }

    /// Returns the time at which the adapter must have been called again at the latest, according
    /// to what its objects wait for. The deadline that the host was asked for is never later.
    #[cfg(any(test, feature = "testkit"))]
    pub(crate) fn owed(&self) -> Option<u64> {
        let work = self
            .is_work_possible()
            .then(|| self.now.saturating_add(self.agenda.longest_delay()));
        let flights = self.qps.values().filter_map(|qp| qp.in_flight.front());
        let arrivals = flights.map(|flight| flight.due);
        let events = self
            .cqs
            .values()
            .filter_map(|cq| cq.reraise_at(self.config.reraise_ns()));
        events.chain(arrivals).chain(work).min()
    }
}
