// SPDX-License-Identifier: GPL-2.0

//! A queue pair of an open port, with all that belongs to it.

use super::{
    entitlement::{
        Charged,
        SendAccess, //
    },
    poll::{
        CompletionInterrupt,
        QueuePoll, //
    },
    rx::{
        buffers::{
            Mapping,
            Spares, //
        },
        receive::Receiver, //
    },
    tx::{
        bounce::BouncePool,
        complete::{
            Completer,
            SendRing, //
        },
        send::Sender, //
    },
    Port,
    PortOperations,
    QueueCounters, //
};
use crate::{
    abi::hcall::EqKind,
    cmo::{
        Limits,
        Plan, //
    },
    firmware::{
        Cq,
        Eq,
        Error,
        Qp,
        QpConfig,
        Result, //
    },
    kernel_ext::{
        dma::{
            Access,
            MappingConsumer, //
        },
        irq,
        net::{
            napi::{
                Napi,
                QueueLink, //
            },
            rtnl::Rtnl,
            NetDevice, //
        }, //
    }, //
    shared::{
        Generation,
        Keys,
        Measurement, //
    },
};
use kernel::{
    prelude::*,
    str::CString,
    sync::Arc,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// How often, and in which intervals, is looked whether a send queue has run empty.
const DRAIN_ATTEMPTS: u32 = 1000;
const DRAIN_INTERVAL: Delta = Delta::from_millis(1);

/// A queue pair of an open port.
pub(super) struct QueuePair {
    // Dropped in this order: the interrupt first, so that nobody schedules any more; then what
    // firmware has, each before what it depends on; at last the memory that the adapter used.
    interrupt: Option<Pin<KBox<irq::Registration<CompletionInterrupt>>>>,
    qp: Qp,
    _send_cq: Cq,
    _recv_cq: Cq,
    eq: Eq,
    /// None while the queue pair pauses and there is no memory region.
    keys: Option<Keys>,
    /// What is prepared for a change to another memory map.
    next: Option<Prepared>,
    pub(super) napi: Arc<Napi<QueuePoll>>,
    /// While the port is open.
    link: Option<QueueLink<QueuePoll>>,
    ring: Arc<SendRing>,
    bounce: Arc<BouncePool>,
    /// How the sender gets at frames, until there is one.
    send_access: Option<SendAccess>,
    /// What it has of the entitlement; none outside of CMO.
    pub(super) charged: Option<Charged>,
    /// While it pauses: since when.
    blackout: Option<Measurement>,
    /// The number of the queues of the network device.
    pub(super) index: u16,
}

impl QueuePair {
    /// Allocates queue pair `index` of a port, in state RESET, with the queues that `plan` says. What
    /// it may have mapped besides is in `limits`.
    // Not inlined, here and below, so that what is built doesn't take stack longer than needed.
    #[inline(never)]
    pub(super) fn new(
        port: &Port,
        dev: &NetDevice<PortOperations>,
        index: u16,
        affiliated_eq: &Eq,
        generation: &Arc<Generation>,
        (plan, limits): (&Plan, &Limits),
    ) -> Result<KBox<Self>> {
        let firmware = port.calls.firmware();
        let config = QpConfig {
            port: port.number(),
            token: index.into(),
            rings: plan.rings,
        };
        let token = port.number().into();

        let eq = Eq::new(firmware, "completion event queue", EqKind::Completion)?;
        let recv_cq = Cq::new(
            firmware,
            "receive completion queue",
            &eq,
            token,
            config.rings.receive_completions(),
        )?;
        let send_cq = Cq::new(
            firmware,
            "send completion queue",
            &eq,
            token,
            config.rings.send_completions(),
        )?;
        let qp = Qp::new(firmware, &config, &send_cq, &recv_cq, affiliated_eq)?;
        let keys = Keys::new(generation)?;

        let ring = Arc::new(SendRing::new(&qp.geometry().sq)?, GFP_KERNEL)?;
        let access = firmware.access();
        let bounce = BouncePool::new(access, plan.bounce_slots, generation.map())?;
        let bounce = Arc::new(bounce, GFP_KERNEL)?;
        let counters = &port.queues.get(usize::from(index)).ok_or(EINVAL)?.counters;
        let (charged, producer, consumer) =
            match Charged::new(access, limits, qp.geometry().sq.slots())? {
                Some((charged, producer, consumer)) => {
                    (Some(charged), Some(producer), Some(consumer))
                }
                None => (None, None, None),
            };
        let send_access = producer
            .map(SendAccess::Mapped)
            .or_else(|| access.unrestricted().map(SendAccess::Unrestricted));
        let napi = Self::new_napi(
            dev,
            (index, counters),
            &qp,
            (&send_cq, &recv_cq),
            &keys,
            (&ring, consumer),
            (access, &charged),
        )?;
        let mut this = KBox::new(
            Self {
                interrupt: None,
                qp,
                _send_cq: send_cq,
                _recv_cq: recv_cq,
                eq,
                keys: Some(keys),
                next: None,
                napi,
                link: None,
                ring,
                bounce,
                send_access,
                charged,
                blackout: None,
                index,
            },
            GFP_KERNEL,
        )?;
        this.add_mapped(access, counters)?;
        Ok(this)
    }

    /// Maps receive buffers and writes them to the rings, in a CMO partition. It is enough if there
    /// are some.
    #[inline(never)]
    fn add_mapped(&mut self, access: &Access, counters: &QueueCounters) -> Result {
        let Some(charged) = &mut self.charged else {
            return Ok(());
        };
        let mut new = charged.allocate(access, counters);
        if new.rq2.is_empty() || new.rq3.is_empty() {
            return Err(Error::Kernel(ENOMEM));
        }
        self.napi.disabled()?.receiver.add(&mut new)
    }

    /// Makes the NAPI instance of a queue pair, with all receive buffers written to the rings.
    #[inline(never)]
    fn new_napi(
        dev: &NetDevice<PortOperations>,
        (index, counters): (u16, &Arc<QueueCounters>),
        qp: &Qp,
        (send_cq, recv_cq): (&Cq, &Cq),
        keys: &Keys,
        (ring, mappings): (&Arc<SendRing>, Option<MappingConsumer>),
        (access, charged): (&Access, &Option<Charged>),
    ) -> Result<Arc<Napi<QueuePoll>>> {
        let completer = Completer::new(
            &qp.geometry().sq,
            index,
            send_cq.memory().clone(),
            send_cq.registers().clone(),
            ring.clone(),
            counters.clone(),
            mappings,
        );
        let mut receiver = Receiver::new(
            dev,
            index,
            qp,
            recv_cq.registers().clone(),
            Mapping {
                map: keys.generation().map().clone(),
                key: keys.receive(),
            },
            counters.clone(),
            (access, charged.as_ref().map(|charged| &charged.counts)),
        )?;
        receiver.fill()?;
        let poll = QueuePoll::new(dev, completer, receiver);
        Ok(Arc::pin_init(Napi::new(dev, index, poll), GFP_KERNEL)?)
    }

    /// The number that the port knows it by.
    pub(super) fn number(&self) -> u32 {
        self.qp.number()
    }

    /// The handle that firmware knows it by.
    pub(super) fn handle(&self) -> u64 {
        self.qp.handle()
    }

    /// Listens to the interrupt, which does nothing before [`QueuePair::start`].
    pub(super) fn request_interrupt(&mut self, dev: &NetDevice<PortOperations>) -> Result {
        let name = CString::try_from_fmt(fmt!("{}-queue{}", dev.name(), self.index))?;
        let handler = CompletionInterrupt(self.napi.clone());
        self.interrupt = Some(KBox::pin_init(
            irq::Registration::new(self.eq.map_interrupt()?, name, handler),
            GFP_KERNEL,
        )?);
        Ok(())
    }

    /// Makes the queue pair operational, and gives it its receive buffers.
    pub(super) fn bring_up(&self) -> Result {
        self.qp.bring_up()?;
        self.napi.disabled()?.receiver.start(&self.qp);
        Ok(())
    }

    /// The posting side of the send queue, to be put in place before [`QueuePair::start`].
    pub(super) fn sender(&mut self) -> Option<Sender> {
        let access = self.send_access.take()?;
        let keys = self.keys.as_ref()?;
        Some(Sender::new(
            &self.qp.geometry().sq,
            self.ring.clone(),
            self.qp.send_memory().clone(),
            self.qp.registers().clone(),
            self.bounce.clone(),
            Mapping {
                map: keys.generation().map().clone(),
                key: keys.send(),
            },
            access,
        ))
    }

    /// Lets users see which NAPI instance and interrupt the queues have. Nothing depends on it.
    pub(super) fn link(&mut self, rtnl: &Rtnl) {
        if let Some(interrupt) = &self.interrupt {
            let irq = interrupt.mapping().irq();
            self.link = QueueLink::new(&self.napi, self.index, irq, rtnl).ok();
        }
    }

    /// Undoes [`QueuePair::link`].
    pub(super) fn unlink(&mut self, rtnl: &Rtnl) {
        if let Some(link) = self.link.take() {
            link.unlink(rtnl);
        }
    }

    /// Starts to handle completions, also of what has come already.
    pub(super) fn start(&self) {
        self.napi.enable();
    }

    /// Prepares the queue pair for the memory map `generation`, unless it uses it already. All
    /// memory that the change takes is allocated here, not while the queue pair pauses.
    pub(super) fn prepare(
        &mut self,
        port: &Port,
        dev: &NetDevice<PortOperations>,
        generation: &Arc<Generation>,
    ) -> Result {
        if !self.uses(generation) {
            self.next = Some(self.allocate(port, dev, generation)?);
        }
        Ok(())
    }

    /// Gives up what was prepared.
    pub(super) fn discard(&mut self) {
        self.next = None;
    }

    /// Moves the queue pair to the memory map that it is prepared for, if it is.
    ///
    /// # Errors
    ///
    /// It goes on with the map before, or the port will be reset.
    pub(super) fn switch(&mut self, port: &Port, dev: &NetDevice<PortOperations>) -> Result {
        let Some(next) = self.next.take() else {
            return Ok(());
        };
        self.pause(port, dev)?;
        let old = self.exchange(port, dev, next);
        self.resume(port, dev);
        // Freed here, where it holds up nobody.
        old.map(drop)
    }

    /// Goes on after [`QueuePair::pause`], with the memory map `generation`.
    ///
    /// # Errors
    ///
    /// It doesn't: the port must be reset.
    pub(super) fn go_on(
        &mut self,
        port: &Port,
        dev: &NetDevice<PortOperations>,
        generation: &Arc<Generation>,
    ) -> Result {
        if !self.uses(generation) {
            let next = self.allocate(port, dev, generation)?;
            self.exchange(port, dev, next)?;
        }
        self.resume(port, dev);
        Ok(())
    }

    /// Whether work requests refer to the memory map `generation`.
    fn uses(&self, generation: &Arc<Generation>) -> bool {
        let keys = self.keys.as_ref();
        keys.is_some_and(|keys| Arc::ptr_eq(keys.generation(), generation))
    }

    /// Gives the keys up while the queue pair pauses, so that its memory region can be freed.
    pub(super) fn release_keys(&mut self) {
        self.keys = None;
    }

    /// Allocates what a change to the map `generation` needs.
    fn allocate(
        &self,
        port: &Port,
        dev: &NetDevice<PortOperations>,
        generation: &Arc<Generation>,
    ) -> Result<Prepared> {
        let map = generation.map();
        let keys = Keys::new(generation)?;
        let counts = self.napi.disabled()?.receiver.unmapped(map);
        let access = port.calls.firmware().access();
        let spares = Spares::new(counts, dev, map, access)?;
        let bounce = if self.bounce.is_mapped(map) {
            self.bounce.clone()
        } else {
            Arc::new(BouncePool::new(access, self.bounce.len(), map)?, GFP_KERNEL)?
        };
        Ok(Prepared {
            keys,
            spares,
            bounce,
        })
    }

    /// Has the sender refuse frames, or take them again.
    fn set_paused(&self, port: &Port, dev: &NetDevice<PortOperations>, paused: bool) {
        let Some(mut txq) = dev.lock_tx_queue(self.index) else {
            return;
        };
        self.ring.progress.set_paused(paused);
        if paused {
            txq.stop();
        }
        if let Some(queue) = port.queues.get(usize::from(self.index)) {
            if let Some(Some(sender)) = queue.sender.get(&mut txq) {
                sender.set_paused(paused);
            }
        }
        if !paused {
            txq.wake();
        }
    }

    /// Whether the adapter has sent all that it was given.
    fn is_idle(&self, port: &Port, dev: &NetDevice<PortOperations>) -> bool {
        let Some(mut txq) = dev.lock_tx_queue(self.index) else {
            return true;
        };
        let queue = port.queues.get(usize::from(self.index));
        match queue.and_then(|queue| queue.sender.get(&mut txq)) {
            Some(Some(sender)) => sender.is_idle(),
            _ => true,
        }
    }

    /// Makes the queue pair pause: it neither sends nor receives, and the adapter uses none of its
    /// memory. Frames that arrive meanwhile wait in the adapter, those to be sent in the stack.
    ///
    /// # Errors
    ///
    /// The adapter doesn't get its work done, or refuses; the queue pair goes on.
    pub(super) fn pause(&mut self, port: &Port, dev: &NetDevice<PortOperations>) -> Result {
        self.blackout = Some(port.adapter.begin_blackout());
        self.set_paused(port, dev, true);
        let mut attempts = 0;
        while !self.is_idle(port, dev) {
            attempts += 1;
            if attempts > DRAIN_ATTEMPTS {
                self.carry_on(port, dev);
                return Err(Error::NotDrained(self.index));
            }
            fsleep(DRAIN_INTERVAL);
        }
        self.napi.disable();
        // It may have paused even if it fails.
        self.qp
            .set_enabled(false)
            .inspect_err(|_| self.resume(port, dev))
    }

    /// Has a queue pair go on that pauses. If it doesn't, the port is reset.
    fn resume(&mut self, port: &Port, dev: &NetDevice<PortOperations>) {
        if let Err(error) = self.qp.set_enabled(true) {
            port.log_err(dev, fmt!("{error}, resetting"));
            port.request_reset(dev);
            return;
        }
        self.napi.enable();
        self.carry_on(port, dev);
    }

    /// Has the sender take frames again.
    fn carry_on(&mut self, port: &Port, dev: &NetDevice<PortOperations>) {
        self.set_paused(port, dev, false);
        if let Some(blackout) = self.blackout.take() {
            port.adapter.end_blackout(blackout);
        }
    }

    /// Exchanges the memory map of a queue pair that pauses; returns the keys it had.
    ///
    /// # Errors
    ///
    /// It still has the map before.
    fn exchange(
        &mut self,
        port: &Port,
        dev: &NetDevice<PortOperations>,
        mut prepared: Prepared,
    ) -> Result<Option<Keys>> {
        let map = prepared.keys.generation().map();
        let mapping = Mapping {
            map: map.clone(),
            key: prepared.keys.receive(),
        };
        self.napi
            .disabled()?
            .receiver
            .exchange(mapping, &mut prepared.spares)?;

        let old = match (
            dev.lock_tx_queue(self.index),
            port.queues.get(usize::from(self.index)),
        ) {
            (Some(mut txq), Some(queue)) => match queue.sender.get(&mut txq) {
                Some(Some(sender)) => Some(sender.exchange(
                    map.clone(),
                    prepared.keys.send(),
                    prepared.bounce.clone(),
                )),
                _ => None,
            },
            _ => None,
        };
        // Freed here, not under the lock.
        drop(old);
        self.bounce = prepared.bounce;
        Ok(self.keys.replace(prepared.keys))
    }
}

/// What a change to another memory map needs.
struct Prepared {
    keys: Keys,
    spares: Spares,
    bounce: Arc<BouncePool>,
}

impl Drop for QueuePair {
    fn drop(&mut self) {
        // The queues are not looked at while they are taken apart.
        self.napi.disable();
    }
}
