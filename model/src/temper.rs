// SPDX-License-Identifier: GPL-2.0

//! Behaviour of an adapter towards its driver, within what the interface allows
//! (Documentation/abi.rst, "Choices").
//!
//! It depends on nothing but the seed and the sequence of questions, so a sequence of calls into
//! the model can be repeated.

use ehea_abi::hcall::{Opcode, ReturnCode};

/// Temper of an adapter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Temper {
    /// Everything happens as expected, at once or at a fixed time.
    #[default]
    Calm,
    /// Firmware is busy now and then, and the adapter is slow and works out of order.
    Rough(Rough),
}

impl Temper {
    const fn rough(self) -> Option<Rough> {
        match self {
            Self::Calm => None,
            Self::Rough(rough) => Some(rough),
        }
    }
}

/// Properties of a rough adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rough {
    /// Seed on which the adapter's decisions depend.
    pub seed: u64,
    /// Calls in which firmware is busy of its own accord.
    pub busy: Busy,
}

/// Set of calls in which firmware is busy of its own accord.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Busy {
    /// All calls; the answer is long busy or `H_BUSY`.
    #[default]
    Anywhere,
    /// Only calls that the C driver makes where it may sleep; the answer is long busy (M3).
    Sleeping,
}

/// Average number of calls from one for which firmware is busy to the next.
const BUSY_ONE_IN: u64 = 16;
/// Maximum number of consecutive busy answers. The C driver gives up after five.
const BUSY_IN_A_ROW: u32 = 3;
/// Average number of allocations of a memory region beside another from one refusal to the next.
const REGION_ONE_IN: u64 = 8;

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;

/// Maximum delay in nanoseconds until work is begun.
const LONGEST_WORK_DELAY: u64 = 2 * MILLISECOND;

/// Calls that the C driver makes where it may sleep, and that it repeats when firmware answers long
/// busy.
const SLEEPING: [Opcode; 7] = [
    Opcode::ALLOC_HEA_RESOURCE,
    Opcode::REGISTER_HEA_RPAGES,
    Opcode::REGISTER_SMR,
    Opcode::QUERY_HEA,
    Opcode::QUERY_HEA_QP,
    Opcode::MODIFY_HEA_QP,
    Opcode::DISABLE_AND_GET_HEA,
];

/// Generator of numbers that look random (SplitMix64).
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `end`, or 0 if `end` is 0.
    fn below(&mut self, end: u64) -> u64 {
        self.next().checked_rem(end).unwrap_or(0)
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// Returns a number from `from` up to but not including `to`.
    fn between(&mut self, from: u64, to: u64) -> u64 {
        from.saturating_add(self.below(to.saturating_sub(from)))
    }
}

/// Kind of a decision. Each kind has its own numbers, so that an additional decision of one kind
/// changes no decision of another.
#[derive(Clone, Copy)]
enum Kind {
    Calls,
    Regions,
    Times,
    Order,
}

impl Rough {
    fn numbers(self, kind: Kind) -> Random {
        let mut seeds = Random(self.seed);
        for _ in 0..kind as usize {
            seeds.next();
        }
        Random(seeds.next())
    }
}

/// State from which a rough adapter makes its decisions.
#[derive(Debug)]
struct Decisions {
    busy: Busy,
    calls: Random,
    regions: Random,
    order: Random,
    busy_in_a_row: u32,
}

/// Mood of an adapter and of its firmware. It decides what the interface leaves open, except for
/// times.
#[derive(Debug)]
pub(crate) struct Mood(Option<Decisions>);

impl Mood {
    pub(crate) fn new(temper: Temper) -> Self {
        Self(temper.rough().map(|rough| Decisions {
            busy: rough.busy,
            calls: rough.numbers(Kind::Calls),
            regions: rough.numbers(Kind::Regions),
            order: rough.numbers(Kind::Order),
            busy_in_a_row: 0,
        }))
    }

    /// Returns the busy answer with which firmware refuses to execute a call, or `None` if it
    /// executes the call.
    pub(crate) fn busy(&mut self, opcode: Opcode) -> Option<ReturnCode> {
        let rough = self.0.as_mut()?;
        let spared = rough.busy == Busy::Sleeping && !SLEEPING.contains(&opcode);
        if spared || rough.busy_in_a_row >= BUSY_IN_A_ROW || !rough.calls.one_in(BUSY_ONE_IN) {
            rough.busy_in_a_row = 0;
            return None;
        }
        rough.busy_in_a_row = rough.busy_in_a_row.saturating_add(1);
        Some(match rough.calls.below(256) {
            0 => ReturnCode::LONG_BUSY_ORDER_100_MSEC,
            1..16 => ReturnCode::LONG_BUSY_ORDER_10_MSEC,
            16..64 if rough.busy == Busy::Anywhere => ReturnCode::BUSY,
            _ => ReturnCode::LONG_BUSY_ORDER_1_MSEC,
        })
    }

    /// Returns true if there is no room for a memory region beside another.
    pub(crate) fn lacks_region(&mut self) -> bool {
        let rough = self.0.as_mut();
        rough.is_some_and(|rough| rough.regions.one_in(REGION_ONE_IN))
    }

    /// Changes the order in which possible work is done.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        let Some(rough) = &mut self.0 else {
            return;
        };
        for last in (1..items.len()).rev() {
            let end = (last as u64).saturating_add(1);
            // The value is below the length of a slice.
            items.swap(last, rough.order.below(end) as usize);
        }
    }
}

/// Pace of an adapter. It decides about times that the interface leaves open.
#[derive(Debug)]
pub(crate) struct Pace(Option<Random>);

impl Pace {
    pub(crate) fn new(temper: Temper) -> Self {
        Self(temper.rough().map(|rough| rough.numbers(Kind::Times)))
    }

    /// Returns the maximum of what [`Self::work_delay`] returns.
    #[cfg(any(test, feature = "testkit"))]
    pub(crate) const fn longest_work_delay(&self, calm: u64) -> u64 {
        match self.0 {
            None => calm,
            Some(_) => LONGEST_WORK_DELAY,
        }
    }

    /// Returns the delay in nanoseconds until work is begun. `calm` is the delay of a calm adapter.
    pub(crate) fn work_delay(&mut self, calm: u64) -> u64 {
        let Some(times) = &mut self.0 else {
            return calm;
        };
        match times.below(8) {
            0 => times.between(500 * MICROSECOND, LONGEST_WORK_DELAY),
            1..4 => times.between(100 * MICROSECOND, 500 * MICROSECOND),
            _ => times.between(20 * MICROSECOND, 100 * MICROSECOND),
        }
    }

    /// Returns the delay in nanoseconds until a port is announced. `calm` is the delay of a calm
    /// adapter.
    pub(crate) fn announcement(&mut self, calm: u64) -> u64 {
        match &mut self.0 {
            None => calm,
            Some(times) => times.between(MILLISECOND, 100 * MILLISECOND),
        }
    }

    /// Returns the time in nanoseconds that a write to memory is under way, or `None` if it arrives
    /// at once.
    pub(crate) fn flight(&mut self) -> Option<u64> {
        let times = self.0.as_mut()?;
        Some(match times.below(16) {
            0 => times.between(MILLISECOND, 5 * MILLISECOND),
            1..4 => times.between(200 * MICROSECOND, MILLISECOND),
            _ => times.between(5 * MICROSECOND, 200 * MICROSECOND),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rough(seed: u64, busy: Busy) -> Temper {
        Temper::Rough(Rough { seed, busy })
    }

    #[test]
    fn calm_is_as_ever() {
        let (mut mood, mut pace) = (Mood::new(Temper::Calm), Pace::new(Temper::Calm));
        let mut items = [1, 2, 3];
        mood.shuffle(&mut items);
        assert_eq!(items, [1, 2, 3]);
        for _ in 0..1000 {
            assert_eq!(mood.busy(Opcode::FREE_RESOURCE), None);
            assert!(!mood.lacks_region());
            assert_eq!(pace.flight(), None);
            assert_eq!((pace.work_delay(5), pace.announcement(7)), (5, 7));
        }
    }

    #[test]
    fn the_same_seed_is_the_same_mood() {
        let answers = |seed| {
            let temper = rough(seed, Busy::Anywhere);
            let (mut mood, mut pace) = (Mood::new(temper), Pace::new(temper));
            let answer = |_| {
                (
                    mood.busy(Opcode::QUERY_HEA),
                    pace.work_delay(0),
                    pace.flight(),
                )
            };
            (0..200).map(answer).collect::<Vec<_>>()
        };
        assert_eq!(answers(1), answers(1));
        assert_ne!(answers(1), answers(2));
        // Decisions of one kind do not affect those of another.
        let mut mood = Mood::new(rough(1, Busy::Anywhere));
        let mut other = Mood::new(rough(1, Busy::Anywhere));
        for _ in 0..100 {
            other.shuffle(&mut [0; 16]);
            other.lacks_region();
            assert_eq!(mood.busy(Opcode::QUERY_HEA), other.busy(Opcode::QUERY_HEA));
        }
    }

    #[test]
    fn moody_answers() {
        let mut seen = std::collections::BTreeMap::<ReturnCode, u32>::new();
        let mut mood = Mood::new(rough(3, Busy::Anywhere));
        let mut in_a_row = 0;
        let calls = 100_000;
        for _ in 0..calls {
            match mood.busy(Opcode::FREE_RESOURCE) {
                Some(code) => {
                    *seen.entry(code).or_default() += 1;
                    in_a_row += 1;
                }
                None => in_a_row = 0,
            }
            assert!(in_a_row <= BUSY_IN_A_ROW);
        }
        let busy: u32 = seen.values().sum();
        assert!((calls / 18..calls / 14).contains(&busy), "{busy}");
        let kinds: Vec<_> = seen.keys().copied().collect();
        assert_eq!(
            kinds,
            [
                ReturnCode::BUSY,
                ReturnCode::LONG_BUSY_ORDER_1_MSEC,
                ReturnCode::LONG_BUSY_ORDER_10_MSEC,
                ReturnCode::LONG_BUSY_ORDER_100_MSEC
            ]
        );

        let mut mood = Mood::new(rough(3, Busy::Sleeping));
        for _ in 0..10_000 {
            assert_eq!(mood.busy(Opcode::FREE_RESOURCE), None);
            assert_ne!(mood.busy(Opcode::QUERY_HEA_QP), Some(ReturnCode::BUSY));
        }
    }

    #[test]
    fn times_stay_below_what_drivers_wait() {
        let mut pace = Pace::new(rough(9, Busy::Anywhere));
        for _ in 0..10_000 {
            assert!((20_000..2_000_000).contains(&pace.work_delay(0)));
            assert!((5_000..5_000_000).contains(&pace.flight().unwrap()));
            assert!((1_000_000..100_000_000).contains(&pace.announcement(0)));
        }
    }

    #[test]
    fn shuffling_loses_nothing() {
        let mut mood = Mood::new(rough(5, Busy::Anywhere));
        let mut firsts = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let mut items: Vec<u32> = (0..8).collect();
            mood.shuffle(&mut items);
            firsts.insert(items[0]);
            items.sort_unstable();
            assert_eq!(items, (0..8).collect::<Vec<_>>());
        }
        assert_eq!(firsts.len(), 8);
    }
}
