// SPDX-License-Identifier: GPL-2.0

//! Tests of network devices: registration, ownership of their data, transmit queues.

use crate::kernel_ext::{
    net::Device,
    workqueue::{
        Handler,
        WorkRef, //
    }, //
};
use core::sync::atomic::{
    AtomicU32,
    Ordering, //
};
use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        Mutex, //
    }, //
};

/// Work handler that drops its reference to a device.
#[pin_data]
struct Holder {
    #[pin]
    reference: Mutex<Option<ARef<Device>>>,
    released: &'static AtomicU32,
}

impl Handler for Holder {
    fn run(&self, _work: &WorkRef<'_>) {
        self.released.fetch_add(1, Ordering::Relaxed);
        drop(self.reference.lock().take());
    }
}

#[kunit_tests(ehea_netdev)]
mod tests {
    use super::Holder;
    use crate::{
        device::{
            parent,
            registered,
            unregistered,
            Policy,
            DEFERRED_RUNS,
            QUEUES, //
        },
        kernel_ext::{
            net::Device,
            workqueue::Work, //
        },
        testing, //
    };
    use core::sync::atomic::{
        AtomicU32,
        Ordering, //
    };
    use kernel::{
        new_mutex,
        prelude::*,
        sync::aref::ARef,
        time::{
            delay::fsleep,
            Delta, //
        }, //
    };

    #[test]
    fn unregistered_data_dropped_once() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        let parent = parent()?;

        drop(unregistered(&parent, &DROPS)?);
        assert_eq!(DROPS.load(Ordering::Relaxed), 1);
        Ok(())
    }

    #[test]
    fn registered_data_dropped_once() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        let parent = parent()?;

        for round in 0..3 {
            let dev = registered(&parent, &DROPS)?;
            assert_eq!(DROPS.load(Ordering::Relaxed), round);
            drop(dev);
            assert_eq!(DROPS.load(Ordering::Relaxed), round + 1);
        }
        Ok(())
    }

    #[test]
    fn failed_registration_drops_data_once() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        let parent = parent()?;
        let mut dev = unregistered(&parent, &DROPS)?;

        // The name of the loopback device is always taken.
        testing::set_name(&mut dev, c"lo")?;
        assert!(dev.register().is_err());
        assert_eq!(DROPS.load(Ordering::Relaxed), 1);
        Ok(())
    }

    #[test]
    fn long_name_is_refused() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        let parent = parent()?;
        let mut dev = unregistered(&parent, &DROPS)?;

        assert!(testing::set_name(&mut dev, c"a-name-of-16-chr").is_err());
        Ok(())
    }

    #[test]
    fn open_and_stop() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        let parent = parent()?;
        let dev = registered(&parent, &DROPS)?;

        assert!(!dev.is_running());
        testing::open(&dev)?;
        assert!(dev.is_running());
        assert_eq!(dev.data().opened.get(), 1);
        testing::close(&dev);
        assert!(!dev.is_running());
        assert_eq!(dev.data().stopped.get(), 1);

        dev.data().fail_open.store(true, Ordering::Relaxed);
        assert!(testing::open(&dev).is_err());
        assert!(!dev.is_running());
        assert_eq!(dev.data().stopped.get(), 1);
        Ok(())
    }

    #[test]
    fn unregistration_waits_for_references() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        static RELEASED: AtomicU32 = AtomicU32::new(0);
        let parent = parent()?;
        let dev = registered(&parent, &DROPS)?;
        let reference: ARef<Device> = (&**dev).into();
        let holder = KBox::pin_init(
            Work::new(pin_init!(Holder {
                reference <- new_mutex!(Some(reference)),
                released: &RELEASED,
            })),
            GFP_KERNEL,
        )?;

        holder.schedule_after(Delta::from_millis(30));
        drop(dev);
        assert_eq!(RELEASED.load(Ordering::Relaxed), 1);
        assert_eq!(DROPS.load(Ordering::Relaxed), 1);
        Ok(())
    }

    #[test]
    fn mtu_changes_only_when_driver_agrees() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        let parent = parent()?;
        let dev = registered(&parent, &DROPS)?;

        assert_eq!(dev.mtu(), 1500);
        testing::set_mtu(&dev, 9000)?;
        assert_eq!(dev.mtu(), 9000);
        assert!(testing::set_mtu(&dev, 8999).is_err());
        assert_eq!(dev.mtu(), 9000);
        // The MTU is beyond the limit, so the driver is not asked.
        assert!(testing::set_mtu(&dev, 9002).is_err());
        assert_eq!(dev.mtu(), 9000);
        Ok(())
    }

    #[test]
    fn deferred_events_come_together() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        let parent = parent()?;
        let dev = registered(&parent, &DROPS)?;

        dev.defer(1);
        dev.defer(4);
        dev.defer_after(8, Delta::from_millis(1));
        for _ in 0..1000 {
            if dev.data().deferred.load(Ordering::Relaxed) == 13 {
                break;
            }
            fsleep(Delta::from_millis(1));
        }
        assert_eq!(dev.data().deferred.load(Ordering::Relaxed), 13);
        Ok(())
    }

    #[test]
    fn pending_events_die_with_the_device() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        let parent = parent()?;
        let dev = registered(&parent, &DROPS)?;

        dev.defer_after(2, Delta::from_millis(20));
        let before = DEFERRED_RUNS.load(Ordering::Relaxed);
        drop(dev);
        assert_eq!(DROPS.load(Ordering::Relaxed), 1);
        fsleep(Delta::from_millis(60));
        assert_eq!(DEFERRED_RUNS.load(Ordering::Relaxed), before);
        Ok(())
    }

    #[test]
    fn xmit_frees_each_frame_once() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        let parent = parent()?;
        let dev = registered(&parent, &DROPS)?;

        testing::open(&dev)?;
        testing::freed();
        for (policy, taken) in [
            (Policy::Drop, true),
            (Policy::Consume, true),
            (Policy::Copy, true),
            (Policy::Busy, false),
        ] {
            dev.data().set_policy(policy);
            assert_eq!(testing::xmit(&dev, testing::frame(&dev, 100, 0)?, 0), taken);
            assert_eq!(testing::freed(), 1);
        }

        dev.data().set_policy(Policy::Keep);
        assert!(testing::xmit(&dev, testing::frame(&dev, 100, 20)?, 0));
        assert_eq!(testing::freed(), 0);
        assert!(testing::xmit(&dev, testing::frame(&dev, 100, 20)?, 0));
        assert_eq!(testing::freed(), 1);
        assert_eq!(dev.data().sent.get(), 6);
        assert_eq!(dev.data().wrong.get(), 0);
        // The frame in the slot is freed with the data.
        drop(dev);
        assert_eq!(testing::freed(), 1);
        Ok(())
    }

    #[test]
    fn locked_data_belong_to_their_queue() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        let parent = parent()?;
        let dev = registered(&parent, &DROPS)?;

        testing::open(&dev)?;
        for queue in [0, 1, 1] {
            assert!(testing::xmit(&dev, testing::frame(&dev, 100, 0)?, queue));
        }
        assert_eq!(dev.data().wrong.get(), 0);
        // Nothing is asserted under a lock, because a failed assertion does not unwind.
        let queues = &dev.data().get_ref().queues;
        let get = |dev: &Device, queue, data: usize| {
            let mut guard = dev.lock_tx_queue(queue)?;
            queues[data].get(&mut guard).copied()
        };
        assert_eq!(get(&dev, 0, 0), Some(1));
        assert_eq!(get(&dev, 1, 1), Some(2));
        assert_eq!(get(&dev, 0, 1), None);
        assert_eq!(get(&dev, 1, 0), None);
        assert!(dev.lock_tx_queue(QUEUES).is_none());

        // The same queue of another device does not give access to them.
        let other = registered(&parent, &DROPS)?;
        assert_eq!(get(&other, 0, 0), None);
        Ok(())
    }

    #[test]
    fn stopped_queue_is_woken_by_completions() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        let parent = parent()?;
        let dev = registered(&parent, &DROPS)?;

        testing::open(&dev)?;
        let is_stopped = || {
            dev.lock_tx_queue(0)
                .is_some_and(|guard| testing::is_stopped(&guard))
        };
        let completed = |has_room| {
            for completions in dev.data().completions.lock().iter_mut().take(1) {
                completions.completed(&dev, 0, 0, has_room);
            }
        };

        assert!(!is_stopped());
        dev.data().set_policy(Policy::Full);
        assert!(testing::xmit(&dev, testing::frame(&dev, 100, 0)?, 0));
        assert!(is_stopped());
        completed(false);
        assert!(is_stopped());
        completed(true);
        assert!(!is_stopped());

        dev.data().set_policy(Policy::NotFull);
        assert!(testing::xmit(&dev, testing::frame(&dev, 100, 0)?, 0));
        assert!(!is_stopped());
        // Nothing to wake.
        completed(true);
        assert!(!is_stopped());
        assert_eq!(dev.data().wrong.get(), 0);
        Ok(())
    }

    #[test]
    fn held_queue_stays_stopped() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        let parent = parent()?;
        let dev = registered(&parent, &DROPS)?;

        testing::open(&dev)?;
        let is_stopped = || {
            dev.lock_tx_queue(0)
                .is_some_and(|guard| testing::is_stopped(&guard))
        };
        let state = &dev.data().get_ref().queues[0];
        if let Some(mut guard) = dev.lock_tx_queue(0) {
            state.hold(&mut guard);
        }
        assert!(is_stopped());
        for completions in dev.data().completions.lock().iter_mut() {
            completions.completed(&dev, 1, 0, true);
        }
        assert!(is_stopped());
        if let Some(mut guard) = dev.lock_tx_queue(0) {
            state.run(&mut guard);
        }
        assert!(!is_stopped());
        Ok(())
    }

    #[test]
    fn closed_queue_stays_stopped() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        let parent = parent()?;
        let dev = registered(&parent, &DROPS)?;

        testing::open(&dev)?;
        let is_stopped = || {
            dev.lock_tx_queue(0)
                .is_some_and(|guard| testing::is_stopped(&guard))
        };
        let data = dev.data().get_ref();
        let mut open = data.completions.lock();
        let [first, second] = &mut open[..] else {
            return Err(EINVAL);
        };
        dev.data().set_policy(Policy::Send);
        assert!(testing::xmit(&dev, testing::frame(&dev, 100, 0)?, 0));

        // Only by who has its completing side.
        assert_eq!(dev.data().close_queue(&dev, 0, second), None);
        assert!(dev.data().open_queue(&dev, 0).is_err());
        assert_eq!(dev.data().close_queue(&dev, 0, first), Some(1));
        assert!(is_stopped());
        // A completion that comes late.
        first.completed(&dev, 1, 100, true);
        assert!(is_stopped());

        // Opened again, the queue knows nothing of it.
        let mut again = dev.data().open_queue(&dev, 0)?;
        assert!(!is_stopped());
        first.completed(&dev, 1, 100, true);
        assert!(testing::xmit(&dev, testing::frame(&dev, 200, 0)?, 0));
        first.completed(&dev, 1, 100, true);
        again.completed(&dev, 1, 200, true);
        assert_eq!(dev.data().close_queue(&dev, 0, &mut again), Some(1));
        Ok(())
    }

    #[test]
    fn no_more_is_completed_than_was_sent() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        let parent = parent()?;
        let dev = registered(&parent, &DROPS)?;

        testing::open(&dev)?;
        dev.data().set_policy(Policy::Send);
        assert!(testing::xmit(&dev, testing::frame(&dev, 100, 0)?, 0));
        for completions in dev.data().completions.lock().iter_mut() {
            // The kernel would stop here.
            completions.completed(&dev, 1, 101, true);
            completions.completed(&dev, 1, u32::MAX, true);
        }
        Ok(())
    }
}
