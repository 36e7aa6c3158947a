// SPDX-License-Identifier: GPL-2.0

//! Queue pair of an open port, with everything that belongs to it.

use super::{
    charge::{
        Charge,
        SendAccess,
        Sides, //
    },
    context::Context,
    counters::QueueCounters,
    moving::{
        Drained,
        ExchangeError,
        Pair, //
    },
    poll::{
        CompletionInterrupt,
        CompletionQueues,
        QueuePoll, //
    },
    posted::Posted,
    reset::ResetReason,
    rings::ArmedRing,
    rx::{
        buffers::{
            BufferMemory,
            Spares, //
        },
        receive::Receiver, //
    },
    tx::{
        bounce::BouncePool,
        complete::Completer,
        ring::SendRing,
        send::{
            Queue,
            Sender, //
        }, //
    }, //
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
    firmware::{
        Cq,
        Eq,
        Qp,
        QpConfig, //
    },
    kernel_ext::{
        dma::Access,
        irq,
        net::{
            lock::InstanceLock,
            napi::{
                Napi,
                QueueLink, //
            },
            queue::{
                self,
                OpenTicket, //
            }, //
        }, //
    },
    mr::FailedStep,
    shared::{
        Generation,
        Keys,
        Measurement, //
    }, //
};
use core::sync::atomic::Ordering::Relaxed;
use kernel::{
    prelude::*,
    str::CString,
    sync::Arc,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// Interval in which a send queue is checked for having drained.
const DRAIN_INTERVAL: Delta = Delta::from_millis(1);

/// Queue pair of an open port.
pub(super) struct QueuePair {
    // Dropped in this order: the interrupt first, so that nobody schedules any more; then what
    // firmware has, each before what it depends on; at last the memory that the adapter used.
    interrupt: Option<Pin<KBox<irq::Registration<CompletionInterrupt>>>>,
    qp: Qp,
    _send_cq: Cq,
    _recv_cq: Cq,
    eq: Eq,
    /// Keys to the memory region. `None` while the queue pair pauses and there is no region.
    keys: Option<Keys>,
    /// Resources that are prepared for a move to another memory map.
    next: Option<Prepared>,
    napi: Arc<Napi<QueuePoll>>,
    /// Link to the network device, while the port is open.
    link: Option<QueueLink<QueuePoll>>,
    ring: Arc<SendRing>,
    bounce: Arc<BouncePool>,
    /// Way in which the adapter reaches frames, until the sender is made.
    send_access: Option<SendAccess>,
    /// Right to open the transmit queue, until it is used.
    ticket: Option<OpenTicket>,
    /// Memory of receive buffers.
    memory: BufferMemory,
    /// Memory that is mapped, in a CMO partition.
    charge: Charge,
    /// Place for the buffers, if firmware does not let them go.
    posted: Option<KBox<Posted>>,
    /// True if work requests refer to memory that is gone, so that the queue pair pauses until the port is reset, or
    /// if the port is about to be closed.
    out_of_use: bool,
    /// Measurement of the pause, while the queue pair pauses.
    blackout: Option<Measurement>,
    /// Number of the network device's queues.
    index: u16,
    ctx: Arc<Context>,
}

impl QueuePair {
    /// Allocates queue pair `index` of a port, for `queue` of its network device, in state RESET, with
    /// the queues that `plan` says. What it may have mapped besides is in `limits`.
    // Not inlined, here and below, so that what is built doesn't take stack longer than needed.
    #[inline(never)]
    pub(super) fn new(
        ctx: &Arc<Context>,
        index: u16,
        queue: &Queue,
        affiliated_eq: &Eq,
        generation: &Arc<Generation>,
        plan: &Plan,
        limits: &Limits,
    ) -> Result<KBox<Self>> {
        let firmware = ctx.firmware();
        let number = ctx.calls().number();
        let config = QpConfig {
            port: number,
            token: index.into(),
            rings: plan.rings,
        };
        let token = number.into();

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
        let counters = &queue.counters;
        let (ticket, completions) = queue::opening(index)?;
        let sides = Sides::new(access, limits, qp.geometry().sq.slots())?;
        let completer = Completer::new(
            &qp,
            &send_cq,
            completions,
            ring.clone(),
            counters,
            sides.completed,
        );
        let receiver = Receiver::new(ctx, index, counters, &qp, keys.receive(), &sides.receive)?;
        let [rq1, ..] = qp.receive_memory();
        let queues = CompletionQueues {
            receive: ArmedRing::new(rq1, recv_cq.registers()),
            send: ArmedRing::new(send_cq.memory(), send_cq.registers()),
        };
        let napi = Self::new_napi(ctx, index, queues, completer, receiver)?;
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
                send_access: Some(sides.send),
                ticket: Some(ticket),
                memory: sides.receive,
                charge: sides.charge,
                posted: Some(KBox::new(Posted::default(), GFP_KERNEL)?),
                out_of_use: false,
                blackout: None,
                index,
                ctx: ctx.clone(),
            },
            GFP_KERNEL,
        )?;
        this.add_mapped(access, counters)?;
        Ok(this)
    }

    /// Maps receive buffers and writes them to the rings, in a CMO partition. Some buffers suffice.
    #[inline(never)]
    fn add_mapped(&mut self, access: &Access, counters: &QueueCounters) -> Result {
        let Charge::Charged(charged) = &mut self.charge else {
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
        ctx: &Arc<Context>,
        index: u16,
        queues: CompletionQueues,
        completer: Completer,
        mut receiver: Receiver,
    ) -> Result<Arc<Napi<QueuePoll>>> {
        receiver.fill()?;
        let poll = QueuePoll::new(ctx, completer, receiver);
        Ok(Arc::pin_init(
            Napi::new(ctx.dev(), index, queues, poll),
            GFP_KERNEL,
        )?)
    }

    /// Returns the number by which the port refers to the queue pair.
    pub(super) fn number(&self) -> u32 {
        self.qp.number()
    }

    /// Returns the handle by which firmware refers to the queue pair.
    pub(super) fn handle(&self) -> u64 {
        self.qp.handle()
    }

    /// Requests the interrupt. It does nothing before [`QueuePair::start`].
    pub(super) fn request_interrupt(&mut self) -> Result {
        let name = CString::try_from_fmt(fmt!("{}-queue{}", self.ctx.dev().name(), self.index))?;
        let handler = CompletionInterrupt(self.napi.clone());
        self.interrupt = Some(KBox::pin_init(
            irq::Registration::new(self.eq.map_interrupt()?, name, handler),
            GFP_KERNEL,
        )?);
        Ok(())
    }

    /// Makes the queue pair operational, and announces its receive buffers.
    pub(super) fn bring_up(&self) -> Result {
        self.qp.bring_up()?;
        self.napi.disabled()?.receiver.start(&self.qp);
        Ok(())
    }

    /// Opens the transmit queue, before [`QueuePair::start`]. The queue is held until
    /// [`QueuePair::run_queue`].
    pub(super) fn open_queue(&mut self, queue: &Queue) -> Result {
        let (sender, ticket) = self.sender().ok_or(EINVAL)?;
        let mut txq = self.ctx.dev().lock_tx_queue(self.index).ok_or(EINVAL)?;
        Ok(queue.sender.open(&mut txq, ticket, sender)?)
    }

    /// Lets the stack send.
    pub(super) fn run_queue(&self, queue: &Queue) {
        if let Some(mut txq) = self.ctx.dev().lock_tx_queue(self.index) {
            queue.sender.run(&mut txq);
        }
    }

    /// Makes the stack send no more, and waits until nobody sends.
    pub(super) fn hold_queue(&self, queue: &Queue) {
        if let Some(mut txq) = self.ctx.dev().lock_tx_queue(self.index) {
            queue.sender.hold(&mut txq);
        }
    }

    /// Makes the adapter stop to use the queue pair, which firmware may take its time for. Completions are handled
    /// meanwhile. If firmware refuses, it is asked in another way on drop.
    pub(super) fn stop(&self) {
        let _ = self.qp.stop();
    }

    /// Ceases to handle completions, and closes the transmit queue.
    ///
    /// # Errors
    ///
    /// The state of the NAPI instance is in use. The queue stays open.
    pub(super) fn close_queue(&self, queue: &Queue) -> Result {
        let mut poll = self.napi.disabled()?;
        let mut sender = None;
        if let Some(mut txq) = self.ctx.dev().lock_tx_queue(self.index) {
            sender = queue.sender.close(&mut txq, poll.completer.queue());
        }
        // Freed here, not under the lock.
        drop(sender);
        Ok(())
    }

    /// Makes the posting side of the send queue. Returns it with the right to open the transmit
    /// queue.
    fn sender(&mut self) -> Option<(Sender, OpenTicket)> {
        let access = self.send_access.take()?;
        let ticket = self.ticket.take()?;
        let keys = self.keys.as_ref()?;
        let sender = Sender::new(
            &self.qp,
            self.ring.clone(),
            self.bounce.clone(),
            keys.send(),
            access,
        );
        Some((sender, ticket))
    }

    /// Adds the NAPI instance to the device, and shows its interrupt to users. The interrupt must
    /// have been requested.
    pub(super) fn link(&mut self, lock: &InstanceLock<'_>) -> Result {
        let interrupt = self.interrupt.as_ref().ok_or(EINVAL)?;
        let irq = interrupt.mapping().irq();
        self.link = Some(QueueLink::new(&self.napi, irq, lock)?);
        Ok(())
    }

    /// Undoes [`QueuePair::link`].
    pub(super) fn unlink(&mut self, lock: &InstanceLock<'_>) {
        if let Some(link) = self.link.take() {
            link.unlink(lock);
        }
    }

    /// Starts to handle completions, including those that are there already.
    pub(super) fn start(&self) {
        self.napi.enable();
    }

    /// Returns the queue pair as one that can move to another memory map. `queue` is its queue of
    /// the network device.
    pub(super) fn moving<'a>(&'a mut self, queue: &'a Queue) -> Moving<'a> {
        Moving { pair: self, queue }
    }

    /// Follows `limits`, if memory is charged.
    ///
    /// # Errors
    ///
    /// [`Error::NotMapped`] names a new buffer that is not in the memory map. All else is tried again.
    pub(super) fn follow(&mut self, queue: &Queue, limits: &Limits) -> Result {
        let Charge::Charged(charged) = &mut self.charge else {
            return Ok(());
        };
        charged.set_limits(limits);
        if self.out_of_use || !charged.is_short() {
            return Ok(());
        }
        let access = self.ctx.firmware().access();
        let mut new = charged.allocate(access, &queue.counters);
        if new.is_empty() {
            return Ok(());
        }
        let mut poll = self.napi.disabled()?;
        let result = poll.receiver.add(&mut new);
        poll.receiver.announce();
        result
    }
}

/// Queue pair that moves from one memory map to another.
pub(super) struct Moving<'a> {
    pair: &'a mut QueuePair,
    queue: &'a Queue,
}

impl Pair for Moving<'_> {
    type Generation = Arc<Generation>;
    type Prepared = Prepared;
    type Old = Keys;
    type Error = Error;

    fn uses(&self, generation: &Arc<Generation>) -> bool {
        let keys = self.pair.keys.as_ref();
        keys.is_some_and(|keys| Arc::ptr_eq(keys.generation(), generation))
    }

    fn allocate(&self, generation: &Arc<Generation>) -> Result<Prepared> {
        let pair = &*self.pair;
        let map = generation.map();
        let keys = Keys::new(generation)?;
        let access = pair.ctx.firmware().access();
        let [_, rq2, rq3] = pair.qp.receive_memory();
        let mut spares = Spares::new(&pair.memory, [rq2.entries(), rq3.entries()])?;
        pair.napi.disabled()?.receiver.look_up(map, &mut spares);
        spares.allocate(&pair.memory, pair.ctx.dev(), map)?;
        let bounce = if pair.bounce.is_mapped(map) {
            pair.bounce.clone()
        } else {
            Arc::new(BouncePool::new(access, pair.bounce.len(), map)?, GFP_KERNEL)?
        };
        Ok(Prepared {
            keys,
            spares,
            bounce,
        })
    }

    fn prepared(&mut self) -> &mut Option<Prepared> {
        &mut self.pair.next
    }

    fn hold_frames(&mut self) {
        self.pair.blackout = Some(self.pair.ctx.adapter().begin_blackout());
        self.pair.hold_queue(self.queue);
    }

    fn take_frames(&mut self) {
        self.pair.run_queue(self.queue);
        if let Some(blackout) = self.pair.blackout.take() {
            self.pair.ctx.adapter().end_blackout(blackout);
        }
    }

    fn is_drained(&mut self) -> bool {
        let Some(mut txq) = self.pair.ctx.dev().lock_tx_queue(self.pair.index) else {
            return true;
        };
        match self.queue.sender.get(&mut txq) {
            Some(sender) => sender.is_idle(),
            None => true,
        }
    }

    fn completed(&self) -> u32 {
        self.pair.ring.progress.completed_count()
    }

    fn look(&mut self) {
        self.pair.napi.schedule();
    }

    fn drained(&mut self, how: Drained) {
        let counters = &self.queue.counters;
        match how {
            Drained::ByInterrupt => counters.drained_by_interrupt.inc(),
            Drained::ByPoll => counters.drained_by_poll.inc(),
        }
    }

    fn wait(&mut self) {
        fsleep(DRAIN_INTERVAL);
    }

    fn is_leaving(&self) -> bool {
        self.pair.ctx.dev().data().leaving.load(Relaxed)
    }

    fn not_drained(&self) -> Error {
        Error::NotDrained(self.pair.index)
    }

    fn stop_polling(&mut self) {
        self.pair.napi.disable();
    }

    fn start_polling(&mut self) {
        self.pair.napi.enable();
    }

    fn set_enabled(&mut self, enabled: bool) -> Result {
        self.pair.qp.set_enabled(enabled)
    }

    fn exchange(
        &mut self,
        mut prepared: Prepared,
    ) -> core::result::Result<Option<Keys>, ExchangeError<Error>> {
        let pair = &mut *self.pair;
        let poll = pair.napi.disabled();
        poll.map_err(|error| ExchangeError::Unchanged(error.into()))?
            .receiver
            .exchange(prepared.keys.receive(), &mut prepared.spares)?;

        let old = match pair.ctx.dev().lock_tx_queue(pair.index) {
            Some(mut txq) => match self.queue.sender.get(&mut txq) {
                Some(sender) => {
                    Some(sender.exchange(prepared.keys.send(), prepared.bounce.clone()))
                }
                None => None,
            },
            None => None,
        };
        // Freed here, not under the lock.
        drop(old);
        pair.bounce = prepared.bounce;
        Ok(pair.keys.replace(prepared.keys))
    }

    fn out_of_use(&mut self) -> &mut bool {
        &mut self.pair.out_of_use
    }

    fn release_keys(&mut self) {
        self.pair.keys = None;
    }

    fn give_up(&mut self, error: &Error) {
        self.pair.ctx.request_reset(ResetReason::Memory {
            step: FailedStep::Resume,
            error: *error,
        });
    }
}

/// Resources for a move to another memory map.
pub(super) struct Prepared {
    keys: Keys,
    spares: Spares,
    bounce: Arc<BouncePool>,
}

impl QueuePair {
    /// Takes the buffers that the adapter may reach. Returns them in memory that there was before.
    #[cold]
    fn take_posted(&mut self) -> Option<KBox<Posted>> {
        let mut posted = self.posted.take()?;
        match self.napi.disabled() {
            Ok(mut poll) => posted.receive = Some(poll.receiver.take_buffers()),
            // The state is borrowed by users of the queue pair only, of which there are none any more. If that is ever
            // wrong, the buffers are leaked.
            Err(_) => core::mem::forget(self.napi.clone()),
        }
        if let Charge::Charged(charged) = &self.charge {
            posted.mappings = Some(charged.mappings().clone());
        }
        posted.frames = Some(self.ring.clone());
        posted.copies = Some(self.bounce.clone());
        posted.keys = self.keys.take();
        Some(posted)
    }
}

impl Drop for QueuePair {
    fn drop(&mut self) {
        self.interrupt = None;
        // The queues are not looked at while they are taken apart.
        self.napi.disable();
        if !self.qp.disable() {
            if let Some(posted) = self.take_posted() {
                self.qp.keep(posted);
            }
        }
    }
}
