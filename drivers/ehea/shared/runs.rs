// SPDX-License-Identifier: GPL-2.0

//! Memory for the runs of a busmap.

use crate::bmap::{
    OutOfMemory,
    Run,
    RunStore, //
};
use kernel::prelude::*;

/// Runs of a busmap and its index, in kernel memory.
// A map of much scattered memory takes more than the allocator has in one piece at all times, and
// memory is removed when there is little left.
#[derive(Default)]
pub(crate) struct Runs {
    runs: KVVec<Run>,
    buckets: KVVec<u16>,
}

impl RunStore for Runs {
    fn try_push(&mut self, run: Run) -> core::result::Result<(), OutOfMemory> {
        self.runs.push(run, GFP_KERNEL).map_err(|_| OutOfMemory)
    }

    fn as_slice(&self) -> &[Run] {
        &self.runs
    }

    fn try_push_bucket(&mut self, run: u16) -> core::result::Result<(), OutOfMemory> {
        self.buckets.push(run, GFP_KERNEL).map_err(|_| OutOfMemory)
    }

    fn buckets(&self) -> &[u16] {
        &self.buckets
    }

    fn fit(&mut self) {
        // Where it fails, the arrays stay as they are.
        let _ = self.runs.shrink_to(0, GFP_KERNEL);
        let _ = self.buckets.shrink_to(0, GFP_KERNEL);
    }
}
