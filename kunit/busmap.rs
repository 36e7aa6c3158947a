// SPDX-License-Identifier: GPL-2.0

//! Tests of the busmap, over the memory of this kernel.

use kernel::prelude::*;

use crate::{
    bmap::{
        Builder,
        Busmap,
        RealRange, //
    },
    kernel_ext::memory::for_each_online_section,
    runs::Runs, //
};

/// Returns the map of all online memory without `excluded`.
fn map(excluded: &[RealRange]) -> Result<Busmap<Runs>> {
    let mut builder = Builder::new(Runs::default(), excluded);

    for_each_online_section(|range| builder.add(range.base, range.len).map_err(|_| EINVAL))?;
    builder.finish().map_err(|_| ENOMEM)
}

#[kunit_tests(ehea_busmap)]
mod tests {
    use super::map;
    use crate::{
        bmap::{
            Builder,
            Busmap,
            RealRange,
            RunStore,
            SECTION_SIZE,
            START, //
        },
        kernel_ext::page::ContiguousBuffer,
        runs::Runs,
        testing, //
    };
    use kernel::prelude::*;

    #[test]
    fn maps_all_online_memory() -> Result {
        let map = map(&[])?;

        assert_eq!(map.total_bytes(), testing::present_bytes());
        assert_eq!(map.sections() * SECTION_SIZE, map.total_bytes());
        Ok(())
    }

    #[test]
    fn bus_addresses_have_no_holes() -> Result {
        let map = map(&[])?;
        let mut bus = START;
        let mut wrong = 0;

        for section in 0..testing::memory_end() / SECTION_SIZE {
            let real = section * SECTION_SIZE;
            match map.translate(real, SECTION_SIZE) {
                Some(address) if testing::is_online(real) => {
                    if address != bus {
                        wrong += 1;
                    }
                    bus += SECTION_SIZE;
                }
                None if !testing::is_online(real) => {}
                _ => wrong += 1,
            }
        }
        assert_eq!(wrong, 0);
        assert_eq!(bus, START + map.total_bytes());
        Ok(())
    }

    #[test]
    fn kernel_memory_translates() -> Result {
        let map = map(&[])?;

        for _ in 0..16 {
            let buffer = ContiguousBuffer::new(4096)?;
            let real = buffer.real_address();
            let bus = map.translate(real, 4096).ok_or(EFAULT)?;
            assert_eq!(bus % 4096, real % 4096);
            assert_eq!(map.translate(real + 100, 1), Some(bus + 100));
        }
        Ok(())
    }

    #[test]
    fn beyond_memory_nothing_translates() -> Result {
        let map = map(&[])?;
        let end = testing::memory_end();

        assert_eq!(map.translate(end, 1), None);
        assert_eq!(map.translate(end - 1, 2), None);
        assert_eq!(map.translate(u64::MAX, 1), None);
        assert_eq!(map.translate(0, u64::MAX), None);
        Ok(())
    }

    #[test]
    fn excluded_sections_are_left_out() -> Result {
        let all = map(&[])?;
        let last = all.runs().last().ok_or(ENOENT)?.range();
        let section = RealRange::new(last.end() - SECTION_SIZE, SECTION_SIZE).ok_or(EINVAL)?;
        let without = map(&[section])?;

        assert_eq!(without.total_bytes() + SECTION_SIZE, all.total_bytes());
        assert_eq!(without.translate(section.start(), 1), None);
        assert!(!without.intersects(&section));
        assert!(all.intersects(&section));
        Ok(())
    }

    /// Returns the map of a machine whose memory is in `count` runs. Each run is one section, at a
    /// distance of `distance` sections from the next.
    fn scattered(count: u64, distance: u64) -> Result<Busmap<Runs>> {
        let mut builder = Builder::new(Runs::default(), &[]);
        for n in 0..count {
            let base = n * distance * SECTION_SIZE;
            builder.add(base, SECTION_SIZE).map_err(|_| EINVAL)?;
        }
        builder.finish().map_err(|_| ENOMEM)
    }

    #[test]
    fn many_runs_have_an_index() -> Result {
        for (count, distance) in [(6, 2), (1024, 2), (1024, 33), (20_000, 2)] {
            let map = scattered(count, distance)?;
            assert!(map.store.buckets().len() as u64 >= count);
            assert!(map.store.buckets().len() as u64 <= 2 * count);

            let mut wrong = 0;
            for n in 0..count {
                let (real, bus) = (n * distance * SECTION_SIZE, START + n * SECTION_SIZE);
                let last = SECTION_SIZE - 1;
                if map.translate(real + last, 1) != Some(bus + last)
                    || map.translate(real + last, 2).is_some()
                    || map.translate(real + SECTION_SIZE, 1).is_some()
                {
                    wrong += 1;
                }
            }
            assert_eq!(wrong, 0);
        }
        // A few runs are searched.
        assert_eq!(scattered(5, 2)?.store.buckets().len(), 0);
        Ok(())
    }

    #[test]
    fn same_memory_gives_same_map() -> Result {
        assert!(map(&[])? == map(&[])?);
        Ok(())
    }
}
