// SPDX-License-Identifier: GPL-2.0

//! Translation and iteration.

use core::slice;

use super::index::{search, Index};
use super::{RealRange, Run, RunStore, SECTION_SIZE};
use crate::abi::cb::adapter::PageSize;

/// Immutable map from real addresses to adapter addresses.
///
/// # Invariants
///
/// The runs ascend in real addresses and do not touch. Their bus addresses follow one another from
/// [`super::START`] without holes. `first` is the first of them, or `Run::EMPTY`. `total` is the
/// sum of their lengths.
#[derive(Debug)]
pub struct Busmap<R> {
    /// Copy of the first run, so that the common case needs no memory access beyond the map itself.
    first: Run,
    total: u64,
    index: Index,
    pub(crate) store: R,
}

impl<R: RunStore> Busmap<R> {
    /// Returns the map of the runs in `store`. The caller is the builder, which upholds the
    /// invariants.
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

    /// Returns the adapter address of `real`, or `None` if the `len` bytes from there are not all
    /// mapped to adjacent adapter addresses.
    ///
    /// The translation takes one comparison if the address is in the first run, and otherwise a
    /// look at the bucket of the address. A binary search is needed only if many runs share the
    /// bucket or if the address has no bucket.
    #[inline]
    pub fn translate(&self, real: u64, len: u64) -> Option<u64> {
        match self.first.translate(real, len) {
            Some(bus) => Some(bus),
            None => self.index.translate(&self.store, &self.first, real, len),
        }
    }

    /// Checks whether any address of `range` is mapped.
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

    /// Returns all runs, in ascending order.
    pub fn runs(&self) -> &[Run] {
        self.store.as_slice()
    }

    /// Returns the number of mapped bytes, which is the length of the memory region.
    #[inline]
    pub fn total_bytes(&self) -> u64 {
        self.total
    }

    /// Checks whether nothing is mapped.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Returns the number of mapped sections.
    pub fn sections(&self) -> u64 {
        self.total / SECTION_SIZE
    }

    /// Returns the real addresses of all pages of size `size`, in the order of their bus addresses.
    /// The registration of a memory region takes them in this order.
    ///
    /// A section is a multiple of every page size, so no memory remains.
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

/// Compares two maps. They are equal if they translate every address alike.
impl<R: RunStore, S: RunStore> PartialEq<Busmap<S>> for Busmap<R> {
    fn eq(&self, other: &Busmap<S>) -> bool {
        self.runs() == other.runs()
    }
}

/// Iterator over the pages of a busmap; see [`Busmap::pages`].
#[derive(Clone, Debug)]
pub struct Pages<'a> {
    runs: slice::Iter<'a, Run>,
    /// Next page of the current run.
    next: u64,
    /// End of the current run.
    end: u64,
    /// Number of pages that are still to come.
    left: u64,
    step: u64,
}

impl Pages<'_> {
    /// Returns the number of pages that are still to come.
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
        // Neither operation wraps: the end of the run above is a multiple of the page size, and
        // `left` counts the pages of all runs.
        self.next = page.wrapping_add(self.step);
        self.left = self.left.wrapping_sub(1);
        Some(page)
    }
}
