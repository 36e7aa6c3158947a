// SPDX-License-Identifier: GPL-2.0

//! Tests that crash handlers are called while they exist, and only then.

use kernel::prelude::*;

use crate::{
    kernel_ext::{
        crash,
        net::stats::Counter, //
    },
    testing::DropCounter, //
};
use kernel::sync::Arc;

/// Counts crashes.
struct TestHandler {
    crashes: Arc<Counter>,
    _drops: DropCounter,
}

impl crash::Handler for TestHandler {
    fn crashed(&self) {
        self.crashes.inc();
    }
}

#[kunit_tests(ehea_crash)]
mod tests {
    use super::TestHandler;
    use crate::{
        kernel_ext::{
            crash::Registration,
            net::stats::Counter, //
        },
        testing::{
            self,
            DropCounter, //
        }, //
    };
    use core::sync::atomic::{
        AtomicU32,
        Ordering, //
    };
    use kernel::{
        prelude::*,
        sync::Arc, //
    };

    type Registered = Pin<KBox<Registration<TestHandler>>>;

    fn register(drops: &'static AtomicU32) -> Result<(Registered, Arc<Counter>)> {
        let crashes = Arc::new(Counter::new(), GFP_KERNEL)?;
        let handler = TestHandler {
            crashes: crashes.clone(),
            _drops: DropCounter::new(drops),
        };
        let registered = KBox::pin_init(Registration::new(handler), GFP_KERNEL)?;
        Ok((registered, crashes))
    }

    #[test]
    fn each_is_called_while_it_exists() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        let (first, of_first) = register(&DROPS)?;
        let (second, of_second) = register(&DROPS)?;
        let (third, of_third) = register(&DROPS)?;
        let crashes = || [of_first.get(), of_second.get(), of_third.get()];

        assert_eq!(crashes(), [0, 0, 0]);
        testing::crash();
        assert_eq!(crashes(), [1, 1, 1]);
        drop(second);
        testing::crash();
        assert_eq!(crashes(), [2, 1, 2]);
        drop(first);
        testing::crash();
        assert_eq!(crashes(), [2, 1, 3]);
        drop(third);
        testing::crash();
        assert_eq!(crashes(), [2, 1, 3]);
        assert_eq!(DROPS.load(Ordering::Relaxed), 3);
        Ok(())
    }

    #[test]
    fn registered_again_and_again() -> Result {
        static DROPS: AtomicU32 = AtomicU32::new(0);
        // The rounds exceed the number of handlers for which the kernel has room.
        for round in 1..=8 {
            let (registered, crashes) = register(&DROPS)?;
            testing::crash();
            assert_eq!(crashes.get(), 1);
            drop(registered);
            assert_eq!(DROPS.load(Ordering::Relaxed), round);
        }
        Ok(())
    }
}
