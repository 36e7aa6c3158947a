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

/// Bytes in a section of memory, the unit in which memory comes and goes.
pub const SECTION_SIZE: u64 = 1 << bindings::SECTION_SIZE_BITS;

/// A range of physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub base: u64,
    /// Number of bytes.
    pub len: u64,
}

/// A walk of the online sections.
struct Walk<F> {
    f: F,
    /// The run of online sections that was not handed over yet.
    run: Option<Range>,
}

impl<F: FnMut(Range) -> Result> Walk<F> {
    /// Hands over the run.
    fn flush(&mut self) -> Result {
        self.run.take().map_or(Ok(()), &mut self.f)
    }

    /// Adds the section at `base`.
    fn add(&mut self, base: u64) -> Result {
        match &mut self.run {
            Some(run) if run.base.wrapping_add(run.len) == base => run.len += SECTION_SIZE,
            _ => {
                self.flush()?;
                self.run = Some(Range {
                    base,
                    len: SECTION_SIZE,
                });
            }
        }
        Ok(())
    }

    /// Adds those sections that are as a whole in the addresses from `first` to `last`.
    fn add_all(&mut self, first: u64, last: u64) -> Result {
        let end = last.saturating_add(1) & !(SECTION_SIZE - 1);
        let mut base = first.next_multiple_of(SECTION_SIZE);
        while base < end {
            // CAST: `unsigned long` has 64 bits here.
            // SAFETY: No precondition.
            let page =
                unsafe { bindings::pfn_to_online_page((base >> bindings::PAGE_SHIFT) as usize) };
            // Not for offline sections, nor for ZONE_DEVICE.
            if !page.is_null() {
                self.add(base)?;
            }
            base += SECTION_SIZE;
        }
        Ok(())
    }
}

/// # Safety
///
/// `resource` is valid; `context` points to a `Walk<F>` that nobody else uses.
unsafe extern "C" fn resource_callback<F: FnMut(Range) -> Result>(
    resource: *mut bindings::resource,
    context: *mut c_void,
) -> c_int {
    // SAFETY: By the safety requirement.
    let walk = unsafe { &mut *context.cast::<Walk<F>>() };
    // SAFETY: By the safety requirement.
    let (first, last) = unsafe { ((*resource).start, (*resource).end) };

    from_result(|| walk.add_all(first, last).map(|()| 0))
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
pub fn for_each_online_section<F: FnMut(Range) -> Result>(f: F) -> Result {
    let mut walk = Walk { f, run: None };

    // The resource tree is ordered by address.
    // SAFETY: The context is of the type that the callback is made for, and is used only until the call
    // returns, on the same thread.
    to_result(unsafe {
        bindings::walk_iomem_res_desc(
            bindings::IORES_DESC_NONE as usize,
            (bindings::IORESOURCE_SYSTEM_RAM | bindings::IORESOURCE_BUSY) as usize,
            0,
            u64::MAX,
            core::ptr::from_mut(&mut walk).cast(),
            Some(resource_callback::<F>),
        )
    })?;
    walk.flush()
}
