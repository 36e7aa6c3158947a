// SPDX-License-Identifier: GPL-2.0

//! Differences of counters that the adapter keeps.

/// Returns by how much a counter of the adapter has grown from `before` to `now`.
///
/// A counter that wraps around goes on from 0. One that is lower otherwise was reset with the adapter, and
/// has counted `now` since then.
pub const fn growth(before: u64, now: u64) -> u64 {
    const FURTHEST: u64 = u64::MAX / 2;
    let difference = now.wrapping_sub(before);
    if difference <= FURTHEST {
        difference
    } else {
        now
    }
}

#[cfg(test)]
mod tests {
    use super::growth;

    #[test]
    fn counts_on() {
        assert_eq!(growth(0, 0), 0);
        assert_eq!(growth(0, 7), 7);
        assert_eq!(growth(1000, 1000), 0);
        assert_eq!(growth(1000, 1001), 1);
    }

    #[test]
    fn wraps_around() {
        assert_eq!(growth(u64::MAX, 0), 1);
        assert_eq!(growth(u64::MAX - 9, 90), 100);
    }

    #[test]
    fn adapter_is_reset() {
        assert_eq!(growth(1000, 0), 0);
        assert_eq!(growth(1000, 40), 40);
    }
}
