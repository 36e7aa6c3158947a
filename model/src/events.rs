// SPDX-License-Identifier: GPL-2.0

//! Events: notifications about ports, errors of queue pairs, completion events, and the deadlines
//! of all that happens later (§6.6, §6.7, M10, M12).

use ehea_abi::bits::Bits64;
use ehea_abi::eqe::{Eqe, NeqEntry, NeqEvent};
use ehea_abi::hcall::EqKind;

use crate::host::{Env, TraceLevel};
use crate::object::cq::RERAISE_NS;
use crate::object::state::State;
use crate::refusal::Violation;

/// Doorbells and frames are handled this long after the first of them (M10, choice).
const WORK_DELAY_NS: u64 = 100_000;
/// Time for others between two batches of work.
const WORK_PAUSE_NS: u64 = 10_000;
/// A port is announced this long after its first queue pair can send (M12).
const ANNOUNCE_NS: u64 = 5_000_000;
/// And once more after this time, for a driver that was not ready the first time (Q28).
const ANNOUNCE_AGAIN_NS: u64 = 1_000_000_000;
/// `identifier` of the event that a queue pair failed (choice).
const QP_ERROR: u8 = 0x10;
/// In the error data of a queue pair: not due to the driver (choice; above those of violations).
const HARDWARE_ERROR: Bits64 = Bits64::bit(32);
/// `identifier` of a completion event (choice).
const COMPLETION: u8 = 0x01;

/// What is due when.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    work: Option<u64>,
    /// Not later than the first completion event to be raised again.
    recheck: Option<u64>,
    /// Ports whose state is to be posted.
    notices: Vec<(u64, usize)>,
    /// What the host was last asked for.
    asked: Option<u64>,
}

impl Agenda {
    /// There is work; it is done a little later.
    pub(crate) fn work_soon(&mut self, now: u64) {
        self.work.get_or_insert(now.saturating_add(WORK_DELAY_NS));
    }

    /// Posts the state of a port soon, and once more; queue pairs that are set up one after the other
    /// are announced together.
    pub(crate) fn announce_port(&mut self, now: u64, port: usize) {
        self.notices.retain(|&(_, of)| of != port);
        for delay in [ANNOUNCE_NS, ANNOUNCE_AGAIN_NS] {
            self.notices.push((now.saturating_add(delay), port));
        }
    }

    fn recheck_by(&mut self, deadline: u64) {
        self.recheck = Some(self.recheck.map_or(deadline, |d| d.min(deadline)));
    }

    pub(crate) fn clear(&mut self) {
        *self = Self {
            asked: self.asked,
            ..Self::default()
        };
    }

    fn next(&self) -> Option<u64> {
        let notices = self.notices.iter().map(|&(due, _)| due);
        notices.chain(self.work).chain(self.recheck).min()
    }
}

impl State {
    /// Asks the host for the next deadline; called at the end of every call into the model.
    pub(crate) fn schedule(&mut self, env: &mut Env<'_>) {
        let next = self.agenda.next();
        if next != self.agenda.asked {
            self.agenda.asked = next;
            env.host.timer_set(next);
        }
    }

    /// Does what is due.
    pub(crate) fn run(&mut self, env: &mut Env<'_>) {
        // The host's timer has fired.
        self.agenda.asked = None;
        let due = |deadline: Option<u64>| deadline.is_some_and(|d| d <= self.now);
        let work = due(self.agenda.work);
        let recheck = due(self.agenda.recheck);
        if work {
            self.agenda.work = None;
            if self.work(env) {
                self.agenda.work = Some(self.now.saturating_add(WORK_PAUSE_NS));
            }
        }
        if recheck {
            self.agenda.recheck = None;
            self.reraise(env);
        }
        let mut ports = Vec::new();
        let now = self.now;
        self.agenda.notices.retain(|&(due, port)| {
            if due <= now {
                ports.push(port);
            }
            due > now
        });
        for port in ports {
            if self.ports.get(port).is_some_and(|p| p.operational) {
                self.post_port_state(env, port);
            }
        }
    }

    /// Raises completion events again that the driver seems to have missed (M10).
    fn reraise(&mut self, env: &mut Env<'_>) {
        for cq in self.cqs.values_mut() {
            let Some(deadline) = cq.reraise_at() else {
                continue;
            };
            if deadline > self.now {
                self.agenda.recheck_by(deadline);
                continue;
            }
            cq.reraised(self.now);
            self.agenda.recheck_by(self.now.saturating_add(RERAISE_NS));
            if let Some(eq) = self.eqs.get_mut(cq.eq) {
                eq.interrupt(env);
            }
        }
    }

    /// A completion of that queue became visible.
    pub(crate) fn completed(&mut self, env: &mut Env<'_>, cq: u64) {
        let Some(cq) = self.cqs.get_mut(cq) else {
            return;
        };
        if !cq.completed(self.now) {
            return;
        }
        self.agenda.recheck_by(self.now.saturating_add(RERAISE_NS));
        let Some(eq) = self.eqs.get_mut(cq.eq) else {
            return;
        };
        if eq.kind == EqKind::Completion {
            eq.interrupt(env);
        } else {
            let entry = Eqe {
                is_cq: true,
                identifier: COMPLETION,
                number: cq.number,
                token: cq.token,
            };
            eq.post(env, entry.pack());
        }
    }

    /// Stops a queue pair: error state, error data, an event on the affiliated event queue (§8.4).
    pub(crate) fn fail_qp(&mut self, env: &mut Env<'_>, handle: u64, why: Violation) {
        let Some(qp) = self.qps.get_mut(handle) else {
            return;
        };
        env.refuse_work(qp.number, why);
        self.stop_qp(env, handle, why.aer());
    }

    /// The hardware of a port's queue pairs fails.
    pub(crate) fn fail_port(&mut self, env: &mut Env<'_>, index: usize) {
        for handle in self.qps.handles() {
            if self.qps.get_mut(handle).is_some_and(|qp| qp.port == index) {
                self.stop_qp(env, handle, HARDWARE_ERROR.mask());
            }
        }
    }

    fn stop_qp(&mut self, env: &mut Env<'_>, handle: u64, aer: u64) {
        let Some(qp) = self.qps.get_mut(handle) else {
            return;
        };
        qp.fail(aer);
        let entry = Eqe {
            is_cq: false,
            identifier: QP_ERROR,
            number: qp.number,
            token: qp.token,
        };
        let port = qp.port;
        if let Some(eq) = self.eqs.get_mut(qp.eq) {
            eq.post(env, entry.pack());
        }
        self.update_port(env, port);
    }

    /// Posts an entry to every notification event queue: that of a running kernel and, after a
    /// crash, that of its predecessor (M20).
    pub(crate) fn post_notification(&mut self, env: &mut Env<'_>, entry: NeqEntry) {
        env.trace(TraceLevel::Event, format_args!("notification {entry:?}"));
        for eq in self.eqs.values_mut() {
            if eq.kind == EqKind::Notification {
                eq.post(env, entry.pack());
            }
        }
    }

    /// Posts the state of a port.
    pub(crate) fn post_port_state(&mut self, env: &mut Env<'_>, index: usize) {
        if let Some(port) = self.ports.get(index) {
            let entry = NeqEntry {
                event: NeqEvent::PORT_STATE_CHANGE,
                port_up: port.link,
                link_up: port.link,
                primary: true,
                port: port.number,
            };
            self.post_notification(env, entry);
        }
    }

    /// The physical link of a port changed. The logical port follows it (choice).
    pub(crate) fn set_link(&mut self, env: &mut Env<'_>, index: usize, up: bool) {
        let Some(port) = self.ports.get_mut(index) else {
            return;
        };
        if std::mem::replace(&mut port.link, up) != up {
            self.post_port_state(env, index);
        }
    }
}
