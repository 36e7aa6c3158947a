// SPDX-License-Identifier: GPL-2.0

//! Tests that work items and memory notifiers are gone when they are dropped.

use kernel::prelude::*;

use crate::{
    kernel_ext::{
        memory::Range,
        memory_hotplug::{
            self,
            Event, //
        },
        net::stats::Counter,
        workqueue::{
            Handler,
            WorkRef, //
        }, //
    },
    testing::DropCounter, //
};
use kernel::{
    sync::Arc,
    time::Delta, //
};

/// Handler that counts its runs and queues itself again `again` times.
struct TestWork {
    runs: Arc<Counter>,
    again: u64,
    _drops: DropCounter,
}

impl Handler for TestWork {
    fn run(&self, work: &WorkRef<'_>) {
        self.runs.inc();
        if self.runs.get() <= self.again {
            work.schedule_after(Delta::from_millis(1));
        }
    }
}

/// Notifier that accepts everything.
struct TestNotifier(#[expect(dead_code, reason = "counts its drop")] DropCounter);

impl memory_hotplug::Handler for TestNotifier {
    fn notify(&self, _event: Event, _range: Range) -> Result {
        Ok(())
    }
}

#[kunit_tests(ehea_work)]
mod tests {
    use super::{
        TestNotifier,
        TestWork, //
    };
    use crate::{
        kernel_ext::{
            memory_hotplug::MemoryNotifier,
            net::stats::Counter,
            workqueue::Work, //
        },
        testing::{
            self,
            DropCounter, //
        }, //
    };
    use core::sync::atomic::{
        AtomicU32,
        Ordering, //
    };
    use kernel::{
        prelude::*,
        sync::Arc,
        time::{
            delay::fsleep,
            Delta, //
        }, //
    };

    type Item = Pin<KBox<Work<TestWork>>>;

    fn new(again: u64, drops: &'static AtomicU32) -> Result<(Item, Arc<Counter>)> {
        let runs = Arc::new(Counter::new(), GFP_KERNEL)?;
        let work = Work::new(TestWork {
            runs: runs.clone(),
            again,
            _drops: DropCounter::new(drops),
        });
        Ok((KBox::pin_init(work, GFP_KERNEL)?, runs))
    }

    #[test]
    fn runs_when_scheduled() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        let (work, runs) = new(0, &DROPS)?;

        testing::flush(&work);
        assert_eq!(runs.get(), 0);
        work.schedule();
        testing::flush(&work);
        assert_eq!(runs.get(), 1);
        // Flushing does not wait for the delay.
        work.schedule_after(Delta::from_secs(3600));
        testing::flush(&work);
        assert_eq!(runs.get(), 2);
        // Nor does another call to schedule it.
        work.schedule_after(Delta::from_secs(3600));
        work.schedule();
        testing::flush(&work);
        assert_eq!(runs.get(), 3);
        drop(work);
        assert_eq!(DROPS.load(Ordering::Relaxed), 1);
        Ok(())
    }

    #[test]
    fn cancelled_and_scheduled_again() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        let (work, runs) = new(0, &DROPS)?;

        work.schedule_after(Delta::from_millis(5));
        work.cancel();
        fsleep(Delta::from_millis(20));
        assert_eq!(runs.get(), 0);
        work.schedule();
        testing::flush(&work);
        assert_eq!(runs.get(), 1);
        Ok(())
    }

    #[test]
    fn never_runs_after_drop() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        // The item queues itself again all the time.
        let (work, runs) = new(u64::MAX, &DROPS)?;

        work.schedule();
        fsleep(Delta::from_millis(10));
        drop(work);
        assert_eq!(DROPS.load(Ordering::Relaxed), 1);
        let after_drop = runs.get();
        assert!(after_drop > 0);
        fsleep(Delta::from_millis(20));
        assert_eq!(runs.get(), after_drop);
        Ok(())
    }

    #[test]
    fn memory_notifier_registers_and_unregisters() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);

        for round in 1..4 {
            let handler = TestNotifier(DropCounter::new(&DROPS));
            let notifier = KBox::pin_init(MemoryNotifier::new(handler), GFP_KERNEL)?;
            assert_eq!(DROPS.load(Ordering::Relaxed), round - 1);
            drop(notifier);
            assert_eq!(DROPS.load(Ordering::Relaxed), round);
        }
        Ok(())
    }
}
