// SPDX-License-Identifier: GPL-2.0

//! Memory that the guest gave back.
//!
//! A machine may keep memory in its map for a while after the guest gave it back: a DIMM is removed
//! only when its last LMB is given back. The adapter must not touch the memory from the moment at
//! which the guest gives it back.

use std::collections::BTreeMap;

/// Ranges of guest memory that no longer belong to the guest.
#[derive(Debug, Default)]
pub(crate) struct Removed {
    /// End of each range, by its start. Ranges neither overlap nor touch.
    ranges: BTreeMap<u64, u64>,
}

impl Removed {
    /// Adds a range.
    pub(crate) fn insert(&mut self, gpa: u64, len: u64) {
        let (mut start, mut end) = (gpa, gpa.saturating_add(len));
        if start == end {
            return;
        }
        self.ranges.retain(|&from, &mut to| {
            let apart = from > end || to < start;
            if !apart {
                start = start.min(from);
                end = end.max(to);
            }
            apart
        });
        self.ranges.insert(start, end);
    }

    /// Removes a range, which belongs to the guest again.
    pub(crate) fn remove(&mut self, gpa: u64, len: u64) {
        let end = gpa.saturating_add(len);
        if gpa == end {
            return;
        }
        let before = std::mem::take(&mut self.ranges);
        for (from, to) in before {
            for (from, to) in [(from, to.min(gpa)), (from.max(end), to)] {
                if from < to {
                    self.ranges.insert(from, to);
                }
            }
        }
    }

    /// Forgets all ranges.
    pub(crate) fn clear(&mut self) {
        self.ranges.clear();
    }

    /// Checks whether any byte of a range is in one of the ranges.
    pub(crate) fn intersects(&self, gpa: u64, len: u64) -> bool {
        let end = gpa.saturating_add(len);
        // Of the ranges that start below the end, the last has the highest end.
        let below = self.ranges.range(..end).next_back();
        below.is_some_and(|(_, &to)| to > gpa)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_is_nowhere() {
        let mut removed = Removed::default();
        removed.insert(5, 0);
        assert!(!removed.intersects(0, u64::MAX));
        removed.insert(5, u64::MAX);
        assert!(!removed.intersects(0, 5));
        assert!(removed.intersects(u64::MAX - 1, 1));
        removed.clear();
        assert!(!removed.intersects(0, u64::MAX));
    }

    proptest! {
        /// Compares with a set of bytes.
        #[test]
        fn like_a_set(steps in proptest::collection::vec((any::<bool>(), 0u64..60, 0u64..20), 0..20),
                      gpa in 0u64..90, len in 1u64..20) {
            let mut removed = Removed::default();
            let mut bytes = std::collections::BTreeSet::new();
            for (insert, gpa, len) in steps {
                if insert {
                    removed.insert(gpa, len);
                    bytes.extend(gpa..gpa + len);
                } else {
                    removed.remove(gpa, len);
                    bytes.retain(|&at| at < gpa || at >= gpa + len);
                }
            }
            let expected = (gpa..gpa + len).any(|at| bytes.contains(&at));
            prop_assert_eq!(removed.intersects(gpa, len), expected);
            let apart = removed.ranges.iter().zip(removed.ranges.iter().skip(1));
            for ((_, to), (from, _)) in apart {
                prop_assert!(to < from);
            }
        }
    }
}
