// SPDX-License-Identifier: GPL-2.0

//! Deadlines of the adapter's work (M10, M12).

use crate::temper::Pace;

/// Delay in nanoseconds from the first doorbell or frame until it and all later ones are handled
/// (M10, choice).
const WORK_DELAY_NS: u64 = 100_000;
/// Pause in nanoseconds between two turns of work, in which others get time.
const WORK_PAUSE_NS: u64 = 10_000;
/// Delay in nanoseconds from the moment at which the first queue pair of a port can send until the
/// port is announced (M12).
const ANNOUNCE_NS: u64 = 5_000_000;
/// Delay in nanoseconds until the port is announced once more, for a driver that was not ready the
/// first time (Q28).
const ANNOUNCE_AGAIN_NS: u64 = 1_000_000_000;

/// Deadlines of the adapter's work, in nanoseconds of virtual time.
#[derive(Debug)]
pub(crate) struct Agenda {
    pace: Pace,
    work: Option<u64>,
    /// Deadline not later than the arrival of the first write to memory.
    arrival: Option<u64>,
    /// Deadline not later than the time at which the first completion event is to be raised again.
    recheck: Option<u64>,
    /// Ports whose state is to be posted, with the time.
    notices: Vec<(u64, usize)>,
    /// Deadline that the host was last asked for.
    asked: Option<u64>,
}

impl Agenda {
    pub(crate) const fn new(pace: Pace) -> Self {
        Self {
            pace,
            work: None,
            arrival: None,
            recheck: None,
            notices: Vec::new(),
            asked: None,
        }
    }

    /// Returns true if a turn of work is scheduled.
    pub(crate) const fn has_work(&self) -> bool {
        self.work.is_some()
    }

    /// Returns the maximum delay, in nanoseconds, of work after it became possible.
    #[cfg(any(test, feature = "testkit"))]
    pub(crate) const fn longest_delay(&self) -> u64 {
        self.pace.longest_work_delay(WORK_DELAY_NS)
    }

    /// Schedules a turn of work, a little later.
    pub(crate) fn work_soon(&mut self, now: u64) {
        let pace = &mut self.pace;
        let due = || now.saturating_add(pace.work_delay(WORK_DELAY_NS));
        self.work.get_or_insert_with(due);
    }

    /// Schedules two posts of a port's state, one soon and one later. Queue pairs that are set up
    /// one after the other are announced together.
    pub(crate) fn announce_port(&mut self, now: u64, port: usize) {
        self.notices.retain(|&(_, of)| of != port);
        for delay in [self.pace.announcement(ANNOUNCE_NS), ANNOUNCE_AGAIN_NS] {
            self.notices.push((now.saturating_add(delay), port));
        }
    }

    /// Returns the time at which a write that begins now arrives in memory, or `None` if it arrives
    /// at once.
    pub(crate) fn arrival_time(&mut self, now: u64) -> Option<u64> {
        self.pace.flight().map(|ns| now.saturating_add(ns))
    }

    /// Schedules a look at what arrives in memory, at the time `deadline` at the latest.
    pub(crate) fn arrival_by(&mut self, deadline: u64) {
        self.arrival = Some(self.arrival.map_or(deadline, |d| d.min(deadline)));
    }

    /// Schedules a look at completion events that may have to be raised again, at the time
    /// `deadline` at the latest.
    pub(crate) fn recheck_by(&mut self, deadline: u64) {
        self.recheck = Some(self.recheck.map_or(deadline, |d| d.min(deadline)));
    }

    pub(crate) fn clear(&mut self) {
        self.work = None;
        self.arrival = None;
        self.recheck = None;
        self.notices.clear();
    }

    fn next(&self) -> Option<u64> {
        let notices = self.notices.iter().map(|&(due, _)| due);
        let others = [self.work, self.arrival, self.recheck];
        notices.chain(others.into_iter().flatten()).min()
    }

    /// Returns the next deadline if the host has not been asked for it yet. The inner `None`
    /// cancels the timer.
    pub(crate) fn ask(&mut self) -> Option<Option<u64>> {
        let next = self.next();
        (next != std::mem::replace(&mut self.asked, next)).then_some(next)
    }

    /// Takes what is due at the time `now`, at which the host's timer has fired.
    pub(crate) fn take_due(&mut self, now: u64) -> Due {
        self.asked = None;
        let mut due = Due {
            work: self.work.take_if(|at| *at <= now).is_some(),
            arrival: self.arrival.take_if(|at| *at <= now).is_some(),
            recheck: self.recheck.take_if(|at| *at <= now).is_some(),
            notices: Vec::new(),
        };
        self.notices.retain(|&(at, port)| {
            if at <= now {
                due.notices.push(port);
            }
            at > now
        });
        due
    }

    /// Schedules the next turn of work after a pause.
    pub(crate) fn work_on(&mut self, now: u64) {
        let pause = self.pace.work_delay(WORK_PAUSE_NS);
        self.work = Some(now.saturating_add(pause));
    }
}

/// Work that is due now.
#[derive(Debug)]
pub(crate) struct Due {
    /// True if a turn of work is due: sending and receiving.
    pub(crate) work: bool,
    /// True if writes to memory may arrive.
    pub(crate) arrival: bool,
    /// True if completion events may have to be raised again.
    pub(crate) recheck: bool,
    /// Ports whose state is to be posted.
    pub(crate) notices: Vec<usize>,
}
