// SPDX-License-Identifier: GPL-2.0

//! Buffers that are not in the map, reported while the rebuild worker runs.

use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use loom::sync::Arc;
use loom::thread;

use crate::interleave;
use crate::miss::MissReport;

/// A work queue with one work item, as the kernel has them: an item that runs can be queued again.
struct Worker {
    report: MissReport,
    queued: AtomicBool,
    rebuilds: AtomicU32,
}

impl Worker {
    fn new() -> Self {
        Self {
            report: MissReport::new(),
            queued: AtomicBool::new(false),
            rebuilds: AtomicU32::new(0),
        }
    }

    /// The packet path misses; returns whether it has queued the worker.
    fn miss(&self, address: u64) -> bool {
        let queues = self.report.report(address);
        if queues {
            let was_queued = self.queued.swap(true, SeqCst);
            assert!(!was_queued, "queued twice");
        }
        queues
    }

    /// The worker gets its turn.
    fn run(&self) {
        if self.queued.swap(false, SeqCst) {
            let rebuilt = self.report.take(|address| {
                assert!((1..=3).contains(&address), "{address:#x} was not reported");
                self.rebuilds.fetch_add(1, SeqCst);
            });
            assert!(rebuilt.is_some(), "queued for nothing");
        }
    }
}

/// However many miss at the same time, one of them queues the worker.
#[test]
fn one_of_many_queues_the_worker() {
    interleave(3, || {
        let worker = Arc::new(Worker::new());
        let reporters = [1, 2].map(|address| {
            let worker = worker.clone();
            thread::spawn(move || worker.miss(address))
        });
        let mut queued = u32::from(worker.miss(3));
        for reporter in reporters {
            queued += u32::from(reporter.join().unwrap());
        }
        assert_eq!(queued, 1);
        worker.run();
        assert_eq!(worker.rebuilds.load(SeqCst), 1);
    });
}

/// While the worker runs, too: it is never queued twice, and never when there is nothing to do; and
/// whoever still misses afterwards is heard.
#[test]
fn misses_while_the_worker_runs() {
    interleave(4, || {
        let worker = Arc::new(Worker::new());
        let reporters = [1, 2].map(|address| {
            let worker = worker.clone();
            thread::spawn(move || {
                worker.miss(address);
                worker.miss(address);
            })
        });
        worker.run();
        worker.run();
        for reporter in reporters {
            reporter.join().unwrap();
        }
        worker.run();
        assert!(worker.rebuilds.load(SeqCst) >= 1);
        assert!(worker.miss(3), "nobody listens any more");
        worker.run();
        assert!(worker.miss(3), "nobody listens any more");
    });
}
