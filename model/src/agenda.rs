// SPDX-License-Identifier: GPL-2.0

//! What is due when (M10, M12).

use crate::temper::Pace;

/// Doorbells and frames are handled this long after the first of them (M10, choice).
const WORK_DELAY_NS: u64 = 100_000;
/// Time for others between two batches of work.
const WORK_PAUSE_NS: u64 = 10_000;
/// A port is announced this long after its first queue pair can send (M12).
const ANNOUNCE_NS: u64 = 5_000_000;
/// And once more after this time, for a driver that was not ready the first time (Q28).
const ANNOUNCE_AGAIN_NS: u64 = 1_000_000_000;

/// What is due when.
#[derive(Debug)]
pub(crate) struct Agenda {
    pace: Pace,
    work: Option<u64>,
    /// Not later than the first write to memory arrives.
    arrival: Option<u64>,
    /// Not later than the first completion event to be raised again.
    recheck: Option<u64>,
    /// Ports whose state is to be posted.
    notices: Vec<(u64, usize)>,
    /// What the host was last asked for.
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

    /// Whether a turn of work is coming.
    pub(crate) const fn has_work(&self) -> bool {
        self.work.is_some()
    }

    /// So long after it became possible, in nanoseconds, work is done at the latest.
    #[cfg(any(test, feature = "testkit"))]
    pub(crate) const fn longest_delay(&self) -> u64 {
        self.pace.longest_work_delay(WORK_DELAY_NS)
    }

    /// There is work; it is done a little later.
    pub(crate) fn work_soon(&mut self, now: u64) {
        let pace = &mut self.pace;
        let due = || now.saturating_add(pace.work_delay(WORK_DELAY_NS));
        self.work.get_or_insert_with(due);
    }

    /// Posts the state of a port soon, and once more; queue pairs that are set up one after the other
    /// are announced together.
    pub(crate) fn announce_port(&mut self, now: u64, port: usize) {
        self.notices.retain(|&(_, of)| of != port);
        for delay in [self.pace.announcement(ANNOUNCE_NS), ANNOUNCE_AGAIN_NS] {
            self.notices.push((now.saturating_add(delay), port));
        }
    }

    /// When arrives in memory what is begun now; none: at once.
    pub(crate) fn arrival_time(&mut self, now: u64) -> Option<u64> {
        self.pace.flight().map(|ns| now.saturating_add(ns))
    }

    /// Looks for what arrives in memory at that time at the latest.
    pub(crate) fn arrival_by(&mut self, deadline: u64) {
        self.arrival = Some(self.arrival.map_or(deadline, |d| d.min(deadline)));
    }

    /// Looks for completion events to be raised again at that time at the latest.
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

    /// The next deadline, if the host has not been asked for it yet.
    pub(crate) fn ask(&mut self) -> Option<Option<u64>> {
        let next = self.next();
        (next != std::mem::replace(&mut self.asked, next)).then_some(next)
    }

    /// Takes what is due; the host's timer has fired.
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

    /// Goes on with work a little later.
    pub(crate) fn work_on(&mut self, now: u64) {
        let pause = self.pace.work_delay(WORK_PAUSE_NS);
        self.work = Some(now.saturating_add(pause));
    }
}

/// What is to be done now.
#[derive(Debug)]
pub(crate) struct Due {
    /// Sending and receiving.
    pub(crate) work: bool,
    /// Writes to memory may arrive.
    pub(crate) arrival: bool,
    /// Completion events may have to be raised again.
    pub(crate) recheck: bool,
    /// Ports whose state is to be posted.
    pub(crate) notices: Vec<usize>,
}
