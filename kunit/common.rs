// SPDX-License-Identifier: GPL-2.0

//! Tests of objects that several users have in common.

use kernel::prelude::*;

#[kunit_tests(ehea_common)]
mod tests {
    use crate::{
        kernel_ext::common::Common,
        testing::DropCounter, //
    };
    use core::sync::atomic::{
        AtomicU32,
        Ordering::Relaxed, //
    };
    use kernel::{
        prelude::*,
        sync::Arc, //
    };

    #[test]
    fn made_with_the_first_user_and_dropped_with_the_last() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        static MADE: AtomicU32 = AtomicU32::new(0);
        static COMMON: Common<DropCounter> = Common::new();
        let user = || {
            COMMON.get(|| {
                MADE.fetch_add(1, Relaxed);
                Ok::<_, Error>(Arc::new(DropCounter::new(&DROPS), GFP_KERNEL)?)
            })
        };

        for round in 1..=3 {
            let first = user()?;
            let second = user()?;
            assert!(core::ptr::eq(&*first, &*second));
            drop(first);
            let third = user()?;
            drop(second);
            assert_eq!(
                (MADE.load(Relaxed), DROPS.load(Relaxed)),
                (round, round - 1)
            );
            drop(third);
            assert_eq!((MADE.load(Relaxed), DROPS.load(Relaxed)), (round, round));
        }
        Ok(())
    }

    /// A failure leaves nothing behind: the next user makes the object.
    #[test]
    fn tried_again_after_a_failure() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        static COMMON: Common<DropCounter> = Common::new();
        let failure = COMMON.get(|| Err(ENOMEM));
        assert_eq!(failure.err(), Some(ENOMEM));
        let user =
            COMMON.get(|| Ok::<_, Error>(Arc::new(DropCounter::new(&DROPS), GFP_KERNEL)?))?;
        drop(user);
        assert_eq!(DROPS.load(Relaxed), 1);
        Ok(())
    }
}
