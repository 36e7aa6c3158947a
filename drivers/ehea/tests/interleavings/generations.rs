// SPDX-License-Identifier: GPL-2.0

//! End of a generation: its last user gives it up while the memory notifier waits for that.

use loom::sync::atomic::{AtomicBool, Ordering::Relaxed};
use loom::sync::Arc;
use loom::thread;

use crate::alive::{Alive, AliveCount};
use crate::interleave;

/// A memory region, and whether firmware has freed it.
struct Region {
    freed: Arc<AtomicBool>,
}

impl Drop for Region {
    fn drop(&mut self) {
        self.freed.store(true, Relaxed);
    }
}

/// A generation like the driver's: its region is dropped before its count.
struct Generation {
    _region: Region,
    _alive: Alive<Arc<AliveCount>>,
}

/// A thread that sees a generation gone sees its region freed, whichever thread freed it.
#[test]
fn who_sees_it_gone_sees_it_freed() {
    interleave(4, || {
        let count = Arc::new(AliveCount::new());
        let freed = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let [old, new] = freed.clone().map(|freed| {
            Arc::new(Generation {
                _region: Region { freed },
                _alive: Alive::new(count.clone()),
            })
        });
        // There are two queue pairs: the notifier moves one, another thread closes the other.
        let closed = old.clone();
        let close = thread::spawn(move || drop(closed));
        drop(old);
        if count.get() == 1 {
            assert!(freed[0].load(Relaxed), "still in firmware");
        }
        close.join().unwrap();
        assert_eq!(count.get(), 1);
        assert!(!freed[1].load(Relaxed), "freed while it is used");
        drop(new);
        assert_eq!(count.get(), 0);
    });
}
