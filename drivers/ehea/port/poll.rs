// SPDX-License-Identifier: GPL-2.0

//! NAPI instance of a queue pair.

use super::{
    context::Context,
    reset::ResetReason,
    rings::ArmedRing,
    rx::receive::Receiver,
    tx::complete::Completer, //
};
use crate::{
    kernel_ext::{
        irq::{
            self,
            IrqReturn, //
        },
        net::napi::{
            EventSource,
            Napi,
            Poll,
            PollContext, //
        }, //
    },
    queue::CompletionReader, //
};
use kernel::sync::Arc;

/// State of a queue pair that is polled.
pub(super) struct QueuePoll {
    ctx: Arc<Context>,
    pub(super) completer: Completer,
    pub(super) receiver: Receiver,
    /// True if an error was seen. Nothing is done then until the queue pair is replaced.
    failed: bool,
}

impl QueuePoll {
    pub(super) fn new(ctx: &Arc<Context>, completer: Completer, receiver: Receiver) -> Self {
        Self {
            ctx: ctx.clone(),
            completer,
            receiver,
            failed: false,
        }
    }

    /// Gives the queue pair up, and requests a reset of the port.
    #[cold]
    fn fail(&mut self, reason: ResetReason) {
        self.failed = true;
        self.ctx.request_reset(reason);
    }
}

impl Poll for QueuePoll {
    type Source = CompletionQueues;

    fn poll(&mut self, ctx: &PollContext<'_>, budget: u32) -> u32 {
        if self.failed {
            return 0;
        }
        if let Err(error) = self.completer.poll(ctx) {
            self.fail(ResetReason::Send(error));
            return 0;
        }
        match self.receiver.poll(ctx, budget) {
            Ok(done) => done,
            Err(error) => {
                self.fail(ResetReason::Receive(error));
                0
            }
        }
    }

    fn position(&self) -> Option<Positions> {
        (!self.failed).then(|| Positions {
            received: self.receiver.position(),
            sent: self.completer.position(),
        })
    }
}

/// Positions of the next completions of a queue pair.
#[derive(Clone, Copy)]
pub(super) struct Positions {
    received: CompletionReader,
    sent: CompletionReader,
}

/// Completion queues of a queue pair, as far as they can be used without polling.
pub(super) struct CompletionQueues {
    pub(super) receive: ArmedRing,
    pub(super) send: ArmedRing,
}

impl EventSource for CompletionQueues {
    type Position = Positions;

    fn arm(&self, position: Positions) -> bool {
        // Both must be armed, whatever the first finds.
        let received = self.receive.arm(&position.received);
        let sent = self.send.arm(&position.sent);
        received || sent
    }
}

/// Interrupt of a queue pair's completions.
pub(super) struct CompletionInterrupt(pub(super) Arc<Napi<QueuePoll>>);

impl irq::Handler for CompletionInterrupt {
    fn handle(&self) -> IrqReturn {
        self.0.schedule();
        IrqReturn::Handled
    }
}
