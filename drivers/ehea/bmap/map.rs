// SPDX-License-Identifier: GPL-2.0

//! Translation and iteration.

use core::slice;

use super::index::{search, Index};
use super::{RealRange, Run, RunStore, SECTION_SIZE};
use crate::abi::cb::adapter::PageSize;

/// The map from real addresses to adapter addresses. Immutable.
///
/// # Invariants
///
/// The runs ascend in real addresses and don't touch; their bus addresses follow one another from
/// [`super::START`] without holes. `first` is the first of them, or `Run::EMPTY`; `total` is the
/// sum of their lengths.
#[derive(Debug)]
pub struct Busmap<R> {
    /// A copy of the first run, so that the common case needs no memory access beyond the map
    /// itself.
    first: Run,
    total: u64,
    index: Index,
    pub(super) store: R,
}

impl<R: RunStore> Busmap<R> {
    /// The map of the runs in `store`, for the builder, which upholds the invariants.
    pub(super) fn new(mut store: R, first: Run, total: u64) -> Self {
        let index = Index::new(&mut store);
        store.fit();
        Self {
            first,
            total,
            index,
            store,
        }
    }

    /// The adapter address of the real address `real`, if it and the `len` bytes from there are
    /// mapped and adjacent to the adapter.
    ///
    /// One comparison if the address is in the first run, else a look at the bucket that the address
    /// is in. Where runs crowd in one bucket, or there is none, a binary search.
    #[inline]
    pub fn translate(&self, real: u64, len: u64) -> Option<u64> {
        match self.first.translate(real, len) {
            Some(bus) => Some(bus),
            None => self.index.translate(&self.store, &self.first, real, len),
        }
    }

    /// Whether any address of `range` is mapped.
    pub fn intersects(&self, range: &RealRange) -> bool {
        // Only the last run that starts below the end of the range can reach into it; if that one
        // ends below the range, so do all before it.
        match range.end().checked_sub(1) {
            Some(last) => {
                search(self.runs(), last).is_some_and(|run| run.range().intersects(range))
            }
            None => false,
        }
    }

    /// All runs, in ascending order.
    pub fn runs(&self) -> &[Run] {
        self.store.as_slice()
    }

    /// How many buckets the index has; 0 if all runs are searched.
    pub fn buckets(&self) -> usize {
        self.store.buckets().len()
    }

    /// Bytes mapped: the length of the memory region.
    #[inline]
    pub fn total_bytes(&self) -> u64 {
        self.total
    }

    /// Whether nothing is mapped.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Number of sections mapped.
    pub fn sections(&self) -> u64 {
        self.total / SECTION_SIZE
    }

    /// The real addresses of all pages of the size, in the order of their bus addresses: what
    /// memory region registration takes.
    ///
    /// Sections are multiples of each page size, so there is no rest.
    pub fn pages(&self, size: PageSize) -> Pages<'_> {
        Pages {
            runs: self.runs().iter(),
            next: 0,
            end: 0,
            left: self.total >> size.bytes().trailing_zeros(),
            step: size.bytes(),
        }
    }
}

/// Two maps are equal when they translate every address alike.
impl<R: RunStore, S: RunStore> PartialEq<Busmap<S>> for Busmap<R> {
    fn eq(&self, other: &Busmap<S>) -> bool {
        self.runs() == other.runs()
    }
}

/// The pages of a busmap; see [`Busmap::pages`].
#[derive(Clone, Debug)]
pub struct Pages<'a> {
    runs: slice::Iter<'a, Run>,
    /// The next page of the current run.
    next: u64,
    /// Where the current run ends.
    end: u64,
    /// Pages to come.
    left: u64,
    step: u64,
}

impl Pages<'_> {
    /// How many pages are to come.
    pub fn left(&self) -> u64 {
        self.left
    }
}

impl Iterator for Pages<'_> {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        if self.next >= self.end {
            let range = self.runs.next()?.range();
            self.next = range.start();
            self.end = range.end();
        }
        let page = self.next;
        // Neither wraps: the run's end is a multiple of the page size above, and `left` counts the
        // pages of all runs.
        self.next = page.wrapping_add(self.step);
        self.left = self.left.wrapping_sub(1);
        Some(page)
    }
}
