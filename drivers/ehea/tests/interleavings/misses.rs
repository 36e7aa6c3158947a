// SPDX-License-Identifier: GPL-2.0

//! Reports of buffers that are not in the map, while the rebuild worker runs.

use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use loom::sync::Arc;
use loom::thread;

use crate::interleave;
use crate::miss::MissReport;

/// A work queue with one work item, like the kernel's: an item can be queued again while it runs.
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

    /// Reports a miss of the packet path. Returns whether that has queued the worker.
    fn miss(&self, address: u64) -> bool {
        let queues = self.report.report(address);
        if queues {
            let was_queued = self.queued.swap(true, SeqCst);
            assert!(!was_queued, "queued twice");
        }
        queues
    }

    /// Runs the worker if it is queued.
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

/// One of several simultaneous misses queues the worker.
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

/// Misses while the worker runs never queue it twice, and never when there is nothing to do. A miss
/// after its run is heard.
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
