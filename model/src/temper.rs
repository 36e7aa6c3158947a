// SPDX-License-Identifier: GPL-2.0

//! How an adapter treats its driver, within what the interface allows (Documentation/abi.rst, "Choices").
//!
//! Nothing here depends on anything but the seed and the sequence of questions, so a sequence of calls
//! into the model can be repeated.

use ehea_abi::hcall::{Opcode, ReturnCode};

/// What an adapter is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Temper {
    /// All goes as expected, at once or at its fixed time.
    #[default]
    Calm,
    /// Firmware is busy now and then, and the adapter is slow and out of order.
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

/// A rough one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rough {
    /// What it does depends on this.
    pub seed: u64,
    /// Where firmware is busy by itself.
    pub busy: Busy,
}

/// Where firmware is busy by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Busy {
    /// In all calls: long busy, or `H_BUSY`.
    #[default]
    Anywhere,
    /// Long busy, in those calls alone that the C driver makes where it may sleep (M3).
    Sleeping,
}

/// Of so many calls firmware is busy for one.
const BUSY_ONE_IN: u64 = 16;
/// So many busy answers follow each other at most: the C driver gives up after five.
const BUSY_IN_A_ROW: u32 = 3;
/// Of so many allocations of a memory region beside another one is refused.
const REGION_ONE_IN: u64 = 8;

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;

/// Work is begun after so many nanoseconds at the latest.
const LONGEST_WORK_DELAY: u64 = 2 * MILLISECOND;

/// Calls that the C driver makes where it may sleep, and repeats when firmware is busy for long.
const SLEEPING: [Opcode; 7] = [
    Opcode::ALLOC_HEA_RESOURCE,
    Opcode::REGISTER_HEA_RPAGES,
    Opcode::REGISTER_SMR,
    Opcode::QUERY_HEA,
    Opcode::QUERY_HEA_QP,
    Opcode::MODIFY_HEA_QP,
    Opcode::DISABLE_AND_GET_HEA,
];

/// Numbers that look random (SplitMix64).
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

    /// A number below `end`, 0 if that is 0.
    fn below(&mut self, end: u64) -> u64 {
        self.next().checked_rem(end).unwrap_or(0)
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// A number from `from` to just below `to`.
    fn between(&mut self, from: u64, to: u64) -> u64 {
        from.saturating_add(self.below(to.saturating_sub(from)))
    }
}

/// Kinds of decisions. Each has numbers of its own, so that one more of a kind changes none of another.
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

/// What a rough adapter decides by.
#[derive(Debug)]
struct Decisions {
    busy: Busy,
    calls: Random,
    regions: Random,
    order: Random,
    busy_in_a_row: u32,
}

/// The mood of an adapter and of its firmware: decides what is left open, except for times.
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

    /// What firmware answers instead of carrying out a call, if it is busy.
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

    /// Whether there is no room for a memory region beside another.
    pub(crate) fn lacks_region(&mut self) -> bool {
        let rough = self.0.as_mut();
        rough.is_some_and(|rough| rough.regions.one_in(REGION_ONE_IN))
    }

    /// Changes the order in which what can be done is done.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        let Some(rough) = &mut self.0 else {
            return;
        };
        for last in (1..items.len()).rev() {
            let end = (last as u64).saturating_add(1);
            // Below the length of a slice.
            items.swap(last, rough.order.below(end) as usize);
        }
    }
}

/// The pace of an adapter: decides about times that are left open.
#[derive(Debug)]
pub(crate) struct Pace(Option<Random>);

impl Pace {
    pub(crate) fn new(temper: Temper) -> Self {
        Self(temper.rough().map(|rough| rough.numbers(Kind::Times)))
    }

    /// The longest of what [`Self::work_delay`] says.
    #[cfg(any(test, feature = "testkit"))]
    pub(crate) const fn longest_work_delay(&self, calm: u64) -> u64 {
        match self.0 {
            None => calm,
            Some(_) => LONGEST_WORK_DELAY,
        }
    }

    /// After how many nanoseconds work is begun that would be after `calm` ones.
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

    /// After how many nanoseconds a port is announced that would be after `calm` ones.
    pub(crate) fn announcement(&mut self, calm: u64) -> u64 {
        match &mut self.0 {
            None => calm,
            Some(times) => times.between(MILLISECOND, 100 * MILLISECOND),
        }
    }

    /// For how many nanoseconds a write to memory is under way; none: not at all.
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
        // One kind of decision leaves the others alone.
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
