// SPDX-License-Identifier: GPL-2.0

//! Where to look for a run.

use super::{Run, RunStore, SECTION_SIZE};

/// With fewer runs, a search is as fast.
const MIN_RUNS: usize = 6;

/// How many runs of a bucket are looked at, one after the other, before all are searched.
const NEAR: usize = 4;

/// How real addresses are cut into buckets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Index {
    /// The first address of the first bucket.
    base: u64,
    /// Binary logarithm of the size of a bucket.
    shift: u32,
}

impl Index {
    /// Fills the buckets of `store`, which has all runs, if there are enough runs to make it
    /// worthwhile. If memory for buckets runs out, the runs behind them are searched for.
    pub(super) fn new<R: RunStore>(store: &mut R) -> Self {
        Self::fill(store).unwrap_or(Self { base: 0, shift: 0 })
    }

    fn fill<R: RunStore>(store: &mut R) -> Option<Self> {
        let runs = store.as_slice();
        let count = runs.len();
        if count < MIN_RUNS {
            return None;
        }
        let base = runs.first()?.real;
        let last = runs.last()?.range().end().checked_sub(1)?;
        // Twice as many buckets as runs at most, and at least as many.
        let limit = u64::try_from(count).ok()?.checked_mul(2)?;
        let mut shift = SECTION_SIZE.trailing_zeros();
        let span = last.checked_sub(base)?;
        while span >> shift >= limit {
            shift = shift.checked_add(1)?;
        }
        // Run numbers have 16 bits.
        u16::try_from(count).ok()?;
        let mut run = 0u16;
        for bucket in 0..=span >> shift {
            // The last bucket may end beyond the address space.
            let size = 1u64.checked_shl(shift)?;
            let end = bucket.saturating_add(1).saturating_mul(size);
            let end = base.saturating_add(end);
            while let Some(next) = run.checked_add(1) {
                match store.as_slice().get(usize::from(next)) {
                    Some(other) if other.real < end => run = next,
                    _ => break,
                }
            }
            if store.try_push_bucket(run).is_err() {
                break;
            }
        }
        Some(Self { base, shift })
    }

    /// The adapter address of `real`, if the `len` bytes from there are in one of the runs.
    // Where it ends in a call, it does so without a stack frame: that is what makes it short.
    #[inline]
    pub(super) fn translate<R: RunStore>(&self, store: &R, real: u64, len: u64) -> Option<u64> {
        // An address below the base wraps, and is in no bucket.
        let bucket = real.wrapping_sub(self.base) >> self.shift;
        let runs = store.as_slice();
        let last = usize::try_from(bucket)
            .ok()
            .and_then(|bucket| store.buckets().get(bucket));
        if let Some(near) = last.and_then(|&last| runs.get(..=usize::from(last))) {
            for run in near.iter().rev().take(NEAR) {
                if run.real <= real {
                    return run.translate(real, len);
                }
            }
        }
        translate_far(runs, real, len)
    }
}

/// As [`Index::translate`], without an index.
#[inline(never)]
fn translate_far(runs: &[Run], real: u64, len: u64) -> Option<u64> {
    search(runs, real)?.translate(real, len)
}

/// The last of the `runs` that starts at or below `real`.
pub(super) fn search(runs: &[Run], real: u64) -> Option<&Run> {
    let above = runs.partition_point(|run| run.real <= real);
    runs.get(above.checked_sub(1)?)
}
