// SPDX-License-Identifier: GPL-2.0

//! Limits on what a guest can make the adapter store or do at a time, as far as they are not part
//! of the adapter's configuration (Documentation/abi.rst, "Limits"; choice).

/// Number of bytes of received frames that a port can hold, for all of its queue pairs together.
pub(crate) const PORT_FIFO_BYTES: usize = 512 << 10;

/// Number of multicast addresses that a port can register (§4.1).
pub(crate) const MAX_MULTICAST: usize = 64;
/// Number of registrations of a port: multicast addresses, broadcasts and all multicasts, each for
/// every kind of VLANs.
pub(crate) const MAX_REGISTRATIONS: usize = 256;

/// Number of entries of the largest event queue.
pub(crate) const MAX_EQES: u32 = 0xffff;
/// Number of entries of the largest completion queue, which is enough for three of the largest
/// receive queues.
pub(crate) const MAX_CQES: u32 = 0x1_ffff;
/// Maximum number of notification event queues: one of a crashed kernel and one of its successor
/// (M20).
pub(crate) const MAX_NEQS: usize = 2;

/// Maximum number of contiguous pieces of guest memory in all memory regions together, at the time
/// of registration. Memory that leaves the middle of a piece splits it in two.
pub(crate) const MAX_RUNS: usize = 1 << 18;

/// Length in bytes of the longest packet to be segmented, including its headers.
pub(crate) const MAX_SEGMENTED: usize = 65_536 + 256;
/// Number of bytes of a receive buffer that the adapter uses; no frame is longer.
pub(crate) const RECEIVE_BUFFER: usize = 16 << 10;

/// Maximum number of frames and completions of a queue pair that are under way to memory, if the
/// adapter is rough.
pub(crate) const MAX_IN_FLIGHT: usize = 256;

/// Maximum number of frames in a turn of work, and of one direction of a queue pair in such a turn.
pub(crate) const TURN_FRAMES: usize = 1024;
pub(crate) const QUANTUM_FRAMES: usize = 64;
/// Maximum number of bytes that are copied in a turn of work, and for one direction of a queue pair
/// in such a turn. One packet more may follow.
pub(crate) const TURN_BYTES: usize = 2 << 20;
pub(crate) const QUANTUM_BYTES: usize = 128 << 10;
