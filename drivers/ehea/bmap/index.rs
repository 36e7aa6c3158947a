// SPDX-License-Identifier: GPL-2.0

//! Index that finds the run of an address.

use super::{Run, RunStore, SECTION_SIZE};

/// Minimum number of runs for an index. With fewer runs, a search is as fast.
const MIN_RUNS: usize = 6;

/// Number of runs before that of a bucket that are examined one by one before all runs are
/// searched.
const NEAR: usize = 3;

/// Division of the real addresses, counted from the start of the first run, into buckets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Index {
    /// Binary logarithm of the size of a bucket; below 64.
    shift: u32,
}

impl Index {
    /// Fills the buckets of `store`, which already holds all runs, if there are enough runs to make
    /// an index worthwhile. If memory runs out, the remaining runs have no buckets and are found by
    /// a search.
    pub(super) fn new<R: RunStore>(store: &mut R) -> Self {
        Self::fill(store).unwrap_or(Self { shift: 0 })
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
        Some(Self { shift })
    }

    /// Returns the adapter address of `real`, or `None` if the `len` bytes from there do not lie in
    /// one run. `first` is the first run.
    #[inline]
    pub(super) fn translate<R: RunStore>(
        &self,
        store: &R,
        first: &Run,
        real: u64,
        len: u64,
    ) -> Option<u64> {
        // An address below the first run wraps and is in no bucket.
        let bucket = real.wrapping_sub(first.real).wrapping_shr(self.shift);
        let runs = store.as_slice();
        // CAST: Addresses have the size of pointers.
        if let Some(&last) = store.buckets().get(bucket as usize) {
            let last = usize::from(last);
            if let Some((run, before)) = runs.get(..=last).and_then(<[Run]>::split_last) {
                if run.real <= real {
                    return run.translate(real, len);
                }
                for run in before.iter().rev().take(NEAR) {
                    if run.real <= real {
                        return run.translate(real, len);
                    }
                }
            }
        }
        translate_far(runs, real, len)
    }
}

/// Translates like [`Index::translate`], without an index.
#[cold]
#[inline(never)]
fn translate_far(runs: &[Run], real: u64, len: u64) -> Option<u64> {
    search(runs, real)?.translate(real, len)
}

/// Returns the last of the `runs` that starts at or below `real`.
pub(super) fn search(runs: &[Run], real: u64) -> Option<&Run> {
    let above = runs.partition_point(|run| run.real <= real);
    runs.get(above.checked_sub(1)?)
}
