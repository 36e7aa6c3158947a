// SPDX-License-Identifier: GPL-2.0

//! A network device for tests, which treats frames as it is told.

use crate::{
    kernel_ext::net::{
        lock::ConfigLock,
        queue::{
            opening,
            Completions,
            Sending,
            TxQueue,
            TxState, //
        },
        skbuff::{
            SkBuff,
            SkbSlot, //
        },
        stats::Counter,
        MacAddress,
        NetDevice,
        Operations,
        Registered,
        Transmit,
        UnregisteredNetDevice, //
    },
    testing::{
        self,
        DropCounter, //
    }, //
};
use core::sync::atomic::{
    AtomicBool,
    AtomicU32,
    AtomicU8,
    Ordering, //
};
use kernel::{
    device::{
        Bound,
        Device, //
    },
    faux,
    new_mutex,
    prelude::*,
    str::CString,
    sync::Mutex, //
};

/// Number of transmit queues.
pub(crate) const QUEUES: u16 = 2;

/// Number of calls of `deferred` for all devices.
pub(crate) static DEFERRED_RUNS: AtomicU32 = AtomicU32::new(0);

/// Treatment of a frame by `start_xmit`.
#[repr(u8)]
pub(crate) enum Policy {
    /// It drops the frame.
    Drop = 0,
    /// It consumes the frame.
    Consume = 1,
    /// It reports that it has no room.
    Busy = 2,
    /// It keeps the frame in the slot and drops what was there.
    Keep = 3,
    /// It reports that it has copied the frame.
    Copy = 4,
    /// It reports that the frame was sent, and consumes it.
    Send = 5,
    /// It drops the frame and has no room for another one.
    Full = 6,
    /// It drops the frame and finds room for another one when it looks again.
    NotFull = 7,
}

/// Data of the device.
#[pin_data]
pub(crate) struct Data {
    pub(crate) opened: Counter,
    pub(crate) stopped: Counter,
    pub(crate) sent: Counter,
    pub(crate) deferred: AtomicU32,
    pub(crate) fail_open: AtomicBool,
    pub(crate) slot: SkbSlot,
    /// Number of frames that each queue was asked to send while it was open.
    pub(crate) queues: [TxState<u64>; QUEUES as usize],
    /// Completing sides of open queues.
    #[pin]
    pub(crate) completions: Mutex<KVec<Completions>>,
    /// Number of accesses to `queues` with the wrong queue that were allowed.
    pub(crate) wrong: Counter,
    policy: AtomicU8,
    _drops: DropCounter,
}

impl Data {
    pub(crate) fn set_policy(&self, policy: Policy) {
        self.policy.store(policy as u8, Ordering::Relaxed);
    }

    /// Opens queue `index` and lets it run.
    pub(crate) fn open_queue(&self, dev: &NetDevice<TestOps>, index: u16) -> Result<Completions> {
        let (ticket, completions) = opening(index)?;
        let state = self.queues.get(usize::from(index)).ok_or(EINVAL)?;
        let mut guard = dev.lock_tx_queue(index).ok_or(EINVAL)?;

        state.open(&mut guard, ticket, 0)?;
        state.run(&mut guard);
        Ok(completions)
    }

    /// Closes queue `index`. Returns the number of frames that it was asked to send.
    pub(crate) fn close_queue(
        &self,
        dev: &NetDevice<TestOps>,
        index: u16,
        completions: &mut Completions,
    ) -> Option<u64> {
        let mut guard = dev.lock_tx_queue(index)?;

        self.queues
            .get(usize::from(index))?
            .close(&mut guard, completions)
    }
}

/// Operations of the device.
pub(crate) struct TestOps;

#[vtable]
impl Operations for TestOps {
    type Data = Data;

    fn open(dev: &NetDevice<Self>, _lock: &ConfigLock<'_>) -> Result {
        if dev.data().fail_open.load(Ordering::Relaxed) {
            return Err(EIO);
        }
        dev.data().opened.inc();
        for index in 0..QUEUES {
            let completions = dev.data().open_queue(dev, index)?;
            dev.data()
                .completions
                .lock()
                .push(completions, GFP_KERNEL)?;
        }
        Ok(())
    }

    fn stop(dev: &NetDevice<Self>, _lock: &ConfigLock<'_>) {
        let data = dev.data().get_ref();
        let mut open = data.completions.lock();
        for (index, completions) in (0..).zip(open.iter_mut()) {
            dev.data().close_queue(dev, index, completions);
        }
        open.clear();
        dev.data().stopped.inc();
    }

    fn start_xmit(dev: &NetDevice<Self>, txq: &mut TxQueue<'_>, skb: SkBuff) -> Transmit {
        let data = dev.data();
        let index = usize::from(txq.index());

        data.sent.inc();
        for (i, state) in data.queues.iter().enumerate() {
            match state.get(txq) {
                Some(value) if i == index => *value += 1,
                None if i != index => {}
                _ => data.wrong.inc(),
            }
        }
        let Some(state) = data.queues.get(index) else {
            return Transmit::Ok;
        };
        match data.policy.load(Ordering::Relaxed) {
            0 => drop(skb),
            1 => skb.consume(),
            2 => return Transmit::Busy(skb),
            4 => {
                // The data of the queue are requested at the same time, as a driver does.
                let announce = match state.sending(txq) {
                    Sending::Running(_, queue) => queue.copied(skb),
                    Sending::Held | Sending::Closed => false,
                };
                if !announce {
                    data.wrong.inc();
                }
            }
            5 => {
                if let Sending::Running(_, queue) = state.sending(txq) {
                    queue.sent(&skb);
                }
                skb.consume();
            }
            policy @ (6 | 7) => {
                if state.stop_unless(txq, |_| policy == 7) == (policy == 7) {
                    data.wrong.inc();
                }
            }
            _ => drop(data.slot.put(skb)),
        }
        Transmit::Ok
    }

    fn change_mtu(_dev: &NetDevice<Self>, mtu: u32, _lock: &ConfigLock<'_>) -> Result {
        // An odd MTU is refused.
        if mtu % 2 == 1 {
            return Err(EINVAL);
        }
        Ok(())
    }

    fn deferred(dev: &NetDevice<Self>, events: u32) {
        DEFERRED_RUNS.fetch_add(1, Ordering::Relaxed);
        dev.data().deferred.fetch_or(events, Ordering::Relaxed);
    }
}

/// Returns a device that is not registered. `drops` counts the drops of its data.
pub(crate) fn unregistered(
    parent: &faux::Registration,
    drops: &'static AtomicU32,
) -> Result<UnregisteredNetDevice<TestOps>> {
    let data = try_pin_init!(Data {
        opened: Counter::new(),
        stopped: Counter::new(),
        sent: Counter::new(),
        deferred: AtomicU32::new(0),
        fail_open: AtomicBool::new(false),
        slot: SkbSlot::new(),
        queues: [TxState::new(0), TxState::new(1)],
        completions <- new_mutex!(KVec::new()),
        wrong: Counter::new(),
        policy: AtomicU8::new(Policy::Drop as u8),
        _drops: DropCounter::new(drops),
    }? Error);
    let faux: &faux::Device<Bound> = parent.as_ref();
    let parent: &Device<Bound> = faux.as_ref();
    let mut dev = UnregisteredNetDevice::new(parent, QUEUES, 1, data)?;

    testing::set_name(&mut dev, c"kunit%d")?;
    testing::keep_quiet(&mut dev);
    dev.set_mac_address(&MacAddress([2, 0, 0, 0, 0, 1]));
    dev.set_mtu(1500, 68, 9000);
    Ok(dev)
}

/// Returns a parent for test devices. Each has a name of its own, since a test that fails leaves
/// its parent behind.
pub(crate) fn parent() -> Result<faux::Registration> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);

    faux::Registration::new(&CString::try_from_fmt(fmt!("ehea-kunit.{number}"))?, None)
}

/// Returns a registered device.
pub(crate) fn registered(
    parent: &faux::Registration,
    drops: &'static AtomicU32,
) -> Result<Registered<TestOps>> {
    unregistered(parent, drops)?.register()
}
