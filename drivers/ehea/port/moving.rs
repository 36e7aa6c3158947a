// SPDX-License-Identifier: GPL-2.0

//! Move of a queue pair from one memory map to another.
//!
//! The queue pair pauses for the move: it accepts no more frames, the send queue drains, the adapter
//! stops to use it, and nobody polls it. Then all work requests are written again, and it resumes.
//! Everything that takes memory is done before the pause.
//!
//! Completions are handled as long as the adapter may use the queue pair: firmware may take a while
//! to make it pause or resume.
//!
//! The steps and their order are here. A [`Pair`] does each step: a queue pair of the driver, or,
//! in the tests on the host, one of the adapter model.

/// Number of times that a send queue is checked for having drained, before the queue pair gives up.
pub const DRAIN_ATTEMPTS: u32 = 1000;

/// Queue pair that can move.
pub trait Pair {
    /// Shared owner of a memory map and its region.
    type Generation;
    /// Resources that a move to another map needs.
    type Prepared;
    /// Resources that are left over of the map before.
    type Old;
    /// Reason for a failure.
    type Error;

    /// Checks whether work requests refer to the map `generation`.
    fn uses(&self, generation: &Self::Generation) -> bool;

    /// Allocates the resources for a move to the map `generation`.
    fn allocate(&self, generation: &Self::Generation) -> Result<Self::Prepared, Self::Error>;

    /// Returns the place for prepared resources.
    fn prepared(&mut self) -> &mut Option<Self::Prepared>;

    /// Refuses frames to be sent from now on. Frames that are posted are not affected.
    fn hold_frames(&mut self);

    /// Accepts frames again.
    fn take_frames(&mut self);

    /// Checks whether the adapter has sent all frames that it was given.
    fn is_drained(&mut self) -> bool;

    /// Sleeps for a moment, in which the adapter may send something.
    fn wait(&mut self);

    /// Returns the error for a send queue that does not drain.
    fn not_drained(&self) -> Self::Error;

    /// Ceases to handle completions. It has no effect if none are handled.
    fn stop_polling(&mut self);

    /// Handles completions again. It has no effect if they are handled.
    fn start_polling(&mut self);

    /// Makes the adapter use the queue pair, or stop to use it and its memory.
    ///
    /// If that fails, the queue pair may be in either state.
    fn set_enabled(&mut self, enabled: bool) -> Result<(), Self::Error>;

    /// Writes all work requests again for another map, while the queue pair pauses. Returns what is
    /// left over, if there was a map.
    ///
    /// If that fails, they refer to the map before.
    fn exchange(&mut self, prepared: Self::Prepared) -> Result<Option<Self::Old>, Self::Error>;

    /// Drops the owners of the map's region, while the queue pair pauses.
    fn release_keys(&mut self);

    /// Requests a reset of the port, because the queue pair cannot resume.
    fn give_up(&mut self, error: &Self::Error);
}

/// Prepares a queue pair for the map `to`, unless it uses that map already.
///
/// # Errors
///
/// Those of [`Pair::allocate`].
pub fn prepare<P: Pair>(pair: &mut P, to: &P::Generation) -> Result<(), P::Error> {
    if !pair.uses(to) {
        let prepared = pair.allocate(to)?;
        *pair.prepared() = Some(prepared);
    }
    Ok(())
}

/// Drops prepared resources.
pub fn discard<P: Pair>(pair: &mut P) {
    *pair.prepared() = None;
}

/// Moves a queue pair to the map for which it is prepared. It has no effect if the queue pair is
/// not prepared.
///
/// # Errors
///
/// The queue pair carries traffic with the map before, or has given up.
pub fn switch<P: Pair>(pair: &mut P) -> Result<(), P::Error> {
    let Some(prepared) = pair.prepared().take() else {
        return Ok(());
    };
    pause(pair)?;
    let old = pair.exchange(prepared);
    resume(pair);
    // Dropped here, where it holds up nobody.
    old.map(drop)
}

/// Makes a queue pair pause. Frames that arrive meanwhile wait in the adapter, and frames to be
/// sent wait in the stack.
///
/// # Errors
///
/// The send queue does not drain, or the adapter refuses. The queue pair carries traffic, or has
/// given up.
pub fn pause<P: Pair>(pair: &mut P) -> Result<(), P::Error> {
    pair.hold_frames();
    let mut attempts = 0;
    while !pair.is_drained() {
        attempts += 1;
        if attempts > DRAIN_ATTEMPTS {
            pair.take_frames();
            return Err(pair.not_drained());
        }
        pair.wait();
    }
    // It may have paused even if it fails.
    pair.set_enabled(false).inspect_err(|_| resume(pair))?;
    pair.stop_polling();
    Ok(())
}

/// Resumes a queue pair that pauses, with the map `generation`. A queue pair that does not pause is
/// not affected.
///
/// # Errors
///
/// The queue pair still pauses. The port must be reset.
pub fn go_on<P: Pair>(pair: &mut P, generation: &P::Generation) -> Result<(), P::Error> {
    if !pair.uses(generation) {
        let prepared = pair.allocate(generation)?;
        drop(pair.exchange(prepared)?);
    }
    resume(pair);
    Ok(())
}

/// Resumes a queue pair that pauses, or gives up.
fn resume<P: Pair>(pair: &mut P) {
    pair.start_polling();
    match pair.set_enabled(true) {
        Ok(()) => pair.take_frames(),
        Err(error) => pair.give_up(&error),
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    /// A queue pair of which some steps fail.
    #[derive(Debug, Default)]
    struct Script {
        map: Option<u32>,
        next: Option<u32>,
        holds: bool,
        polled: bool,
        enabled: bool,
        gave_up: bool,
        /// Looks until the send queue is empty.
        busy: u32,
        /// Numbers of the steps that fail, counted from 1, and how many there were.
        fails: Vec<u32>,
        steps: u32,
    }

    #[derive(Debug, PartialEq, Eq)]
    struct Failed;

    impl Script {
        fn running(map: u32) -> Self {
            Self {
                map: Some(map),
                polled: true,
                enabled: true,
                ..Self::default()
            }
        }

        fn step(&mut self) -> Result<(), Failed> {
            self.steps += 1;
            match self.fails.contains(&self.steps) {
                true => Err(Failed),
                false => Ok(()),
            }
        }

        fn carries_traffic(&self) -> bool {
            !self.holds && self.polled && self.enabled && self.map.is_some()
        }

        /// Asserts that nobody looks at the queues or writes to them.
        fn assert_paused(&self) {
            assert!(self.holds && !self.polled && !self.enabled && self.busy == 0);
        }
    }

    impl Pair for Script {
        type Generation = u32;
        type Prepared = u32;
        type Old = u32;
        type Error = Failed;

        fn uses(&self, generation: &u32) -> bool {
            self.map == Some(*generation)
        }

        fn allocate(&self, generation: &u32) -> Result<u32, Failed> {
            Ok(*generation)
        }

        fn prepared(&mut self) -> &mut Option<u32> {
            &mut self.next
        }

        fn hold_frames(&mut self) {
            self.holds = true;
        }

        fn take_frames(&mut self) {
            assert!(self.enabled && self.polled && self.map.is_some());
            self.holds = false;
        }

        fn is_drained(&mut self) -> bool {
            assert!(self.polled && self.enabled, "nothing drains any more");
            self.busy == 0
        }

        fn wait(&mut self) {
            self.busy = self.busy.saturating_sub(1);
        }

        fn not_drained(&self) -> Failed {
            Failed
        }

        fn stop_polling(&mut self) {
            assert!(self.holds && self.busy == 0 && !self.enabled);
            self.polled = false;
        }

        fn start_polling(&mut self) {
            assert!(self.map.is_some());
            self.polled = true;
        }

        fn set_enabled(&mut self, enabled: bool) -> Result<(), Failed> {
            assert!(enabled || self.holds && self.busy == 0);
            assert!(self.polled, "nobody looks while firmware takes its time");
            self.step()?;
            self.enabled = enabled;
            Ok(())
        }

        fn exchange(&mut self, prepared: u32) -> Result<Option<u32>, Failed> {
            self.assert_paused();
            self.step()?;
            Ok(self.map.replace(prepared))
        }

        fn release_keys(&mut self) {
            self.assert_paused();
            self.map = None;
        }

        fn give_up(&mut self, _error: &Failed) {
            self.gave_up = true;
        }
    }

    #[test]
    fn a_pair_that_is_not_prepared_does_not_pause() {
        let mut pair = Script::running(1);
        prepare(&mut pair, &1).unwrap();
        switch(&mut pair).unwrap();
        assert_eq!(pair.steps, 0);
        prepare(&mut pair, &2).unwrap();
        discard(&mut pair);
        switch(&mut pair).unwrap();
        assert_eq!((pair.steps, pair.map), (0, Some(1)));
    }

    #[test]
    fn a_pair_moves() {
        let mut pair = Script::running(1);
        pair.busy = DRAIN_ATTEMPTS;
        prepare(&mut pair, &2).unwrap();
        switch(&mut pair).unwrap();
        assert!(pair.carries_traffic() && pair.map == Some(2));
        assert_eq!(pair.next, None);
    }

    #[test]
    fn a_pair_that_does_not_drain_goes_on() {
        let mut pair = Script::running(1);
        pair.busy = DRAIN_ATTEMPTS + 1;
        prepare(&mut pair, &2).unwrap();
        assert_eq!(switch(&mut pair), Err(Failed));
        assert!(pair.carries_traffic() && pair.map == Some(1));
        assert_eq!(pair.steps, 0, "it was not asked to pause");
    }

    /// Whatever fails, the pair carries traffic with one of the maps, or the port is reset.
    #[test]
    fn no_pair_is_forgotten() {
        for fails in 0..64u32 {
            let fails: Vec<u32> = (1..=6).filter(|step| fails & 1 << step != 0).collect();
            let mut pair = Script::running(1);
            pair.fails.clone_from(&fails);
            prepare(&mut pair, &2).unwrap();
            let moved = switch(&mut pair).is_ok();
            assert!(pair.gave_up || pair.carries_traffic(), "{fails:?}");
            assert_eq!(pair.map, Some(if moved { 2 } else { 1 }), "{fails:?}");

            // The memory region goes, and another one comes.
            let mut pair = Script::running(1);
            pair.fails.clone_from(&fails);
            if pause(&mut pair).is_ok() {
                pair.assert_paused();
                release_keys_and_go_on(&mut pair);
            } else {
                go_on(&mut pair, &1).unwrap();
            }
            assert!(pair.gave_up || pair.carries_traffic(), "{fails:?}");
        }
    }

    fn release_keys_and_go_on(pair: &mut Script) {
        pair.release_keys();
        if go_on(pair, &2) == Err(Failed) {
            // As its caller does.
            pair.gave_up = true;
        }
    }
}
