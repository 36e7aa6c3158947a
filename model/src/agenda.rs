// SPDX-License-Identifier: GPL-2.0

//! What is due when (M10, M12).

/// Doorbells and frames are handled this long after the first of them (M10, choice).
pub(crate) const WORK_DELAY_NS: u64 = 100_000;
/// Time for others between two batches of work.
const WORK_PAUSE_NS: u64 = 10_000;
/// A port is announced this long after its first queue pair can send (M12).
const ANNOUNCE_NS: u64 = 5_000_000;
/// And once more after this time, for a driver that was not ready the first time (Q28).
const ANNOUNCE_AGAIN_NS: u64 = 1_000_000_000;

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
    /// Whether a turn of work is coming.
    pub(crate) const fn has_work(&self) -> bool {
        self.work.is_some()
    }

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

    /// Looks for completion events to be raised again at that time at the latest.
    pub(crate) fn recheck_by(&mut self, deadline: u64) {
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
        self.work = Some(now.saturating_add(WORK_PAUSE_NS));
    }
}

/// What is to be done now.
#[derive(Debug)]
pub(crate) struct Due {
    /// Sending and receiving.
    pub(crate) work: bool,
    /// Completion events may have to be raised again.
    pub(crate) recheck: bool,
    /// Ports whose state is to be posted.
    pub(crate) notices: Vec<usize>,
}
