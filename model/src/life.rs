// SPDX-License-Identifier: GPL-2.0

//! Objects that fail, are freed or lose their memory, where that concerns several objects (§3.7,
//! §8.4).

use ehea_abi::bits::Bits64;
use ehea_abi::eqe::Eqe;

use crate::host::{Env, TraceLevel};
use crate::object::port::Port;
use crate::object::state::State;
use crate::refusal::Violation;

/// `identifier` of the event that reports the failure of a queue pair (choice).
const QP_ERROR: u8 = 0x10;
/// Bit in the error data of a queue pair that stands for a failure not due to the driver (choice;
/// it lies above those of violations).
const HARDWARE_ERROR: Bits64 = Bits64::bit(32);

impl State {
    /// Stops a queue pair: sets its error state and error data and posts an event to the affiliated
    /// event queue (§8.4).
    pub(crate) fn fail_qp(&mut self, env: &mut Env<'_>, handle: u64, why: Violation) {
        let Some(qp) = self.qps.get_mut(handle) else {
            return;
        };
        env.refuse_work(qp.number, why);
        self.stop_qp(env, handle, why.aer());
    }

    /// Makes the hardware of a port's queue pairs fail.
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
        self.update_port(port);
    }

    /// Resets the adapter with the machine. All is as new, except that the tables keep their
    /// generations, the links their state and the ports their counters.
    pub(crate) fn reset(&mut self, env: &mut Env<'_>) {
        for handle in self.smrs.handles() {
            self.smrs.remove(handle);
        }
        for handle in self.mrs.handles() {
            self.mrs.remove(handle);
        }
        for handle in self.qps.handles() {
            if let Some(qp) = self.qps.get_mut(handle) {
                qp.in_flight.clear();
            }
            self.remove_qp(env, handle);
        }
        for handle in self.cqs.handles() {
            self.remove_cq(handle);
        }
        for handle in self.eqs.handles() {
            self.remove_eq(env, handle);
        }
        for index in 0..self.ports.len() {
            self.renew_port(index);
        }
        self.agenda.clear();
        env.trace(TraceLevel::Event, format_args!("reset"));
    }

    /// Makes a port as new, except that its link keeps its state, and its counters count on. It belongs to the guest.
    pub(crate) fn renew_port(&mut self, index: usize) {
        if let (Some(port), Some(&mac)) = (self.ports.get_mut(index), self.config.macs.get(index)) {
            let fresh = Port::new(port.number, mac, self.config.flow_control);
            let old = std::mem::replace(port, fresh);
            port.link = old.link;
            port.counters = old.counters;
        }
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
        if let Some(mut qp) = self.qps.remove(handle) {
            for _ in &qp.in_flight {
                env.late_access(qp.number, "it");
            }
            self.blocks.free(qp.slot);
            if let Some(port) = self.ports.get_mut(qp.port) {
                port.lose(&mut qp.fifo);
            }
            self.update_port(qp.port);
        }
    }

    /// Updates a port after one of its queue pairs changed state. Drops frames that wait for a
    /// queue pair that is down, notes whether frames can still be received, and announces the port
    /// when a queue pair can send for the first time (M12).
    pub(crate) fn update_port(&mut self, index: usize) {
        let Some(port) = self.ports.get_mut(index) else {
            return;
        };
        port.operational = false;
        for qp in self.qps.values_mut().filter(|qp| qp.port == index) {
            port.operational |= qp.is_operational();
            if !qp.lets_wait(self.config.disabled_drops) {
                let lost = port.lose(&mut qp.fifo);
                qp.counters.dropped = qp.counters.dropped.saturating_add(lost);
            }
            if qp.can_send() && !std::mem::replace(&mut qp.announced, true) {
                self.agenda.announce_port(self.now, index);
            }
        }
    }

    /// Forgets memory that left the machine, so that nothing of it is accessed any more.
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
}
