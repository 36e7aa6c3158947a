// SPDX-License-Identifier: GPL-2.0

//! What is done when its time has come.

use crate::host::Env;
use crate::object::state::State;

impl State {
    /// Asks the host for the next deadline; called at the end of every call into the model.
    pub(crate) fn schedule(&mut self, env: &mut Env<'_>) {
        if let Some(deadline) = self.agenda.ask() {
            env.host.timer_set(deadline);
        }
    }

    /// Does what is due.
    pub(crate) fn run(&mut self, env: &mut Env<'_>) {
        let due = self.agenda.take_due(self.now);
        if due.work && self.work(env) {
            self.agenda.work_on(self.now);
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
}
