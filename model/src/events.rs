// SPDX-License-Identifier: GPL-2.0

//! Events: entries of event queues and their interrupts, notifications about ports, completion
//! events (§6.6, §6.7, M10, M12).

use ehea_abi::eqe::{Eqe, NeqEntry, NeqEvent, VALID};
use ehea_abi::hcall::EqKind;

use crate::host::{DmaError, Env, TraceLevel};
use crate::object::eq::Eq;
use crate::object::state::State;

/// `identifier` of a completion event (choice).
const COMPLETION: u8 = 0x01;

impl Eq {
    /// Writes an entry and raises the interrupt, one interrupt for each entry (§6.7, choice). The
    /// adapter does not learn which entries the driver has read, so it can overtake a slow driver
    /// (Q33).
    pub(crate) fn post(&mut self, env: &mut Env<'_>, entry: u64) {
        let address = self.pages.address(self.cursor.offset());
        let valid = VALID.flag(self.cursor.toggle().bit());
        let written = match address {
            Some(gpa) if self.pages.is_complete() => {
                env.dma_write_u64(gpa, VALID.replace(entry, 0) | valid)
            }
            _ => Err(DmaError::NotRam),
        };
        if let Err(why) = written {
            if why == DmaError::NotRam && self.pages.is_complete() {
                env.counters.removed_access();
            }
            env.trace(
                TraceLevel::Event,
                format_args!(
                    "event {entry:#018x} lost: memory of event queue {:#x}: {why:?}",
                    self.number
                ),
            );
            return;
        }
        self.cursor.advance();
        self.withheld = true;
        self.interrupt(env);
    }

    /// Raises the interrupt, unless a fault drops it.
    pub(crate) fn interrupt(&mut self, env: &mut Env<'_>) {
        if env.faults.drops_interrupt(self.kind) {
            env.trace(
                TraceLevel::Event,
                format_args!("interrupt {:#x} dropped by a fault", self.irq),
            );
            return;
        }
        self.withheld = false;
        env.counters.interrupt();
        env.host.irq_pulse(self.irq);
    }

    /// H_RESET_EVENTS: raises the interrupt if it is owed, never otherwise (M19).
    pub(crate) fn reset_events(&mut self, env: &mut Env<'_>) {
        if self.withheld {
            self.interrupt(env);
        }
    }
}

impl State {
    /// Raises completion events again that the driver seems to have missed (M10).
    pub(crate) fn reraise(&mut self, env: &mut Env<'_>) {
        let patience = self.config.reraise_ns();
        for handle in self.cqs.handles() {
            let Some(cq) = self.cqs.get_mut(handle) else {
                continue;
            };
            let Some(deadline) = cq.reraise_at(patience) else {
                continue;
            };
            if deadline > self.now {
                self.agenda.recheck_by(deadline);
                continue;
            }
            let mut users = self.qps.values().filter(|qp| qp.completes_to(handle));
            if !users.any(|qp| qp.enabled) {
                cq.rests(self.now);
                self.agenda.recheck_by(self.now.saturating_add(patience));
                continue;
            }
            if !env.host.guest_is_idle() && cq.waits(self.now) {
                self.agenda.recheck_by(self.now.saturating_add(patience));
                continue;
            }
            cq.reraised(self.now);
            env.counters.reraised();
            self.agenda.recheck_by(self.now.saturating_add(patience));
            if let Some(eq) = self.eqs.get_mut(cq.eq) {
                eq.interrupt(env);
            }
        }
    }

    /// Handles a completion of queue `cq` that became visible.
    pub(crate) fn completed(&mut self, env: &mut Env<'_>, cq: u64) {
        let Some(cq) = self.cqs.get_mut(cq) else {
            return;
        };
        let event = cq.completed(self.now);
        if let Some(at) = cq.reraise_at(self.config.reraise_ns()) {
            self.agenda.recheck_by(at);
        }
        if !event {
            return;
        }
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

    /// Posts an entry to every notification event queue. After a crash, these are the queue of the
    /// running kernel and that of its predecessor (M20).
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

    /// Sets the state of the physical link of a port, which the logical port follows (choice).
    /// Nothing waits for a link that is down: frames are lost in both directions.
    pub(crate) fn set_link(&mut self, env: &mut Env<'_>, index: usize, up: bool) {
        let Some(port) = self.ports.get_mut(index) else {
            return;
        };
        if std::mem::replace(&mut port.link, up) == up {
            return;
        }
        if !up {
            port.tx_busy = false;
        }
        self.post_port_state(env, index);
    }
}
