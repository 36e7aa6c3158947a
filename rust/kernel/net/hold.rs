// SPDX-License-Identifier: GPL-2.0

//! Keeping a transmit queue stopped while completions come in.
//!
//! Uses nothing of the kernel but [`sync`](super::sync), so that the interleavings of
//! `drivers/ehea/tests/interleavings` run this very file.

use super::sync::{
    full_barrier,
    AtomicBool,
    Ordering::Relaxed, //
};

/// The kernel's bit that tells the stack whether it may send.
pub(crate) trait Bit {
    /// Tells it not to.
    fn stop(&self);

    /// Tells it that it may.
    fn wake(&self);
}

/// State of a queue: held, or not. One party at a time holds it or lets it run, under the queue's lock.
///
/// Whoever does that changes this value first and the bit last; whoever has woken the queue looks at
/// this value last. With a full barrier between the two on both sides, at least one of them sees the
/// other, and the bit is right in the end.
#[derive(Debug)]
pub(crate) struct Hold(pub(super) AtomicBool);

impl Hold {
    /// Returns the state of a queue that is held.
    pub(crate) fn new() -> Self {
        Self(AtomicBool::new(true))
    }

    /// Returns whether the queue is held.
    #[inline]
    pub(crate) fn is_held(&self) -> bool {
        self.0.load(Relaxed)
    }

    /// Holds the queue.
    pub(crate) fn hold(&self, bit: &impl Bit) {
        self.0.store(true, Relaxed);
        full_barrier();
        bit.stop();
    }

    /// Lets the queue run.
    pub(crate) fn run(&self, bit: &impl Bit) {
        self.0.store(false, Relaxed);
        full_barrier();
        bit.wake();
    }

    /// Completing side, after it has woken the queue: stops it if it is held now.
    #[cold]
    pub(crate) fn settle(&self, bit: &impl Bit) {
        loop {
            full_barrier();
            if !self.is_held() {
                return;
            }
            bit.stop();
            full_barrier();
            if self.is_held() {
                return;
            }
            // It runs again, and its bit may have been cleared before it was set here.
            bit.wake();
        }
    }
}
