// SPDX-License-Identifier: GPL-2.0

//! Opening and closing of a port (eHEA ABI §1.3).

use super::{
    context::{
        Context,
        Deferred,
        PortDevice, //
    },
    device::Port,
    errors::AffiliatedEvents,
    opening::Opened,
    queue_pair::QueuePair,
    running::Running, //
};
use crate::{
    abi::hcall::EqKind,
    cmo::{
        Limits,
        Plan, //
    },
    error::{
        Error,
        Result, //
    },
    firmware::Eq,
    kernel_ext::net::lock::{
        ConfigGuard,
        ConfigLock,
        InstanceLock, //
    },
    shared::Generation, //
};
use core::sync::atomic::Ordering::Relaxed;
use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// Number of attempts to open a port for which there is not enough entitlement. The last one is
/// with the smallest queues.
const ENTITLEMENT_ATTEMPTS: u32 = 5;
const ENTITLEMENT_INTERVAL: Delta = Delta::from_millis(10);

impl Port {
    /// Brings the port up for the MTU `mtu`, or puts that off until the memory map is not rebuilt any more and the bus
    /// has given the adapter its entitlement.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the port is about to be removed; there is too little memory or entitlement; firmware refuses.
    pub(super) fn open(&self, dev: &PortDevice, mtu: u32, lock: &ConfigLock<'_>) -> Result<Opened> {
        if self.retired.load(Relaxed) {
            return Err(Error::Kernel(ENODEV));
        }
        let result = self.plan(mtu).and_then(|plan| match plan {
            Some(plan) => self.open_as(plan, dev, lock),
            None => Ok(Opened::Later),
        });
        match result {
            Ok(Opened::Now) => self.put_off.forget(),
            Ok(Opened::Later) => {
                self.release_entitlement();
                dev.defer(Deferred::OPEN);
            }
            Err(_) => {
                self.put_off.forget();
                self.release_entitlement();
            }
        }
        result
    }

    /// Brings the port up with queues as in `plan`, or with smaller ones.
    fn open_as(&self, mut plan: Plan, dev: &PortDevice, lock: &ConfigLock<'_>) -> Result<Opened> {
        // What firmware has kept when the port was closed is in the way now.
        self.calls.firmware().free_again();
        let mut attempts = 0;
        loop {
            // Takes the lock of processor hotplug, under which the memory notifier takes that of the map.
            lock.set_real_queues(plan.queue_pairs, plan.queue_pairs)?;
            let limits = self.limits();
            let opened = self
                .adapter
                .with_generation(|map| self.open_with(dev, map, &plan, &limits, lock));
            // Others wait for the lock that is held.
            let Some(opened) = opened else {
                return Ok(Opened::Later);
            };
            match opened {
                // Buffers are in memory that came after the map was made.
                Err(Error::NotMapped(address)) if self.put_off.needs(address) => {
                    return Ok(Opened::Later);
                }
                // What other ports have too much takes its time to come back.
                Err(Error::Kernel(error))
                    if error == ENOMEM
                        && attempts < ENTITLEMENT_ATTEMPTS
                        && self.adapter.entitlement().is_some() =>
                {
                    attempts += 1;
                    fsleep(ENTITLEMENT_INTERVAL);
                    if attempts == ENTITLEMENT_ATTEMPTS {
                        match self.smaller_plan(&plan) {
                            Some(smaller) => plan = smaller,
                            None => return Err(Error::Kernel(error)),
                        }
                    }
                }
                result => return result.map(|()| Opened::Now),
            }
        }
    }

    /// Brings the port up with the memory map `generation`, which stays in use meanwhile.
    #[inline(never)]
    fn open_with(
        &self,
        dev: &PortDevice,
        generation: &Arc<Generation>,
        plan: &Plan,
        limits: &Limits,
        lock: &ConfigLock<'_>,
    ) -> Result {
        let ctx = Arc::new(self.context(dev), GFP_KERNEL)?;
        let firmware = self.calls.firmware();
        let affiliated_eq = Eq::new(firmware, "affiliated event queue", EqKind::Affiliated)?;
        let mut queue_pairs = KVec::with_capacity(self.queues.len(), GFP_KERNEL)?;
        for (index, queue) in (0..plan.queue_pairs).zip(&self.queues) {
            queue_pairs.push(
                QueuePair::new(&ctx, index, queue, &affiliated_eq, generation, plan, limits)?,
                GFP_KERNEL,
            )?;
        }
        self.calls.set_receive_control(
            self.filter.lock().opening_control(),
            queue_pairs.iter().map(|pair| pair.number()),
        )?;
        let events = AffiliatedEvents::new(
            &ctx,
            &affiliated_eq,
            queue_pairs.iter().map(|pair| pair.handle()),
        )?;
        for queue_pair in &mut queue_pairs {
            queue_pair.request_interrupt()?;
        }
        for queue_pair in &queue_pairs {
            queue_pair.bring_up()?;
        }
        self.start_filter(&ctx, &queue_pairs, lock)?;

        let opened =
            queue_pairs
                .iter_mut()
                .zip(&self.queues)
                .try_for_each(|(queue_pair, queue)| {
                    queue_pair.link(lock)?;
                    queue_pair.open_queue(queue)
                });
        if let Err(error) = opened {
            self.close_queues(&ctx, &mut queue_pairs, lock);
            return Err(error);
        }
        // Nothing fails from here on.
        for queue_pair in &queue_pairs {
            queue_pair.start();
        }
        *self.running.lock() = Some(Running {
            _events: events,
            queue_pairs,
            _affiliated_eq: affiliated_eq,
            ctx,
        });
        if let Some(running) = &*self.running.lock() {
            for (queue_pair, queue) in running.queue_pairs.iter().zip(&self.queues) {
                queue_pair.run_queue(queue);
            }
        }
        // Queues that were in use before may be more.
        let others = self.queues.iter().skip(plan.queue_pairs.into());
        for (index, queue) in (plan.queue_pairs..).zip(others) {
            if let Some(mut txq) = dev.lock_tx_queue(index) {
                queue.sender.leave_out(&mut txq);
            }
        }
        dev.defer_after(Deferred::STATISTICS, Deferred::STATISTICS_INTERVAL);
        Ok(())
    }

    fn start_filter(
        &self,
        ctx: &Context,
        queue_pairs: &KVec<KBox<QueuePair>>,
        _lock: &ConfigLock<'_>,
    ) -> Result {
        let first = queue_pairs.first().map_or(0, |pair| pair.number());
        self.filter.lock().start(ctx, first)
    }

    /// Closes the transmit queues of queue pairs, and removes their NAPI instances from the device.
    fn close_queues(
        &self,
        ctx: &Context,
        queue_pairs: &mut KVec<KBox<QueuePair>>,
        lock: &InstanceLock<'_>,
    ) {
        for (queue_pair, queue) in queue_pairs.iter_mut().zip(&self.queues) {
            if let Err(error) = queue_pair.close_queue(queue) {
                ctx.log_err(fmt!("{error}"));
            }
            queue_pair.unlink(lock);
        }
    }

    /// Brings the port down, if it is up. The carrier stays as it is.
    pub(super) fn close(&self, dev: &PortDevice, lock: &ConfigLock<'_>) {
        self.put_off.forget();
        // Whoever removes memory waits for this instead of finding nobody who has the memory mapped.
        let closing = self.closing.lock();
        self.leaving.store(true, Relaxed);
        let running = self.running.lock().take();
        self.leaving.store(false, Relaxed);
        let Some(mut running) = running else {
            return;
        };
        for (queue_pair, queue) in running.queue_pairs.iter().zip(&self.queues) {
            queue_pair.hold_queue(queue);
        }
        self.filter.lock().stop(&running.ctx);
        let Running {
            ctx, queue_pairs, ..
        } = &mut running;
        for queue_pair in queue_pairs.iter() {
            queue_pair.stop();
        }
        self.close_queues(ctx, queue_pairs, lock);
        drop(running);
        drop(closing);
        self.release_entitlement();
        // Nobody else does so while the port is down.
        self.update_counters(dev);
    }

    /// Closes the port for good, because it is about to be removed. It is still a member of its adapter, so that whoever
    /// removes memory waits for it. Process context.
    pub(super) fn retire(&self, dev: &PortDevice) {
        let lock = ConfigGuard::new(dev);
        self.retired.store(true, Relaxed);
        self.close(dev, &lock);
    }

    /// Returns the number of the queue pair that gets frames for all stations, if the port is open.
    pub(super) fn first_queue_pair(&self) -> Option<u32> {
        self.running.lock().as_ref().map(Running::first_queue_pair)
    }
}
