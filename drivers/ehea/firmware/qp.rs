// SPDX-License-Identifier: GPL-2.0

//! Queue pairs.

use super::{
    control_block,
    object::{
        self,
        Object, //
    },
    Cq,
    Eq,
    Firmware, //
};
use crate::{
    abi::{
        cb::qp::{
            QpBlock0,
            QpControl,
            QpState, //
        },
        hcall::{
            AllocQp,
            Opcode,
            QpAllocated,
            QpCall,
            QpCategory,
            RqSlots, //
        },
        regs::{
            self,
            qp, //
        },
        ring::{
            QueueSize,
            SlotSize, //
        }, //
    },
    cmo::Rings,
    error::{
        Error,
        Result, //
    },
    hcall::PROTECTION_DOMAIN,
    kernel_ext::{
        dma::{
            Abandon,
            QueueMemory, //
        },
        io_be::BeMmio,
        page::ContiguousBuffer, //
    },
    queue::QpGeometry, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use zerocopy::byteorder::big_endian::U64;

/// Doorbells of a queue pair (eHEA ABI §5.2).
///
/// Each store takes effect after all earlier accesses to memory. Work requests are therefore
/// complete before the adapter learns of them, and slots have been read before they are given back.
pub(crate) struct QpRegisters(BeMmio<{ regs::BLOCK_SIZE }>);

impl QpRegisters {
    /// Announces `count` send work requests.
    #[inline]
    pub(crate) fn add_send(&self, count: u16) {
        self.0
            .write64::<{ qp::SQA }>(regs::WORK_QUEUE_ADDER.set(count.into()));
    }

    /// Gives `count` slots of RQ1 back.
    #[inline]
    pub(crate) fn add_rq1(&self, count: u16) {
        self.0
            .write64::<{ qp::RQ1A }>(regs::WORK_QUEUE_ADDER.set(count.into()));
    }

    /// Announces `count` receive work requests in RQ2.
    #[inline]
    pub(crate) fn add_rq2(&self, count: u16) {
        self.0
            .write64::<{ qp::RQ2A }>(regs::WORK_QUEUE_ADDER.set(count.into()));
    }

    /// Announces `count` receive work requests in RQ3.
    #[inline]
    pub(crate) fn add_rq3(&self, count: u16) {
        self.0
            .write64::<{ qp::RQ3A }>(regs::WORK_QUEUE_ADDER.set(count.into()));
    }
}

/// Configuration of a queue pair.
#[derive(Clone, Copy)]
pub(crate) struct QpConfig {
    /// Logical port number.
    pub(crate) port: u16,
    /// Token that error events carry.
    pub(crate) token: u32,
    /// Sizes of the queues.
    pub(crate) rings: Rings,
}

/// Queue pair. Dropping it disables and frees it. Its completion queues, its event queue and the
/// buffers in its queues must be freed after it, or be kept by it.
pub(crate) struct Qp {
    object: Object,
    number: u32,
    geometry: QpGeometry,
    registers: Arc<QpRegisters>,
    send: Arc<QueueMemory>,
    receive: [Arc<QueueMemory>; 3],
    // Here so that a change of state needs no memory.
    block: ContiguousBuffer,
}

impl Qp {
    /// Allocates a queue pair in state RESET and registers the memory of its queues.
    pub(crate) fn new(
        firmware: &Arc<Firmware>,
        config: &QpConfig,
        send_cq: &Cq,
        recv_cq: &Cq,
        affiliated_eq: &Eq,
    ) -> Result<Self> {
        let block = control_block()?;
        let args = AllocQp {
            adapter: firmware.caller().adapter(),
            low_latency: true,
            signalling: AllocQp::SIGNAL_ON_REQUEST,
            receive_queues: AllocQp::ALL_RECEIVE_QUEUES,
            send_cq: send_cq.handle(),
            recv_cq: recv_cq.handle(),
            affiliated_eq: affiliated_eq.handle(),
            token: config.token,
            pd: PROTECTION_DOMAIN,
            sq_size: config.rings.sq.code(),
            sq_slot: Rings::SQ_SLOT.code(),
            rq: RqSlots {
                size: config.rings.rq.map(QueueSize::code),
                slot: Rings::RQ_SLOT.map(SlotSize::code),
            },
            port: config.port,
            threshold_rq2: AllocQp::THRESHOLD_RQ2_DEFAULT,
            threshold_rq3: AllocQp::THRESHOLD_RQ3_DEFAULT,
        };
        let (mut object, answer) =
            Object::allocate(firmware, "queue pair", true, &args.pack(), |r| {
                QpAllocated::unpack(r).handle
            })?;
        let allocated = QpAllocated::unpack(answer.registers());

        let geometry = QpGeometry::check(&args, &allocated)?;
        // Otherwise completions could be lost.
        if send_cq.slots() < geometry.sq.slots() {
            return Err(Error::Invalid(
                "send queue larger than its completion queue",
            ));
        }

        let registers = Arc::new(
            QpRegisters(BeMmio::new(object::registers(
                &answer,
                allocated.registers,
            )?)?),
            GFP_KERNEL,
        )?;
        let mut memory = [const { None }; 4];
        for (place, (queue, size)) in memory.iter_mut().zip(geometry.queues()) {
            *place = Some(object.add_queue(queue, size.pages(), size.slot_bytes())?);
        }
        let [Some(send), Some(rq1), Some(rq2), Some(rq3)] = memory else {
            return Err(EINVAL.into());
        };
        Ok(Self {
            object,
            number: allocated.number,
            geometry,
            registers,
            send,
            receive: [rq1, rq2, rq3],
            block,
        })
    }

    /// Returns the number by which ports refer to the queue pair. It is not the handle.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Returns the handle by which firmware refers to the queue pair.
    pub(crate) fn handle(&self) -> u64 {
        self.object.handle()
    }

    /// Returns the sizes of the queues.
    pub(crate) fn geometry(&self) -> &QpGeometry {
        &self.geometry
    }

    /// Returns the doorbells.
    pub(crate) fn registers(&self) -> &Arc<QpRegisters> {
        &self.registers
    }

    /// Returns the slots of the send queue.
    pub(crate) fn send_memory(&self) -> &Arc<QueueMemory> {
        &self.send
    }

    /// Returns the slots of RQ1, RQ2 and RQ3.
    pub(crate) fn receive_memory(&self) -> &[Arc<QueueMemory>; 3] {
        &self.receive
    }

    /// Makes the adapter stop to use the queue pair for good, unless it has stopped. Returns whether it has. If
    /// firmware refuses, it is asked again when the queue pair is dropped.
    pub(crate) fn disable(&mut self) -> bool {
        self.object.disable()
    }

    /// Keeps buffers until the queue pair is freed, because the adapter may reach them until then.
    pub(crate) fn keep(&mut self, buffers: KBox<dyn Abandon>) {
        self.object.keep(buffers);
    }

    fn args(&self, select: u64) -> QpCall {
        QpCall {
            adapter: self.object.firmware().caller().adapter(),
            category: QpCategory::BLOCK0,
            qp: self.handle(),
            select,
            block: self.block.real_address(),
        }
    }

    fn query(&self) -> Result<QpControl> {
        let args = self.args(QpBlock0::SELECT_ALL.mask());
        self.object.firmware().caller().call_block(
            Opcode::QUERY_HEA_QP,
            args.pack(),
            &self.block,
            "queue pair",
        )?;
        let block: QpBlock0 = self.block.window().read(0)?;
        Ok(QpControl(block.control.get()))
    }

    fn modify(&self, control: QpControl) -> Result {
        let block = QpBlock0 {
            control: U64::new(control.0),
            ..QpBlock0::default()
        };
        self.block.window().write(0, &block)?;
        let args = self.args(QpBlock0::SELECT_CONTROL.mask());
        self.object.firmware().caller().call_block(
            Opcode::MODIFY_HEA_QP,
            args.pack(),
            &self.block,
            "queue pair",
        )?;
        Ok(())
    }

    /// Brings a new queue pair to the states ENABLED and RDY2SND (eHEA ABI §1.4).
    pub(crate) fn bring_up(&self) -> Result {
        for (state, enabled) in [
            (QpState::Initialized, false),
            (QpState::Initialized, true),
            (QpState::ReadyToSend, true),
        ] {
            self.query()?;
            self.modify(QpControl::request(state, enabled))?;
        }
        self.query()?;
        Ok(())
    }

    /// Makes the adapter use the queue pair, or stop to use it (eHEA ABI §1.4). It keeps its place
    /// in all queues.
    ///
    /// The adapter uses neither the queues nor the buffers in them after it was told to stop and
    /// this has returned.
    pub(crate) fn set_enabled(&self, enabled: bool) -> Result {
        let control = self.query()?;
        self.modify(control.same_state(enabled))?;
        self.query()?;
        Ok(())
    }

    /// Makes the adapter stop to use the queue pair, unless it does not use it, for example after an error.
    pub(crate) fn stop(&self) -> Result {
        let control = self.query()?;
        if control.is_enabled() {
            self.modify(control.same_state(false))?;
            self.query()?;
        }
        Ok(())
    }
}
