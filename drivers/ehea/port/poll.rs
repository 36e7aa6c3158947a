// SPDX-License-Identifier: GPL-2.0

//! The NAPI instance of a queue pair.

use super::{
    context::Context,
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
            Napi,
            Poll,
            PollContext, //
        }, //
    },
    queue::{
        ReceiveError,
        SendError, //
    }, //
};
use kernel::{
    fmt,
    prelude::*,
    sync::Arc, //
};

/// The state of a queue pair that is polled.
pub(super) struct QueuePoll {
    ctx: Arc<Context>,
    pub(super) completer: Completer,
    pub(super) receiver: Receiver,
    /// An error was seen: nothing is done until the queue pair is replaced.
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

    /// Gives the queue pair up, and has the port reset.
    #[cold]
    fn fail(&mut self, message: fmt::Arguments<'_>) {
        self.failed = true;
        self.ctx.log_err(message);
        self.ctx.request_reset();
    }

    #[cold]
    fn fail_send(&mut self, error: SendError) {
        match error {
            SendError::Corrupt { wr_id } => self.fail(fmt!(
                "send completion of unknown frame {wr_id:#x}, resetting"
            )),
            SendError::Fatal { status } => self.fail(fmt!(
                "send completion with status {:#x}, resetting",
                status.0
            )),
        }
    }

    #[cold]
    fn fail_receive(&mut self, error: ReceiveError) {
        match error {
            ReceiveError::Corrupt { wr_id } => self.fail(fmt!(
                "receive completion of unknown buffer {wr_id:#x}, resetting"
            )),
            ReceiveError::Fatal { status } => self.fail(fmt!(
                "receive completion with status {:#x}, resetting",
                status.0
            )),
        }
    }
}

impl Poll for QueuePoll {
    fn poll(&mut self, ctx: &PollContext<'_>, budget: u32) -> u32 {
        if self.failed {
            return 0;
        }
        if let Err(error) = self.completer.poll(ctx) {
            self.fail_send(error);
            return 0;
        }
        match self.receiver.poll(ctx, budget) {
            Ok(done) => done,
            Err(error) => {
                self.fail_receive(error);
                0
            }
        }
    }

    fn rearm(&mut self) -> bool {
        if self.failed {
            return false;
        }
        // Both must be armed, whatever the first finds.
        let received = self.receiver.rearm();
        let sent = self.completer.rearm();
        received || sent
    }
}

/// The interrupt of a queue pair's completions.
pub(super) struct CompletionInterrupt(pub(super) Arc<Napi<QueuePoll>>);

impl irq::Handler for CompletionInterrupt {
    fn handle(&self) -> IrqReturn {
        self.0.schedule();
        IrqReturn::Handled
    }
}
