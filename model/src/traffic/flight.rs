// SPDX-License-Identifier: GPL-2.0

//! The way from the adapter to memory. A queue pair's writes arrive in order: at once or, if the
//! adapter is rough, later.
//!
//! Writes under way keep arriving while a queue pair is disabled. They have arrived when
//! H_QUERY_HEA_QP or H_DISABLE_AND_GET_HEA answers H_SUCCESS. A write for something that was freed
//! is late: it is not done, but counted.

use crate::host::{DmaError, Env};
use crate::memory::translate::Regions;

use crate::object::flight::{Arrival, Flight};
use crate::object::state::State;
use crate::refusal::Violation;
use crate::traffic::budget::Budget;
use crate::traffic::complete::write_entry;

impl State {
    /// Begins a write. If others are under way, it arrives together with the last of them.
    pub(super) fn depart(
        &mut self,
        env: &mut Env<'_>,
        handle: u64,
        arrival: Arrival,
    ) -> Result<(), Violation> {
        let Some(qp) = self.qps.get_mut(handle) else {
            return Ok(());
        };
        let due = match qp.in_flight.back() {
            Some(last) => Some(last.due),
            None => self.agenda.arrival_time(self.now),
        };
        let Some(due) = due else {
            return self.arrive(env, handle, arrival);
        };
        qp.in_flight.push_back(Flight { due, arrival });
        self.agenda.arrival_by(due);
        Ok(())
    }

    /// Completes the writes that are due, as many as a turn may have.
    pub(crate) fn arrive_due(&mut self, env: &mut Env<'_>) {
        let mut budget = Budget::turn();
        for handle in self.qps.handles() {
            self.arrive_until(env, handle, self.now, &mut budget);
        }
        env.counters
            .worked(budget.spent().frames, budget.spent().bytes);
        let next = self.qps.values().filter_map(|qp| qp.in_flight.front());
        if let Some(due) = next.map(|flight| flight.due).min() {
            self.agenda.arrival_by(due);
        }
    }

    /// Completes all writes under way from a queue pair. The queue pair is then quiet until it
    /// begins another.
    pub(crate) fn arrive_all(&mut self, env: &mut Env<'_>, handle: u64) {
        self.arrive_until(env, handle, u64::MAX, &mut Budget::unlimited());
    }

    fn arrive_until(&mut self, env: &mut Env<'_>, handle: u64, time: u64, budget: &mut Budget) {
        while !budget.is_used_up() {
            let Some(qp) = self.qps.get_mut(handle) else {
                break;
            };
            let Some(flight) = qp.in_flight.pop_front_if(|flight| flight.due <= time) else {
                break;
            };
            budget.spend_frame(flight.arrival.bytes());
            if let Err(why) = self.arrive(env, handle, flight.arrival) {
                self.fail_qp(env, handle, why);
            }
        }
    }

    fn arrive(
        &mut self,
        env: &mut Env<'_>,
        handle: u64,
        arrival: Arrival,
    ) -> Result<(), Violation> {
        let Some(qp) = self.qps.get_mut(handle) else {
            return Ok(());
        };
        match arrival {
            Arrival::Received {
                buffer,
                keys,
                frame,
                slot: (slot, toggle),
                completion,
            } => {
                let regions = Regions {
                    mrs: &self.mrs,
                    smrs: &self.smrs,
                };
                if !keys.iter().all(|&key| regions.contains(key)) {
                    env.late_access(qp.number, "its memory region");
                    return Err(Violation::UnknownKey);
                }
                let inline: &[u8] = if buffer.is_empty() { &frame } else { &[] };
                scatter(env, &buffer, &frame)?;
                write_entry(env, slot, completion, toggle, inline)?;
                let recv_cq = qp.recv_cq;
                self.completed(env, recv_cq);
            }
            Arrival::Sent(completion) => {
                let send_cq = qp.send_cq;
                let Some(queue) = self.cqs.get_mut(send_cq) else {
                    env.late_access(qp.number, "its completion queue");
                    return Err(Violation::CompletionQueueGone);
                };
                queue.write(env, completion)?;
                qp.counters.completed = qp.counters.completed.saturating_add(1);
                self.completed(env, send_cq);
            }
        }
        Ok(())
    }
}

/// Writes a frame to the pieces of its buffer, which are long enough.
fn scatter(env: &mut Env<'_>, pieces: &[(u64, usize)], mut frame: &[u8]) -> Result<(), Violation> {
    for &(gpa, len) in pieces {
        let (now, later) = frame.split_at_checked(len).unwrap_or((frame, &[]));
        if now.is_empty() {
            continue;
        }
        env.dma_write(gpa, now).map_err(DmaError::of_data)?;
        frame = later;
    }
    Ok(())
}
