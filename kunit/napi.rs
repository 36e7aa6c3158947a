// SPDX-License-Identifier: GPL-2.0

//! Tests of NAPI instances: when they are polled, and who owns their state.

use kernel::prelude::*;

use crate::{
    kernel_ext::{
        net::{
            napi::{
                EventSource,
                Poll,
                PollContext, //
            },
            skbuff::{
                RxChecksum,
                RxMeta, //
            },
            stats::Counter, //
        },
        page::ContiguousBuffer, //
    },
    testing::{
        self,
        DropCounter, //
    }, //
};
use core::sync::atomic::{
    AtomicU32,
    Ordering::Relaxed, //
};
use kernel::sync::Arc;

/// Counts of what happened to an instance.
#[derive(Default)]
struct Events {
    polled: Counter,
    rearmed: Counter,
    received: Counter,
    refused: Counter,
    /// Number of frames that have arrived and that no poll has seen.
    arrived: AtomicU32,
}

/// Way in which frames are received.
#[derive(Clone, Copy)]
enum Way {
    /// They are copied from memory.
    Copy,
    /// They are in a buffer that the adapter has written.
    Buffer,
    /// They are in a buffer that has replaced the one that the adapter has written.
    Replacement,
    /// They are in a buffer, and the adapter reports this length.
    Length(u32),
}

/// Handler that receives `frames` frames like `frame`.
struct TestPoll {
    way: Way,
    events: Arc<Events>,
    frame: ContiguousBuffer,
    frames: u32,
    _drops: DropCounter,
}

/// Source of events: frames that arrive only when it is armed.
struct TestSource {
    events: Arc<Events>,
    late: AtomicU32,
}

impl EventSource for TestSource {
    /// Nothing: all frames are seen anywhere.
    type Position = ();

    fn arm(&self, (): ()) -> bool {
        self.events.rearmed.inc();
        let late = self.late.swap(0, Relaxed);
        self.events.arrived.fetch_add(late, Relaxed);
        late > 0
    }
}

impl TestPoll {
    fn receive(&self, ctx: &PollContext<'_>) -> Result {
        let mut meta = RxMeta {
            len: 64,
            checksum: RxChecksum::Unnecessary,
            vlan: None,
            queue: 0,
        };

        if let Way::Copy = self.way {
            return ctx.receive_copy(self.frame.window(), 0, &meta);
        }
        let mut bytes = [0; 64];
        self.frame.window().read_bytes(0, &mut bytes)?;
        let mut buffer = ctx.alloc(1522).ok_or(ENOMEM)?;
        testing::deliver(&mut buffer, &bytes)?;
        match self.way {
            Way::Length(len) => meta.len = len,
            Way::Replacement => {
                let mut replacement = ctx.alloc(1522).ok_or(ENOMEM)?;
                replacement.copy_from(&buffer);
                buffer = replacement;
            }
            Way::Copy | Way::Buffer => {}
        }
        ctx.receive(buffer, &meta)
    }
}

impl Poll for TestPoll {
    type Source = TestSource;

    fn poll(&mut self, ctx: &PollContext<'_>, budget: u32) -> u32 {
        let mut done = 0;
        self.events.polled.inc();
        self.frames += self.events.arrived.swap(0, Relaxed);
        while self.frames > 0 && done < budget {
            self.frames -= 1;
            done += 1;
            match self.receive(ctx) {
                Ok(()) => self.events.received.inc(),
                Err(_) => self.events.refused.inc(),
            }
        }
        done
    }

    fn position(&self) -> Option<()> {
        Some(())
    }
}

#[kunit_tests(ehea_napi)]
mod tests {
    use super::{
        Events,
        TestPoll,
        TestSource,
        Way, //
    };
    use crate::{
        device::{
            parent,
            registered,
            QUEUES, //
        },
        kernel_ext::{
            net::{
                lock::ConfigGuard,
                napi::{
                    Napi,
                    QueueLink, //
                },
                Device, //
            },
            page::ContiguousBuffer, //
        },
        testing::{
            self,
            DropCounter,
            Listener, //
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

    /// A NAPI instance that is linked, until dropped.
    struct Instance<'a> {
        dev: &'a Device,
        napi: Arc<Napi<TestPoll>>,
        link: Option<QueueLink<TestPoll>>,
    }

    impl Drop for Instance<'_> {
        fn drop(&mut self) {
            if let Some(link) = self.link.take() {
                link.unlink(&ConfigGuard::new(self.dev));
            }
        }
    }

    impl core::ops::Deref for Instance<'_> {
        type Target = Napi<TestPoll>;

        fn deref(&self) -> &Napi<TestPoll> {
            &self.napi
        }
    }

    fn new<'a>(
        dev: &'a Device,
        way: Way,
        frames: u32,
        late: u32,
        drops: &'static AtomicU32,
    ) -> Result<(Instance<'a>, Arc<Events>)> {
        let events = Arc::new(Events::default(), GFP_KERNEL)?;
        let frame = ContiguousBuffer::new(64)?;

        frame.window().write_bytes(0, &[0xff; 6])?;
        frame.window().write_bytes(12, &[0x88, 0xb5, 0x11])?;
        frame.window().write_bytes(63, &[0x22])?;
        let poll = TestPoll {
            way,
            events: events.clone(),
            frame,
            frames,
            _drops: DropCounter::new(drops),
        };
        let source = TestSource {
            events: events.clone(),
            late: AtomicU32::new(late),
        };
        let napi = Arc::pin_init(Napi::new(dev, 0, source, poll), GFP_KERNEL)?;
        // Nobody has this interrupt.
        let link = QueueLink::new(&napi, 1, &ConfigGuard::new(dev))?;
        let instance = Instance {
            dev,
            napi,
            link: Some(link),
        };
        Ok((instance, events))
    }

    /// Waits until `done` returns true, but not longer than a second. Returns whether it does.
    fn wait(done: impl Fn() -> bool) -> bool {
        for _ in 0..1000 {
            if done() {
                return true;
            }
            fsleep(Delta::from_millis(1));
        }
        false
    }

    #[test]
    fn polled_only_while_enabled() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        static STATE: AtomicU32 = AtomicU32::new(0);
        let parent = parent()?;
        let dev = registered(&parent, &DROPS)?;
        let (napi, events) = new(&dev, Way::Copy, 0, 0, &STATE)?;

        napi.schedule();
        fsleep(Delta::from_millis(5));
        assert_eq!(events.polled.get(), 0);

        // Enabling schedules once.
        napi.enable();
        assert!(wait(|| events.rearmed.get() >= 1));
        napi.enable();

        napi.disable();
        let polled = events.polled.get();
        napi.schedule();
        fsleep(Delta::from_millis(5));
        assert_eq!(events.polled.get(), polled);
        napi.disable();

        assert_eq!(STATE.load(Ordering::Relaxed), 0);
        drop(napi);
        assert_eq!(STATE.load(Ordering::Relaxed), 1);
        Ok(())
    }

    #[test]
    fn dropped_while_enabled() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        static STATE: AtomicU32 = AtomicU32::new(0);
        let parent = parent()?;
        let dev = registered(&parent, &DROPS)?;

        for round in 1..4 {
            let (napi, _events) = new(&dev, Way::Copy, 0, 0, &STATE)?;
            napi.enable();
            napi.schedule();
            drop(napi);
            assert_eq!(STATE.load(Ordering::Relaxed), round);
        }
        drop(dev);
        assert_eq!(DROPS.load(Ordering::Relaxed), 1);
        Ok(())
    }

    #[test]
    fn state_is_lent_while_disabled() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        static STATE: AtomicU32 = AtomicU32::new(0);
        let parent = parent()?;
        let dev = registered(&parent, &DROPS)?;
        let (napi, events) = new(&dev, Way::Copy, 0, 0, &STATE)?;

        napi.enable();
        assert!(wait(|| events.rearmed.get() >= 1));
        {
            let mut state = napi.disabled()?;
            let polled = events.polled.get();
            state.frames = 3;
            assert!(napi.disabled().is_err());
            napi.schedule();
            fsleep(Delta::from_millis(5));
            assert_eq!(events.polled.get(), polled);
        }
        // The instance is enabled again, as it was before.
        assert!(wait(|| events.received.get() == 3));

        // An instance that is disabled meanwhile stays disabled.
        {
            let mut state = napi.disabled()?;
            state.frames = 2;
            napi.disable();
        }
        napi.schedule();
        fsleep(Delta::from_millis(5));
        assert_eq!(events.received.get(), 3);

        // An instance that is enabled meanwhile is enabled when its state comes back.
        {
            let _state = napi.disabled()?;
            napi.enable();
            fsleep(Delta::from_millis(5));
            assert_eq!(events.received.get(), 3);
        }
        assert!(wait(|| events.received.get() == 5));
        Ok(())
    }

    #[test]
    fn budget_is_kept_and_nothing_is_lost() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        static STATE: AtomicU32 = AtomicU32::new(0);
        let parent = parent()?;
        let dev = registered(&parent, &DROPS)?;

        testing::open(&dev)?;
        let listener = Listener::new(&dev)?;
        let (napi, events) = new(&dev, Way::Copy, 200, 7, &STATE)?;
        napi.enable();
        assert!(wait(|| events.received.get() == 207));
        // The 200 frames need at least four polls of 64, and the late ones another.
        assert!(events.polled.get() >= 5);
        assert!(wait(|| events.rearmed.get() >= 2));
        assert_eq!(events.refused.get(), 0);
        assert!(wait(|| listener.received().frames == 207));

        let last = listener.received();
        assert_eq!(last.len, 50);
        assert_eq!(last.vlan, None);
        assert_eq!(last.first, 0x11);
        assert_eq!(last.last, 0x22);
        assert!(last.checksum_unnecessary);
        drop(napi);
        Ok(())
    }

    /// Checks that frames in buffers reach the stack unchanged.
    fn arrive_whole(way: Way, drops: &'static AtomicU32, state: &'static AtomicU32) -> Result {
        let parent = parent()?;
        let dev = registered(&parent, drops)?;

        testing::open(&dev)?;
        let listener = Listener::new(&dev)?;
        let (napi, events) = new(&dev, way, 10, 0, state)?;
        napi.enable();
        assert!(wait(|| events.received.get() == 10));
        assert!(wait(|| listener.received().frames == 10));

        let last = listener.received();
        assert_eq!(last.len, 50);
        assert_eq!(last.first, 0x11);
        assert_eq!(last.last, 0x22);
        Ok(())
    }

    #[test]
    fn received_in_buffers() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        static STATE: AtomicU32 = AtomicU32::new(0);

        arrive_whole(Way::Buffer, &DROPS, &STATE)
    }

    #[test]
    fn received_in_replaced_buffers() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        static STATE: AtomicU32 = AtomicU32::new(0);

        arrive_whole(Way::Replacement, &DROPS, &STATE)
    }

    /// Returns an instance that is not polled.
    fn unpolled(
        dev: &Device,
        index: u16,
        drops: &'static AtomicU32,
    ) -> Result<Arc<Napi<TestPoll>>> {
        let events = Arc::new(Events::default(), GFP_KERNEL)?;
        let source = TestSource {
            events: events.clone(),
            late: AtomicU32::new(0),
        };
        let poll = TestPoll {
            way: Way::Copy,
            events,
            frame: ContiguousBuffer::new(64)?,
            frames: 0,
            _drops: DropCounter::new(drops),
        };
        Arc::pin_init(Napi::new(dev, index, source, poll), GFP_KERNEL)
    }

    #[test]
    fn one_instance_serves_a_queue() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        static STATE: AtomicU32 = AtomicU32::new(0);
        let parent = parent()?;
        let dev = registered(&parent, &DROPS)?;

        let first = unpolled(&dev, 0, &STATE)?;
        let second = unpolled(&dev, 0, &STATE)?;
        // Nothing is asserted under the lock, because a failed assertion does not unwind.
        let lock = ConfigGuard::new(&dev);
        let link = QueueLink::new(&first, 1, &lock)?;
        let meanwhile = QueueLink::new(&second, 1, &lock).err();
        link.unlink(&lock);
        let afterwards = QueueLink::new(&second, 1, &lock).map(|link| link.unlink(&lock));
        drop(lock);
        assert_eq!(meanwhile, Some(EBUSY));
        assert!(afterwards.is_ok());
        Ok(())
    }

    #[test]
    fn linked_with_queues_that_exist() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        static STATE: AtomicU32 = AtomicU32::new(0);
        let parent = parent()?;
        let dev = registered(&parent, &DROPS)?;
        let instance = |index| unpolled(&dev, index, &STATE);

        assert!(instance(QUEUES).is_err());
        assert_eq!(STATE.load(Ordering::Relaxed), 1);
        // Nothing is asserted under the lock, because a failed assertion does not unwind.
        let napi = instance(0)?;
        let second = instance(1)?;
        let lock = ConfigGuard::new(&dev);
        // There is one receive queue.
        let absent = QueueLink::new(&second, 1, &lock).is_err();
        drop(second);
        QueueLink::new(&napi, 1, &lock)?.unlink(&lock);
        // A link keeps its instance, and there is one at a time.
        let link = QueueLink::new(&napi, 1, &lock)?;
        let twice = QueueLink::new(&napi, 1, &lock).is_err();
        drop(napi);
        let kept = STATE.load(Ordering::Relaxed);
        link.unlink(&lock);
        drop(lock);
        assert!(twice);
        assert!(absent);
        assert_eq!(kept, 2);
        assert_eq!(STATE.load(Ordering::Relaxed), 3);
        Ok(())
    }

    #[test]
    fn impossible_lengths_are_refused() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        static STATE: AtomicU32 = AtomicU32::new(0);
        let parent = parent()?;
        let dev = registered(&parent, &DROPS)?;

        testing::open(&dev)?;
        for len in [0, 13, 1 << 16, u32::MAX] {
            let (napi, events) = new(&dev, Way::Length(len), 1, 0, &STATE)?;
            napi.enable();
            assert!(wait(|| events.refused.get() == 1));
            assert_eq!(events.received.get(), 0);
        }
        Ok(())
    }
}
