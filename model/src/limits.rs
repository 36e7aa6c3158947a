// SPDX-License-Identifier: GPL-2.0

//! What a guest can make the adapter store, or do at a time: all limits that are not the adapter's
//! configuration (Documentation/abi.rst, "Limits"; choice).

/// Bytes of received frames that a port can hold, for all of its queue pairs.
pub(crate) const PORT_FIFO_BYTES: usize = 512 << 10;

/// Multicast addresses that a port can register (§4.1).
pub(crate) const MAX_MULTICAST: usize = 64;
/// Registrations of a port: of these, of broadcasts and of all multicasts, for each kind of VLANs.
pub(crate) const MAX_REGISTRATIONS: usize = 256;

/// Entries of the largest event queue.
pub(crate) const MAX_EQES: u32 = 0xffff;
/// Entries of the largest completion queue: enough for three of the largest receive queues.
pub(crate) const MAX_CQES: u32 = 0x1_ffff;
/// Notification event queues that there can be: one of a crashed kernel and one of its successor
/// (M20).
pub(crate) const MAX_NEQS: usize = 2;

/// Contiguous pieces of guest memory in all memory regions together, when they are registered. Memory
/// that leaves the middle of a piece makes two of it.
pub(crate) const MAX_RUNS: usize = 1 << 18;

/// Bytes of the longest packet to be segmented, headers included.
pub(crate) const MAX_SEGMENTED: usize = 65_536 + 256;
/// Bytes of a receive buffer that are looked at; more than any frame has.
pub(crate) const RECEIVE_BUFFER: usize = 16 << 10;

/// Frames and completions of a queue pair that are under way to memory, if the adapter is rough.
pub(crate) const MAX_IN_FLIGHT: usize = 256;

/// Frames of a turn of work, and of one direction of a queue pair in it.
pub(crate) const TURN_FRAMES: usize = 1024;
pub(crate) const QUANTUM_FRAMES: usize = 64;
/// Bytes that are copied in a turn of work, and for one direction of a queue pair in it; one packet more
/// may follow.
pub(crate) const TURN_BYTES: usize = 2 << 20;
pub(crate) const QUANTUM_BYTES: usize = 128 << 10;
