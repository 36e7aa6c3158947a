// SPDX-License-Identifier: GPL-2.0

//! Memory regions and their shared aliases (§3.4, §3.6, §8).

use ehea_abi::cb::adapter::PageSize;

use crate::refusal::{Refusal, Violation};

/// A contiguous piece of a region: the bytes from `offset` on are guest memory from `gpa` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) offset: u64,
    pub(crate) gpa: u64,
    pub(crate) len: u64,
}

impl Run {
    const fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }

    const fn gpa_end(&self) -> u64 {
        self.gpa.saturating_add(self.len)
    }
}

/// A memory region: a translation table, stored as ranges.
#[derive(Debug)]
pub(crate) struct Mr {
    pub(crate) start: u64,
    pub(crate) length: u64,
    pub(crate) page: PageSize,
    pub(crate) pd: u32,
    pub(crate) writable: bool,
    /// Key of the region itself. Its aliases have keys of their own.
    pub(crate) key: u32,
    pub(crate) register_calls: u64,
    /// Number of bytes registered so far.
    pub(crate) registered: u64,
    /// Pieces by ascending offset. A gap is memory that left the machine.
    runs: Vec<Run>,
}

impl Mr {
    pub(crate) fn new(
        start: u64,
        length: u64,
        page: PageSize,
        pd: u32,
        writable: bool,
        key: u32,
    ) -> Self {
        Self {
            start,
            length,
            page,
            pd,
            writable,
            key,
            register_calls: 0,
            registered: 0,
            runs: Vec::new(),
        }
    }

    pub(crate) fn runs(&self) -> &[Run] {
        &self.runs
    }

    pub(crate) const fn is_complete(&self) -> bool {
        self.registered >= self.length
    }

    pub(crate) const fn pages(&self) -> u64 {
        match self.registered.checked_div(self.page.bytes()) {
            Some(pages) => pages,
            None => 0,
        }
    }

    /// Returns the number of bytes that the adapter can reach.
    pub(crate) fn reachable(&self) -> u64 {
        self.runs.iter().fold(0, |sum, r| sum.saturating_add(r.len))
    }

    /// Checks that `bytes` more bytes fit.
    pub(crate) fn check_room(&self, bytes: u64) -> Result<(), Refusal> {
        match self.registered.checked_add(bytes) {
            Some(total) if total <= self.length => Ok(()),
            _ => Err(Refusal::PagesExceed),
        }
    }

    /// Appends memory. The caller has checked that there is room.
    pub(crate) fn append(&mut self, gpa: u64, len: u64) {
        let offset = self.registered;
        self.registered = self.registered.saturating_add(len);
        match self.runs.last_mut() {
            Some(last) if last.gpa_end() == gpa && last.end() == offset => {
                last.len = last.len.saturating_add(len);
            }
            _ => self.runs.push(Run { offset, gpa, len }),
        }
    }

    /// Forgets what lies in a range of guest memory. Returns whether there was any.
    pub(crate) fn forget(&mut self, gpa: u64, len: u64) -> bool {
        let end = gpa.saturating_add(len);
        if !self.runs.iter().any(|r| r.gpa < end && r.gpa_end() > gpa) {
            return false;
        }
        let mut kept = Vec::with_capacity(self.runs.len().saturating_add(1));
        for run in &self.runs {
            let before = gpa.saturating_sub(run.gpa).min(run.len);
            let after = run.gpa_end().saturating_sub(end).min(run.len);
            if before > 0 {
                kept.push(Run {
                    len: before,
                    ..*run
                });
            }
            if after > 0 && before < run.len {
                let skipped = run.len.saturating_sub(after);
                kept.push(Run {
                    offset: run.offset.saturating_add(skipped),
                    gpa: run.gpa.saturating_add(skipped),
                    len: after,
                });
            }
        }
        self.runs = kept;
        true
    }

    /// Calls `piece` with each contiguous piece of guest memory behind `len` bytes from `offset`,
    /// but only for the first `limit` of these bytes.
    pub(crate) fn pieces(
        &self,
        mut offset: u64,
        len: u64,
        limit: u64,
        mut piece: impl FnMut(u64, u64),
    ) -> Result<(), Violation> {
        if offset.checked_add(len).is_none_or(|end| end > self.length) {
            return Err(Violation::OutsideRegion);
        }
        if !self.is_complete() {
            return Err(Violation::RegionIncomplete);
        }
        let mut len = len.min(limit);
        let mut index = self.runs.partition_point(|r| r.end() <= offset);
        while len > 0 {
            let run = self.runs.get(index).ok_or(Violation::MemoryGone)?;
            let inside = offset
                .checked_sub(run.offset)
                .ok_or(Violation::MemoryGone)?;
            let take = run.len.saturating_sub(inside).min(len);
            piece(run.gpa.saturating_add(inside), take);
            offset = offset.saturating_add(take);
            len = len.saturating_sub(take);
            index = index.saturating_add(1);
        }
        Ok(())
    }
}

/// A shared memory region: an alias with a key, a start and a protection domain of its own.
#[derive(Debug)]
pub(crate) struct Smr {
    /// Handle of the region, which may have been freed.
    pub(crate) mr: u64,
    pub(crate) start: u64,
    pub(crate) pd: u32,
    pub(crate) writable: bool,
    pub(crate) key: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn region(pages: &[u64]) -> Mr {
        let length = pages.len() as u64 * 4096;
        let mut mr = Mr::new(0, length, PageSize::K4, 0, true, 1);
        for &gpa in pages {
            assert_eq!(mr.check_room(4096), Ok(()));
            mr.append(gpa, 4096);
        }
        mr
    }

    fn pieces(mr: &Mr, offset: u64, len: u64) -> Result<Vec<(u64, u64)>, Violation> {
        let mut all = Vec::new();
        mr.pieces(offset, len, u64::MAX, |gpa, len| all.push((gpa, len)))?;
        Ok(all)
    }

    #[test]
    fn neighbours_are_merged() {
        let mr = region(&[0x1000, 0x2000, 0x5000, 0x4000]);
        assert_eq!(mr.runs().len(), 3);
        assert_eq!(pieces(&mr, 0xff0, 0x20), Ok(vec![(0x1ff0, 0x20)]));
        assert_eq!(
            pieces(&mr, 0x1f00, 0x1200),
            Ok(vec![(0x2f00, 0x100), (0x5000, 0x1000), (0x4000, 0x100)])
        );
        assert_eq!(pieces(&mr, 0x3fff, 1), Ok(vec![(0x4fff, 1)]));
        assert_eq!(pieces(&mr, 0x3fff, 2), Err(Violation::OutsideRegion));
        assert_eq!(pieces(&mr, u64::MAX, 2), Err(Violation::OutsideRegion));
        assert_eq!(mr.check_room(4096), Err(Refusal::PagesExceed));
    }

    /// Only the first `limit` bytes of a descriptor are looked at, but all of it must be in the
    /// region.
    #[test]
    fn pieces_are_limited() {
        let mr = region(&[0x1000, 0x3000, 0x5000, 0x7000]);
        let mut all = Vec::new();
        let piece = |gpa, len| all.push((gpa, len));
        assert_eq!(mr.pieces(0x800, 0x3800, 0x900, piece), Ok(()));
        assert_eq!(all, [(0x1800, 0x800), (0x3000, 0x100)]);
        let outside = mr.pieces(0x800, 0x3801, 0x900, |_, _| unreachable!());
        assert_eq!(outside, Err(Violation::OutsideRegion));
    }

    #[test]
    fn incomplete_regions_translate_nothing() {
        let mut mr = Mr::new(0, 0x2000, PageSize::K4, 0, true, 1);
        mr.append(0x1000, 0x1000);
        assert_eq!(pieces(&mr, 0, 1), Err(Violation::RegionIncomplete));
    }

    #[test]
    fn forgotten_memory() {
        let mut mr = region(&[0x1000, 0x2000, 0x3000, 0x8000]);
        assert!(!mr.forget(0x4000, 0x4000));
        assert!(mr.forget(0x2000, 0x1000));
        assert!(!mr.forget(0x2000, 0x1000));
        assert_eq!(pieces(&mr, 0xf00, 0x100), Ok(vec![(0x1f00, 0x100)]));
        assert_eq!(pieces(&mr, 0xf00, 0x101), Err(Violation::MemoryGone));
        assert_eq!(pieces(&mr, 0x1fff, 2), Err(Violation::MemoryGone));
        assert_eq!(
            pieces(&mr, 0x2ff0, 0x20),
            Ok(vec![(0x3ff0, 0x10), (0x8000, 0x10)])
        );
        assert_eq!(mr.reachable(), 0x3000);
        assert!(mr.forget(0, u64::MAX));
        assert_eq!(pieces(&mr, 0, 1), Err(Violation::MemoryGone));
    }

    proptest! {
        /// Compares with a list of pages.
        #[test]
        fn like_a_page_list(pages in proptest::collection::vec(0u64..64, 1..80),
                            gone in proptest::collection::vec((0u64..66, 1u64..8), 0..4),
                            from in 0u64..0x50000, len in 1u64..0x5000) {
            let gpas: Vec<u64> = pages.iter().map(|p| p * 4096).collect();
            let mut mr = region(&gpas);
            for &(page, count) in &gone {
                mr.forget(page * 4096, count * 4096);
            }
            let lost = |p: u64| gone.iter().any(|&(g, n)| p >= g && p < g + n);
            let expected = (from..from + len)
                .map(|at| match pages.get((at / 4096) as usize) {
                    None => Err(Violation::OutsideRegion),
                    Some(&p) if lost(p) => Err(Violation::MemoryGone),
                    Some(&p) => Ok(p * 4096 + at % 4096),
                });
            let expected: Vec<_> = expected.collect();
            match pieces(&mr, from, len) {
                Ok(pieces) => {
                    let bytes: Vec<_> = pieces.iter()
                        .flat_map(|&(gpa, len)| (gpa..gpa + len).map(Ok)).collect();
                    prop_assert_eq!(bytes, expected);
                }
                Err(why) => prop_assert!(expected.contains(&Err(why))),
            }
        }
    }
}
