// SPDX-License-Identifier: GPL-2.0

//! Tests of memory: the walk over what is online, and the memory that the adapter gets.

use kernel::prelude::kunit_tests;

#[kunit_tests(ehea_memory)]
mod tests {
    use crate::{
        kernel_ext::{
            dma::{
                DmaBuffer,
                QueueMemory,
                QUEUE_PAGE_SIZE, //
            },
            memory::{
                for_each_online_section,
                Range,
                SECTION_SIZE, //
            },
            page::ContiguousBuffer, //
        },
        testing, //
    };
    use kernel::prelude::*;

    fn walk() -> Result<KVec<Range>> {
        let mut ranges = KVec::new();
        for_each_online_section(|range| Ok(ranges.push(range, GFP_KERNEL)?))?;
        Ok(ranges)
    }

    #[test]
    fn walk_finds_all_online_memory() -> Result {
        let sum: u64 = walk()?.iter().map(|range| range.len).sum();

        assert_eq!(sum, testing::present_bytes());
        Ok(())
    }

    #[test]
    fn walk_is_aligned_ascending_and_merged() -> Result {
        let mut end = None;

        for range in &walk()? {
            assert_eq!(range.base % SECTION_SIZE, 0);
            assert_eq!(range.len % SECTION_SIZE, 0);
            assert!(range.len > 0);
            assert!(end.is_none_or(|end| range.base > end));
            end = Some(range.base + range.len);
        }
        assert!(end.is_some());
        Ok(())
    }

    #[test]
    fn walk_agrees_with_each_section() -> Result {
        let ranges = walk()?;
        let mut wrong = 0;

        for section in 0..testing::memory_end() / SECTION_SIZE {
            let base = section * SECTION_SIZE;
            let found = ranges
                .iter()
                .any(|range| base >= range.base && base - range.base < range.len);
            if found != testing::is_online(base) {
                wrong += 1;
            }
        }
        assert_eq!(wrong, 0);
        Ok(())
    }

    #[test]
    fn walk_stops_at_an_error() -> Result {
        for error in [EIO, EINVAL] {
            let mut calls = 0;
            let result = for_each_online_section(|_| {
                calls += 1;
                Err(error)
            });
            assert!(result == Err(error));
            assert_eq!(calls, 1);
        }
        Ok(())
    }

    #[test]
    fn buffer_is_where_it_says() -> Result {
        let buffer = ContiguousBuffer::new(3 * 4096)?;
        let window = buffer.window();

        assert_eq!(window.len(), 3 * 4096);
        assert_eq!(buffer.real_address() % 4096, 0);
        for offset in [0, 4096, 3 * 4096 - 8] {
            assert_eq!(window.read_u64_be(offset)?, 0);
            window.write_u64_be(offset, 0x0102_0304_0506_0708)?;
            assert_eq!(
                testing::read_real(&buffer, offset)?.to_ne_bytes(),
                [1, 2, 3, 4, 5, 6, 7, 8]
            );
        }
        Ok(())
    }

    #[test]
    fn reach_is_inside_of_the_buffer() -> Result {
        let buffer = DmaBuffer::new(&testing::access(), 2 * 4096)?;

        assert_eq!(buffer.len(), 2 * 4096);
        let part = buffer.reach(4096, 100).ok_or(EINVAL)?;
        assert_eq!(part.address(), buffer.real_address() + 4096);
        assert_eq!(part.len(), 100);
        assert!(buffer.reach(0, 2 * 4096).is_some());
        assert!(buffer.reach(0, 2 * 4096 + 1).is_none());
        assert!(buffer.reach(2 * 4096 - 99, 100).is_none());
        assert!(buffer.reach(usize::MAX, 2).is_none());
        assert!(DmaBuffer::new(&testing::access(), 0).is_err());
        Ok(())
    }

    #[test]
    fn window_bounds() -> Result {
        let buffer = ContiguousBuffer::new(64)?;
        let window = buffer.window();
        let mut bytes = [0; 16];

        assert!(window.read_u64_be(57).is_err());
        assert!(window.read_u64_be(64).is_err());
        assert!(window.read_u64_be(usize::MAX - 7).is_err());
        assert!(window.write_u64_be(4, 0).is_err());
        assert!(window.read_bytes(49, &mut bytes).is_err());
        assert!(window.write_bytes(usize::MAX, &bytes).is_err());
        assert!(window.part(8, 57).is_err());
        assert!(window.part(4, 4).is_err());

        let part = window.part(48, 16)?;
        part.write_bytes(3, b"hello")?;
        window.read_bytes(48, &mut bytes)?;
        assert_eq!(&bytes[..9], b"\0\0\0hello\0");
        window.read_bytes(47, &mut bytes)?;
        assert_eq!(&bytes[..9], b"\0\0\0\0hello");
        assert!(part.read_u64_be(16).is_err());
        assert!(ContiguousBuffer::new(0).is_err());
        Ok(())
    }

    #[test]
    fn queue_entries_are_distinct() -> Result {
        // The memory consists of more than one piece.
        let pages = 35;
        let queue = QueueMemory::new(&testing::access(), pages, 512)?;

        assert_eq!(queue.all_pages().len(), pages);
        assert_eq!(queue.entries(), pages * QUEUE_PAGE_SIZE / 512);
        for index in 0..queue.entries() {
            let entry = queue.entry(index).ok_or(EINVAL)?;
            assert_eq!(entry.len(), 512);
            assert_eq!(entry.read_u64_be(0)?, 0);
            entry.write_u64_be(0, index as u64)?;
            entry.write_u64_be(504, index as u64)?;
        }
        for index in 0..queue.entries() {
            let entry = queue.entry(index).ok_or(EINVAL)?;
            assert_eq!(entry.read_u64_be(0)?, index as u64);
            assert_eq!(entry.read_u64_be(504)?, index as u64);
        }
        assert!(queue.entry(queue.entries()).is_none());
        assert!(queue.entry(usize::MAX).is_none());
        Ok(())
    }

    #[test]
    fn queue_pages_are_distinct_and_aligned() -> Result {
        let queue = QueueMemory::new(&testing::access(), 35, 128)?;
        let mut addresses = KVec::new();

        for page in 0..35 {
            let address = queue.page(page).ok_or(EINVAL)?.address();
            assert_eq!(address % QUEUE_PAGE_SIZE as u64, 0);
            assert!(testing::is_online(address));
            assert!(!addresses.contains(&address));
            addresses.push(address, GFP_KERNEL)?;
        }
        assert!(queue.page(35).is_none());
        assert!(queue.page(usize::MAX).is_none());
        Ok(())
    }

    #[test]
    fn queue_sizes_are_checked() -> Result {
        assert!(QueueMemory::new(&testing::access(), 0, 64).is_err());
        assert!(QueueMemory::new(&testing::access(), 1, 0).is_err());
        assert!(QueueMemory::new(&testing::access(), 1, 4).is_err());
        assert!(QueueMemory::new(&testing::access(), 1, 96).is_err());
        assert!(QueueMemory::new(&testing::access(), 1, 8192).is_err());
        assert!(QueueMemory::new(&testing::access(), usize::MAX, 64).is_err());
        Ok(())
    }
}
