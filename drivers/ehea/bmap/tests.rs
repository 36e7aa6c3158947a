// SPDX-License-Identifier: GPL-2.0

use std::collections::{BTreeSet, HashMap};
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::abi::cb::adapter::PageSize;

#[derive(Debug, Default)]
struct Store {
    runs: Vec<Run>,
    buckets: Vec<u16>,
    /// Number of runs for which there is memory.
    limit: Option<usize>,
    /// Number of buckets for which there is memory.
    bucket_limit: Option<usize>,
}

impl RunStore for Store {
    fn try_push(&mut self, run: Run) -> Result<(), OutOfMemory> {
        if self.limit == Some(self.runs.len()) {
            return Err(OutOfMemory);
        }
        self.runs.push(run);
        Ok(())
    }

    fn as_slice(&self) -> &[Run] {
        &self.runs
    }

    fn try_push_bucket(&mut self, run: u16) -> Result<(), OutOfMemory> {
        if self.bucket_limit == Some(self.buckets.len()) {
            return Err(OutOfMemory);
        }
        self.buckets.push(run);
        Ok(())
    }

    fn buckets(&self) -> &[u16] {
        &self.buckets
    }
}

fn range(start: u64, len: u64) -> RealRange {
    RealRange::new(start, len).unwrap()
}

fn build(memory: &[(u64, u64)], excluded: &[RealRange]) -> Result<Busmap<Store>, BuildError> {
    build_in(Store::default(), memory, excluded)
}

fn build_in(
    store: Store,
    memory: &[(u64, u64)],
    excluded: &[RealRange],
) -> Result<Busmap<Store>, BuildError> {
    let mut builder = Builder::new(store, excluded);
    for &(base, len) in memory {
        builder.add(base, len)?;
    }
    builder.finish()
}

/// A busmap that is obviously right: it has one entry for each section.
#[derive(Debug)]
struct Naive {
    bus: HashMap<u64, u64>,
    order: Vec<u64>,
}

impl Naive {
    fn new(sections: &BTreeSet<u64>, excluded: &[RealRange]) -> Self {
        let order: Vec<u64> = sections
            .iter()
            .copied()
            .filter(|&n| {
                let first = u128::from(n * SECTION_SIZE);
                let end = first + u128::from(SECTION_SIZE);
                !excluded.iter().any(|x| {
                    !x.is_empty()
                        && u128::from(x.start()) < end
                        && first < u128::from(x.start()) + u128::from(x.len())
                })
            })
            .collect();
        let bus = (0..)
            .zip(&order)
            .map(|(i, &n)| (n, START + i * SECTION_SIZE))
            .collect();
        Self { bus, order }
    }

    /// Translates section by section: all sections must be mapped, to adjacent adapter addresses.
    fn translate(&self, real: u64, len: u64) -> Option<u64> {
        let first = self.bus.get(&(real / SECTION_SIZE))? + real % SECTION_SIZE;
        let last = real.checked_add(len.max(1) - 1)?;
        for n in real / SECTION_SIZE..=last / SECTION_SIZE {
            let begin = real.max(n * SECTION_SIZE);
            let bus = self.bus.get(&n)? + begin % SECTION_SIZE;
            if bus - first != begin - real {
                return None;
            }
        }
        Some(first)
    }

    fn intersects(&self, range: &RealRange) -> bool {
        self.bus.keys().any(|&n| {
            range.start() < (n + 1) * SECTION_SIZE
                && n * SECTION_SIZE < range.end()
                && !range.is_empty()
        })
    }
}

/// Generates sections in stretches, as memory has them, and the sizes of the pieces in which they
/// are added.
fn memory() -> impl Strategy<Value = (BTreeSet<u64>, Vec<u8>)> {
    // There are few stretches, or so many that there is an index. Now and then a hole is as large
    // as all other memory, so that many runs start in one bucket.
    let hole = || prop_oneof![30 => 0u64..6, 1 => 100u64..110];
    (
        prop_oneof![
            prop::collection::vec((hole(), 1u64..12), 0..12),
            prop::collection::vec((hole(), 1u64..3), 12..50),
        ],
        prop_oneof![Just(0u64), Just(3), Just((1 << 40) - 200)],
        prop::collection::vec(1u8..8, 1..20),
    )
        .prop_map(|(stretches, first, cuts)| {
            let mut next = first;
            let mut sections = BTreeSet::new();
            for (hole, len) in stretches {
                next += hole;
                sections.extend(next..next + len);
                next += len;
            }
            // The last section of the address space has no end that a `u64` could hold.
            sections.retain(|&n| n < (1 << 40) - 1);
            (sections, cuts)
        })
}

/// Returns the memory as arguments of `add` calls.
fn pieces(sections: &BTreeSet<u64>, cuts: &[u8]) -> Vec<(u64, u64)> {
    let mut pieces: Vec<(u64, u64)> = Vec::new();
    let mut cuts = cuts.iter().cycle();
    let mut room = 0;
    for &n in sections {
        let base = n * SECTION_SIZE;
        match pieces.last_mut() {
            Some((start, len)) if *start + *len == base && room > 0 => *len += SECTION_SIZE,
            _ => {
                pieces.push((base, SECTION_SIZE));
                room = *cuts.next().unwrap();
            }
        }
        room -= 1;
    }
    pieces
}

fn address() -> impl Strategy<Value = u64> {
    let section = prop_oneof![0u64..160, (1u64 << 40) - 201..(1 << 40)];
    let offset = prop_oneof![
        Just(0),
        Just(1),
        Just(SECTION_SIZE - 1),
        Just(SECTION_SIZE - 2048),
        0..SECTION_SIZE
    ];
    prop_oneof![
        20 => (section, offset).prop_map(|(n, offset)| n * SECTION_SIZE + offset),
        1 => any::<u64>(),
    ]
}

fn length() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(2048),
        Just(2049),
        Just(SECTION_SIZE),
        1..10 * SECTION_SIZE,
        any::<u64>()
    ]
}

fn ranges(max: usize) -> impl Strategy<Value = Vec<RealRange>> {
    let range = (address(), length()).prop_filter_map("no end", |(a, l)| RealRange::new(a, l));
    prop::collection::vec(range, 0..=max)
}

proptest! {
    #[test]
    fn is_the_naive_map(
        (sections, cuts) in memory(),
        excluded in ranges(2),
        queries in prop::collection::vec((address(), length()), 60),
        ranges in ranges(20),
        bucket_limit in prop_oneof![2 => Just(None), 1 => (0usize..40).prop_map(Some)],
    ) {
        let naive = Naive::new(&sections, &excluded);
        let store = Store { bucket_limit, ..Store::default() };
        let map = build_in(store, &pieces(&sections, &cuts), &excluded).unwrap();

        for (real, len) in queries {
            prop_assert_eq!(map.translate(real, len), naive.translate(real, len));
        }
        for &n in &sections {
            let real = n * SECTION_SIZE;
            prop_assert_eq!(map.translate(real, 1), naive.translate(real, 1));
            let across = real + SECTION_SIZE - 1;
            prop_assert_eq!(map.translate(across, 2), naive.translate(across, 2));
        }
        for range in ranges {
            prop_assert_eq!(map.intersects(&range), naive.intersects(&range));
        }
        prop_assert_eq!(map.sections(), naive.order.len() as u64);
        prop_assert_eq!(map.total_bytes(), naive.order.len() as u64 * SECTION_SIZE);
        prop_assert_eq!(map.is_empty(), naive.order.is_empty());
    }

    #[test]
    fn runs_keep_their_invariants((sections, cuts) in memory(), excluded in ranges(3)) {
        let map = build(&pieces(&sections, &cuts), &excluded).unwrap();
        let mut bus = START;
        let mut end = None;
        for run in map.runs() {
            prop_assert!(!run.is_empty());
            prop_assert_eq!(run.real() % SECTION_SIZE, 0);
            prop_assert_eq!(run.len() % SECTION_SIZE, 0);
            prop_assert!(end < Some(run.real()), "runs touch or are out of order");
            prop_assert_eq!(run.bus(), bus);
            bus += run.len();
            end = Some(run.range().end());
        }
        prop_assert_eq!(bus - START, map.total_bytes());
    }

    #[test]
    fn pages_are_in_bus_order((sections, cuts) in memory()) {
        let naive = Naive::new(&sections, &[]);
        let map = build(&pieces(&sections, &cuts), &[]).unwrap();
        for size in [PageSize::M16, PageSize::M1, PageSize::K64] {
            let expected = naive.order.iter().flat_map(|&n| {
                (n * SECTION_SIZE..(n + 1) * SECTION_SIZE).step_by(size.bytes() as usize)
            });
            prop_assert_eq!(map.pages(size).left(), map.total_bytes() / size.bytes());
            prop_assert!(map.pages(size).eq(expected));
            let mut pages = map.pages(size);
            prop_assert_eq!(pages.by_ref().count() as u64, map.total_bytes() / size.bytes());
            prop_assert_eq!(pages.left(), 0);
        }
    }

    /// The map does not depend on how the memory is cut into pieces.
    #[test]
    fn equal_memory_makes_equal_maps((sections, cuts) in memory(), extra in 0u64..200) {
        let map = build(&pieces(&sections, &cuts), &[]).unwrap();
        prop_assert!(map == build(&pieces(&sections, &[1]), &[]).unwrap());
        let mut other = sections.clone();
        if other.insert(extra) {
            prop_assert!(map != build(&pieces(&other, &cuts), &[]).unwrap());
        }
    }

    #[test]
    fn hostile_memory_never_panics(
        memory in prop::collection::vec((any::<u64>(), any::<u64>()), 0..4),
        aligned in any::<bool>(),
        excluded in any::<(u64, u64)>(),
    ) {
        let mask = if aligned { !(SECTION_SIZE - 1) } else { !0 };
        let memory: Vec<_> = memory.into_iter().map(|(b, l)| (b & mask, l & mask)).collect();
        let _ = build(&memory, &[]);
        if let Some(range) = RealRange::new(excluded.0, excluded.1) {
            let sections = range.whole_sections();
            prop_assert_eq!((sections.start() | sections.len()) % SECTION_SIZE, 0);
            prop_assert!(sections.contains(&range) || range.end() > !(SECTION_SIZE - 1));
        }
    }

    #[test]
    fn ranges_are_sets_of_addresses(
        a in (0u64..20, 0u64..8),
        b in (0u64..20, 0u64..8),
    ) {
        let set = |r: &RealRange| (r.start()..r.end()).collect::<BTreeSet<_>>();
        let (a, b) = (range(a.0, a.1), range(b.0, b.1));
        prop_assert_eq!(a.intersects(&b), !set(&a).is_disjoint(&set(&b)));
        prop_assert_eq!(a.contains(&b), set(&a).is_superset(&set(&b)));
        let [below, above] = a.without(&b);
        prop_assert!(set(&below).is_disjoint(&set(&above)));
        prop_assert_eq!(&set(&below) | &set(&above), &set(&a) - &set(&b));
    }
}

#[test]
fn contiguous_memory_is_one_run() {
    let memory: Vec<_> = (0..1 << 16)
        .map(|n| (n * SECTION_SIZE, SECTION_SIZE))
        .collect();
    let map = build(&memory, &[]).unwrap();
    assert_eq!(map.runs().len(), 1);
    assert_eq!(map.total_bytes(), 1 << 40);
    assert_eq!(map.translate(0x1234_5678, 9022), Some(START + 0x1234_5678));
    assert_eq!(map.translate((1 << 40) - 1, 1), Some(START + (1 << 40) - 1));
    assert_eq!(map.translate((1 << 40) - 1, 2), None);
}

#[test]
fn refusals() {
    let s = SECTION_SIZE;
    let error = |memory: &[(u64, u64)]| build(memory, &[]).err();
    assert_eq!(
        error(&[(1, s)]),
        Some(BuildError::Misaligned { base: 1, len: s })
    );
    assert_eq!(
        error(&[(0, s + 4096)]),
        Some(BuildError::Misaligned {
            base: 0,
            len: s + 4096
        })
    );
    assert_eq!(
        error(&[(s, 0)]),
        Some(BuildError::Misaligned { base: s, len: 0 })
    );
    assert_eq!(
        error(&[(s, s), (s, s)]),
        Some(BuildError::NotAscending { base: s })
    );
    assert_eq!(
        error(&[(s, s), (0, s)]),
        Some(BuildError::NotAscending { base: 0 })
    );
    let last = s.wrapping_neg();
    assert_eq!(
        error(&[(last, s)]),
        Some(BuildError::Overflow { base: last, len: s })
    );
    assert_eq!(error(&[(0, START)]), Some(BuildError::TooLarge));
    assert_eq!(error(&[(0, START - s)]), None);
}

/// The index has about as many buckets as there are runs, and each leads to the right run.
#[test]
fn index_of_many_runs() {
    let s = SECTION_SIZE;
    for (count, distance) in [(6, 2), (1000, 2), (1000, 33), (2048, 32), (1 << 16, 2)] {
        let runs = (0..count).map(|n| (0x100 * s + n * distance * s, s));
        let runs: Vec<_> = runs.collect();
        let map = build(&runs, &[]).unwrap();
        let buckets = &map.store.buckets;
        let expected = if count < 1 << 16 {
            count as usize..=2 * count as usize
        } else {
            0..=0
        };
        assert!(
            expected.contains(&buckets.len()),
            "{count}: {}",
            buckets.len()
        );
        assert!(buckets.is_sorted());
        for (n, &(real, _)) in (0..).zip(&runs) {
            assert_eq!(map.translate(real + s - 1, 1), Some(START + n * s + s - 1));
            assert_eq!(map.translate(real + s, 1), None);
            assert_eq!(map.translate(real - 1, 1), None);
        }
    }
    // Five are searched.
    let runs: Vec<_> = (0..5).map(|n| (2 * n * s, s)).collect();
    assert!(build(&runs, &[]).unwrap().store.buckets.is_empty());
}

/// The last section of the address space cannot be mapped; the one before it can.
#[test]
fn index_at_the_end_of_the_address_space() {
    let s = SECTION_SIZE;
    let end = (2 * s).wrapping_neg();
    let mut runs: Vec<_> = (0..7).map(|n| (2 * n * s, s)).collect();
    runs.push((end, s));
    let map = build(&runs, &[]).unwrap();
    assert_eq!(map.translate(end + s - 1, 1), Some(START + 8 * s - 1));
    assert_eq!(map.translate(end - 1, 1), None);
    assert_eq!(map.translate(u64::MAX, 1), None);
    assert_eq!(map.translate(12 * s, s), Some(START + 6 * s));
}

/// An excluded range is checked for its order like all others.
#[test]
fn excluded_memory_is_checked_too() {
    let all = [range(0, 100 * SECTION_SIZE)];
    let twice = [(0, SECTION_SIZE), (0, SECTION_SIZE)];
    assert_eq!(
        build(&twice, &all).err(),
        Some(BuildError::NotAscending { base: 0 })
    );
    assert!(build(&twice[..1], &all).unwrap().is_empty());
}

#[test]
fn no_memory_for_runs() {
    let s = SECTION_SIZE;
    for limit in 0..3 {
        let store = Store {
            limit: Some(limit),
            ..Store::default()
        };
        let mut builder = Builder::new(store, &[]);
        let result = builder
            .add(0, s)
            .and_then(|()| builder.add(2 * s, s))
            .and_then(|()| builder.finish());
        assert_eq!(result.err(), (limit < 2).then_some(BuildError::OutOfMemory));
    }
}
