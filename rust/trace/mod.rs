// SPDX-License-Identifier: GPL-2.0

//! The driver's tracepoints. Each function costs a call and a static branch while its tracepoint is
//! off, and may be called in any context.
//!
//! The `kernel` crate's `declare_trace!` is for tracepoints that its own bindings know. The C side is
//! `rust/trace/calls.h`, the tracepoints are in `ehea_trace.h`; what their fields mean is in
//! Documentation/interfaces.rst.

use crate::kernel_ext::{
    bindings,
    net, //
};
use kernel::device;

/// Purpose of a buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// A frame to be sent.
    Transmit,
    /// A frame to be received.
    Receive,
}

/// Result of a rebuild. The tracepoint has a word for each number.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum RebuildResult {
    /// The map before stays, because it is the same.
    Unchanged = 0,
    /// The new map is in use.
    Published = 1,
    /// The new map is not in use.
    Failed = 2,
}

/// A rebuild that has ended.
pub(crate) struct RebuildEnd {
    /// The number of the new map.
    pub(crate) generation: u64,
    /// Bytes that are mapped now.
    pub(crate) bytes: u64,
    /// Hypercalls of the adapter while it ran.
    pub(crate) hcalls: u64,
    /// Nanoseconds that it took.
    pub(crate) ns: u64,
    /// The most hypercalls that were made while a queue pair paused.
    pub(crate) blackout_hcalls: u64,
    /// The longest that a queue pair paused, in nanoseconds.
    pub(crate) blackout_ns: u64,
    /// Result of the rebuild.
    pub(crate) result: RebuildResult,
}

fn raw(dev: &device::Device) -> *const bindings::device {
    // `Device` is a transparent wrapper of the C type.
    core::ptr::from_ref(dev).cast()
}

/// `ehea_rebuild_start`: a rebuild for map number `generation` starts, because memory is to be
/// removed or because a buffer was not in the map.
pub(crate) fn rebuild_start(dev: &device::Device, generation: u64, removal: bool) {
    // SAFETY: The device is valid, and its name doesn't change while it is bound, as the device of an
    // adapter is.
    unsafe { bindings::ehea_trace_rebuild_start(raw(dev), generation, removal) };
}

/// `ehea_rebuild_end`: the rebuild has ended.
pub(crate) fn rebuild_end(dev: &device::Device, rebuild: &RebuildEnd) {
    let rebuild = bindings::ehea_trace_rebuild {
        generation: rebuild.generation,
        bytes: rebuild.bytes,
        hcalls: rebuild.hcalls,
        ns: rebuild.ns,
        blackout_hcalls: rebuild.blackout_hcalls,
        blackout_ns: rebuild.blackout_ns,
        // CAST: A small number.
        result: rebuild.result as u32,
    };
    // SAFETY: As in `rebuild_start()`; the structure is read during the call.
    unsafe { bindings::ehea_trace_rebuild_end(raw(dev), &rebuild) };
}

/// `ehea_miss`: a buffer of the port at real address `address` is not in the map.
pub(crate) fn miss(dev: &net::Device, address: u64, direction: Direction) {
    // SAFETY: The device is valid. Its name may change meanwhile, but is terminated at any time.
    unsafe { bindings::ehea_trace_miss(dev.as_raw(), address, direction == Direction::Receive) };
}
