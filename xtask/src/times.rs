// SPDX-License-Identifier: GPL-2.0
//! Times that it took to make the entries of the cache.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Name of this run of the tool.
static RUN: LazyLock<String> =
    LazyLock::new(|| format!("{}-{}", now().as_millis(), std::process::id()));

/// Record of the making of an entry. Times are in milliseconds since 1970.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Making {
    /// Name of the run of the tool that made the entry.
    run: String,
    /// Time at which the making started.
    started: u64,
    ended: u64,
}

impl Making {
    /// Returns the record of something whose making started at `started` and has ended.
    pub(crate) fn since(started: SystemTime) -> Self {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let started = started.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            run: RUN.clone(),
            started: milliseconds(started),
            ended: milliseconds(now()).max(milliseconds(started)),
        }
    }

    /// Returns how long the making took.
    pub(crate) fn took(&self) -> Duration {
        Duration::from_millis(self.ended.saturating_sub(self.started))
    }
}

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Returns the time that one run took to make all of these, during which at least one of them was
/// being made. Returns `None` if they were made in several runs, or if a record is missing: a later
/// run finds much already done.
pub(crate) fn in_one_go(makings: &[Option<Making>]) -> Option<Duration> {
    let mut makings: Vec<_> = makings.iter().cloned().collect::<Option<_>>()?;
    let run = makings.first()?.run.clone();
    if makings.iter().any(|making| making.run != run) {
        return None;
    }
    makings.sort_by_key(|making| making.started);
    let (mut total, mut until) = (0, 0);
    for making in makings {
        let from = making.started.max(until);
        total += making.ended.saturating_sub(from);
        until = until.max(making.ended);
    }
    Some(Duration::from_millis(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn making(run: &str, started: u64, ended: u64) -> Option<Making> {
        let run = run.to_owned();
        Some(Making {
            run,
            started,
            ended,
        })
    }

    #[test]
    fn what_overlaps_counts_once_and_pauses_do_not_count() {
        let makings = [
            making("a", 5_000, 6_000),
            making("a", 1_000, 2_000),
            making("a", 1_500, 3_000),
            making("a", 1_600, 1_700),
        ];
        assert_eq!(in_one_go(&makings), Some(Duration::from_secs(3)));
    }

    #[test]
    fn several_runs_are_not_one() {
        let (one, other) = (making("a", 0, 1_000), making("b", 1_000, 2_000));
        assert_eq!(in_one_go(&[one.clone(), other]), None);
        assert_eq!(in_one_go(&[one.clone(), None]), None);
        assert_eq!(in_one_go(&[]), None);
        assert_eq!(in_one_go(&[one]), Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_making_takes_what_the_clock_says() {
        let making = Making::since(SystemTime::now() - Duration::from_secs(7));
        assert!(making.took() >= Duration::from_secs(7));
    }
}
