// SPDX-License-Identifier: GPL-2.0

//! Physical memory: what of it is online system RAM.

use super::bindings;
use kernel::{
    error::{
        from_result,
        to_result, //
    },
    prelude::*, //
};

/// Bytes in a section of memory, the unit in which memory comes and goes (`SECTION_SIZE_BITS`,
/// compared with the kernel's value in `rust/helpers/memory.c`).
pub const SECTION_SIZE: u64 = 1 << 24;

/// A range of physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub base: u64,
    /// Number of bytes.
    pub len: u64,
}

/// # Safety
///
/// `context` points to an `F` that nobody else uses.
unsafe extern "C" fn range_callback<F: FnMut(Range) -> Result>(
    context: *mut c_void,
    base: u64,
    len: u64,
) -> c_int {
    // SAFETY: `for_each_online_section()` passes a pointer to its closure, which nothing else uses
    // during the walk; the helper calls back on the same thread, one call after the other.
    let f = unsafe { &mut *context.cast::<F>() };

    from_result(|| f(Range { base, len }).map(|()| 0))
}

/// Calls `f` for all online system RAM, in ascending order.
///
/// Each range is a run of whole sections: aligned to [`SECTION_SIZE`], a multiple of it long, and
/// behind the one before. Adjacent ranges are merged, also across the borders of memory blocks.
/// Device memory (ZONE_DEVICE) is left out, as is a section that is RAM only in part.
///
/// Process context. `f` may sleep. What is found is a snapshot; a memory notifier tells what
/// changes. During [`GoingOffline`] the range in question still counts as online.
///
/// # Errors
///
/// Stops at the first error of `f` and returns it. `EINVAL` if there is no system RAM at all.
///
/// [`GoingOffline`]: super::memory_hotplug::Event::GoingOffline
pub fn for_each_online_section<F: FnMut(Range) -> Result>(mut f: F) -> Result {
    let context = core::ptr::from_mut(&mut f).cast();

    // SAFETY: `context` points to `f`, of the type that the callback is made for, and is used only
    // until the helper returns.
    to_result(unsafe {
        bindings::rust_ext_walk_online_sections(Some(range_callback::<F>), context)
    })
}
