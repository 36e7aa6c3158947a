// SPDX-License-Identifier: GPL-2.0

//! Reasons for which a port is reset.

use super::counters::PortCounters;
use crate::{
    abi::{
        cqe::CqeStatus,
        eqe::Eqe, //
    },
    error::Error,
    kernel_ext::net::stats::Counter,
    mr::FailedStep,
    queue::{
        ReceiveError,
        SendError, //
    }, //
};
use kernel::fmt;

/// Reason for which a port is reset. Its text is the line in the log.
#[derive(Clone, Copy)]
pub(super) enum ResetReason {
    /// The adapter has reported a malfunction of the port.
    Malfunction,
    /// The adapter has reported an error of the queue pair with this token.
    QueuePair { token: u32, report: ErrorReport },
    /// The adapter has reported an error of something that the port does not have.
    UnknownEvent(Eqe),
    /// A completion of a frame that was sent is one after which nothing else can be relied on.
    Send(SendError),
    /// A completion of a frame that was received is one after which nothing else can be relied on.
    Receive(ReceiveError),
    /// The transmit queue of this number has not moved for too long.
    Stuck { queue: u16 },
    /// The port could not follow its memory map.
    Memory { step: FailedStep, error: Error },
}

/// Data about an error of a queue pair.
#[derive(Clone, Copy)]
pub(super) enum ErrorReport {
    /// Error registers of the queue pair.
    Registers { aer: u64, aerr: u64 },
    /// Firmware has no data.
    Missing,
    /// Firmware did not answer.
    Unknown(Error),
}

impl ResetReason {
    /// Returns the counter of such reasons.
    pub(super) fn counter<'a>(&self, counters: &'a PortCounters) -> &'a Counter {
        match self {
            Self::Malfunction => &counters.reset_malfunction,
            Self::QueuePair { .. } | Self::UnknownEvent(_) => &counters.reset_queue_pair,
            Self::Send(_) | Self::Receive(_) => &counters.reset_completion,
            Self::Stuck { .. } => &counters.reset_stuck,
            Self::Memory { .. } => &counters.reset_memory,
        }
    }
}

impl fmt::Display for ErrorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registers { aer, aerr } => write!(f, "AER {aer:#x}, AERR {aerr:#x}"),
            Self::Missing => f.write_str("no data"),
            Self::Unknown(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl fmt::Display for ResetReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Malfunction => f.write_str("port malfunction"),
            Self::QueuePair { token, report } => {
                write!(f, "error of queue pair {token}: ")?;
                fmt::Display::fmt(&report, f)
            }
            Self::UnknownEvent(event) => write!(f, "error event of unknown origin: {event:?}"),
            Self::Send(SendError::Corrupt { wr_id }) => {
                write!(f, "send completion of unknown frame {wr_id:#x}")
            }
            Self::Receive(ReceiveError::Corrupt { wr_id }) => {
                write!(f, "receive completion of unknown buffer {wr_id:#x}")
            }
            Self::Send(SendError::Fatal {
                status: CqeStatus(status),
            }) => write!(f, "send completion with status {status:#x}"),
            Self::Receive(ReceiveError::Fatal {
                status: CqeStatus(status),
            }) => write!(f, "receive completion with status {status:#x}"),
            Self::Stuck { queue } => write!(f, "transmit queue {queue} is stuck"),
            Self::Memory { step, error } => {
                write!(f, "could not {step}: ")?;
                fmt::Display::fmt(&error, f)
            }
        }
    }
}
