// SPDX-License-Identifier: GPL-2.0
//! Work that is done side by side.

use std::panic::resume_unwind;
use std::thread::scope;

use anyhow::{anyhow, Result};

/// Does both at the same time. If one fails, the other is finished nevertheless, so that its work
/// is not lost. The error contains everything that failed.
pub(crate) fn both<A: Send, B>(
    one: impl FnOnce() -> Result<A> + Send,
    other: impl FnOnce() -> Result<B>,
) -> Result<(A, B)> {
    let (one, other) = scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        (
            one.join().unwrap_or_else(|panic| resume_unwind(panic)),
            other,
        )
    });
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
        (Err(one), Err(other)) => Err(anyhow!("{one:#}\nand: {other:#}")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use anyhow::bail;

    use super::*;

    #[test]
    fn both_run_at_the_same_time() {
        let met = Barrier::new(2);
        let meet = || {
            met.wait();
            Ok(1)
        };
        assert_eq!(both(meet, meet).unwrap(), (1, 1));
    }

    #[test]
    fn one_that_fails_does_not_end_the_other() {
        let mut finished = false;
        let failed = both(
            || -> Result<()> { bail!("broken") },
            || {
                finished = true;
                Ok(())
            },
        );
        assert_eq!(failed.unwrap_err().to_string(), "broken");
        assert!(finished);
    }

    #[test]
    fn every_error_is_told() {
        let fail = |what: &'static str| move || -> Result<()> { bail!("{what} is broken") };
        let three = both(fail("one"), || both(fail("two"), fail("three")));
        assert_eq!(
            three.unwrap_err().to_string(),
            "one is broken\nand: two is broken\nand: three is broken"
        );
    }
}
