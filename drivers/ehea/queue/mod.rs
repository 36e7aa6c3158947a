// SPDX-License-Identifier: GPL-2.0

//! Queues: positions in rings, credits, and the entries of send, receive, completion and event
//! queues (eHEA ABI §6 and §7).
//!
//! Queue memory belongs to the caller, who reads and writes it through the traits here. Memory that
//! the adapter writes can change at any time and is read with volatile accesses only
//! ([`CompletionMemory`], [`EventMemory`]). Memory that the driver writes is passed slot by slot
//! ([`Slot`]). Everything that the adapter reports is checked before it is used as an index or a
//! length.

mod geometry;
mod offload;
mod progress;
mod receive;
mod ring;
mod send;
mod swqe;
#[cfg(test)]
mod tests;

pub use geometry::{CqGeometry, EqGeometry, GeometryError, QpGeometry, WorkQueue};
pub use offload::{
    can_segment, describe, OpenChecksum, OpenSegmentation, Packet, Unsendable, LONGEST_SEGMENTED,
};
pub use progress::SendProgress;
pub use receive::{
    parse_received, BadFrame, Location, PostedBuffers, ReceiveError, Received, ReceivedFrame,
    RxChecksum, INLINE_MAX,
};
pub use ring::{
    CompletionEntry, CompletionMemory, CompletionReader, EventMemory, EventReader, Producer,
    SentWork,
};
pub use send::{SendCompleter, SendCompletion, SendError, SendPoster, SendTicket, STOP_BELOW};
pub use swqe::{
    write_immediate, write_mixed, Frame, OutOfSlot, Piece, Segment, Slot, SwqeError, Tso,
    TxChecksum, MAX_SEGMENTS,
};
