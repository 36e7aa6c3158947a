// SPDX-License-Identifier: GPL-2.0

//! Tests of socket buffers: their ownership and their fields.

use kernel::prelude::kunit_tests;

#[kunit_tests(ehea_skbuff)]
mod tests {
    use crate::{
        device::{
            parent,
            registered, //
        },
        kernel_ext::net::skbuff::{
            Gso,
            PartialChecksum,
            RxBuffer,
            Segments,
            SkbSlot, //
        },
        testing, //
    };
    use core::sync::atomic::AtomicU32;
    use kernel::prelude::*;

    static DROPS: AtomicU32 = AtomicU32::new(0);

    #[test]
    fn freed_once() -> Result {
        let parent = parent()?;
        let dev = registered(&parent, &DROPS)?;

        testing::freed();
        drop(testing::frame(&dev, 100, 0)?);
        assert_eq!(testing::freed(), 1);
        testing::frame(&dev, 100, 50)?.consume();
        assert_eq!(testing::freed(), 1);
        Ok(())
    }

    #[test]
    fn slot_owns_one() -> Result {
        let parent = parent()?;
        let dev = registered(&parent, &DROPS)?;
        let slot = SkbSlot::new();

        testing::freed();
        assert!(slot.take().is_none());
        assert!(slot.put(testing::frame(&dev, 100, 0)?).is_none());

        let first = slot.put(testing::frame(&dev, 200, 0)?);
        assert_eq!(first.as_ref().map(|skb| skb.len()), Some(100));
        assert_eq!(testing::freed(), 0);
        drop(first);
        assert_eq!(testing::freed(), 1);

        let second = slot.take();
        assert_eq!(second.as_ref().map(|skb| skb.len()), Some(200));
        assert!(slot.take().is_none());
        drop(second);
        assert_eq!(testing::freed(), 1);

        slot.put(testing::frame(&dev, 300, 0)?);
        drop(slot);
        assert_eq!(testing::freed(), 1);
        Ok(())
    }

    #[test]
    fn description_of_linear_frame() -> Result {
        let parent = parent()?;
        let dev = registered(&parent, &DROPS)?;
        let skb = testing::frame(&dev, 100, 0)?;
        let mut room = Segments::new();

        assert_eq!(room.as_slice().len(), 0);
        assert_eq!(skb.len(), 100);
        assert_eq!(skb.linear_len(), 100);
        assert!(skb.vlan().is_none());
        assert!(skb.gso().is_none());
        assert!(skb.partial_checksum().is_none());
        let segments = room.describe(&skb);
        assert_eq!(segments.len(), 1);
        assert_eq!(segments[0].len(), 100);
        assert_eq!(segments[0].address(), testing::real_address(&skb));
        assert_eq!(skb.linear()[99], 99);
        Ok(())
    }

    #[test]
    fn description_of_what_is_left_to_the_device() -> Result {
        let parent = parent()?;
        let dev = registered(&parent, &DROPS)?;
        let skb = testing::segmented_frame(&dev, 3000)?;

        assert_eq!(skb.vlan(), Some(0x2064));
        // The TCP header behind those of Ethernet and IPv4, and its checksum.
        let partial = skb.partial_checksum();
        assert_eq!(
            partial,
            Some(PartialChecksum {
                start: 34,
                offset: 16
            })
        );
        assert_eq!(skb.network_offset(), 14);
        let gso = Gso {
            size: 1448,
            tcp_v4: true,
            tcp_v6: false,
            other: false,
        };
        assert_eq!(skb.gso(), Some(gso));
        Ok(())
    }

    #[test]
    fn description_of_frame_with_fragment() -> Result {
        let parent = parent()?;
        let dev = registered(&parent, &DROPS)?;
        let mut skb = testing::frame(&dev, 1000, 600)?;
        let mut byte = [0];
        let mut room = Segments::new();

        assert_eq!(skb.len(), 1000);
        assert_eq!(skb.linear_len(), 400);
        let segments = room.describe(&skb);
        assert_eq!(segments.len(), 2);
        assert_eq!(segments[0].len(), 400);
        assert_eq!(segments[0].address(), testing::real_address(&skb));
        assert_eq!(segments[1].len(), 600);
        assert!(segments[0].address() != segments[1].address());
        for offset in [399, 400, 999] {
            skb.copy_bits(offset, &mut byte)?;
            assert_eq!(u32::from(byte[0]), offset % 256);
        }
        assert!(skb.copy_bits(1000, &mut byte).is_err());
        assert!(skb.copy_bits(u32::MAX, &mut byte).is_err());

        skb.linearize()?;
        assert_eq!(skb.linear_len(), 1000);
        assert_eq!(room.describe(&skb).len(), 1);
        assert_eq!(skb.linear()[999], (999 % 256) as u8);
        Ok(())
    }

    #[test]
    fn receive_buffer() -> Result {
        let parent = parent()?;
        let dev = registered(&parent, &DROPS)?;
        let first = RxBuffer::new(&dev, 1522)?;
        let second = RxBuffer::new(&dev, 1522)?;

        assert!(first.capacity() >= 1522);
        assert!(first.address().abs_diff(second.address()) >= 1522);
        assert!(testing::is_online(first.address()));
        Ok(())
    }
}
