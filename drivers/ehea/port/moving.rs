// SPDX-License-Identifier: GPL-2.0

//! Move of a queue pair from one memory map to another.
//!
//! The queue pair pauses for the move: it accepts no more frames, the send queue drains, the adapter
//! stops to use it, and nobody polls it. Then all work requests are written again, and it resumes.
//! Everything that takes memory is done before the pause.
//!
//! Completions are handled as long as the adapter may use the queue pair: firmware may take a while
//! to make it pause or resume. While the send queue drains, nobody relies on interrupts: when nothing
//! happens for a moment, the queue pair is looked at.
//!
//! The steps and their order are here. A [`Pair`] does each step: a queue pair of the driver, or,
//! in the tests on the host, one of the adapter model.

/// Number of waits without progress after which a send queue that drains is looked at each time.
pub const LOOK_AFTER: u32 = 3;
/// Number of waits without progress after which a send queue is taken not to drain. The link partner may
/// hold it up.
pub const IDLE_WAITS: u32 = 1000;
/// Number of waits after which it is taken not to drain although it makes progress.
pub const ALL_WAITS: u32 = 10_000;

/// Way in which the last completions of a send queue that had to drain were noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// An interrupt told of them, or they were there already.
    ByInterrupt,
    /// Somebody looked, and no interrupt had told of them.
    ByPoll,
}

/// Failure to write work requests for another map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeError<E> {
    /// All work requests refer to the map before, and to memory that is still there.
    Unchanged(E),
    /// Some refer to memory that is gone, or to another map than the rest. The adapter must not use
    /// them any more.
    Broken(E),
}

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

    /// Returns a number that changes whenever completions of sent frames are handled.
    fn completed(&self) -> u32;

    /// Starts to handle completions of which no interrupt has told.
    fn look(&mut self);

    /// Records the way in which the send queue has drained.
    fn drained(&mut self, how: Drained);

    /// Sleeps for a moment, in which the adapter may send something.
    fn wait(&mut self);

    /// Checks whether the port is about to be closed. Whoever closes it waits for the move.
    fn is_leaving(&self) -> bool;

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
    /// # Errors
    ///
    /// The error says whether the queue pair can resume with the map before.
    fn exchange(
        &mut self,
        prepared: Self::Prepared,
    ) -> Result<Option<Self::Old>, ExchangeError<Self::Error>>;

    /// Returns the place that says whether the queue pair takes part in no move any more: its work requests are
    /// broken, so that it pauses until the port is reset, or the port is about to be closed.
    fn out_of_use(&mut self) -> &mut bool;

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
    if !*pair.out_of_use() && !pair.uses(to) {
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
    if *pair.out_of_use() {
        return Ok(());
    }
    let old = exchange(pair, prepared);
    resume(pair);
    // Dropped here, where it holds up nobody.
    old.map(drop)
}

/// Writes all work requests again. A queue pair that is broken by that has given up.
fn exchange<P: Pair>(pair: &mut P, prepared: P::Prepared) -> Result<Option<P::Old>, P::Error> {
    pair.exchange(prepared).map_err(|error| match error {
        ExchangeError::Unchanged(error) => error,
        ExchangeError::Broken(error) => {
            *pair.out_of_use() = true;
            pair.give_up(&error);
            error
        }
    })
}

/// Makes a queue pair pause. Frames that arrive meanwhile wait in the adapter, and frames to be
/// sent wait in the stack. A queue pair of a port that is about to be closed may not pause; the port is waited for.
///
/// # Errors
///
/// The send queue does not drain, or the adapter refuses. The queue pair carries traffic, or has
/// given up.
pub fn pause<P: Pair>(pair: &mut P) -> Result<(), P::Error> {
    if *pair.out_of_use() {
        return Ok(());
    }
    pair.hold_frames();
    match drain(pair) {
        Drain::Done(how) => pair.drained(how),
        Drain::Stuck => {
            pair.take_frames();
            return Err(pair.not_drained());
        }
        // What it has not sent goes with the port.
        Drain::Leaving => {
            *pair.out_of_use() = true;
            return Ok(());
        }
    }
    // It may have paused even if it fails.
    pair.set_enabled(false).inspect_err(|_| resume(pair))?;
    pair.stop_polling();
    Ok(())
}

/// End of the wait for a send queue that is to drain.
enum Drain {
    /// It has drained.
    Done(Drained),
    /// It does not.
    Stuck,
    /// The port is about to be closed, so it need not.
    Leaving,
}

/// Waits until the send queue has drained.
fn drain<P: Pair>(pair: &mut P) -> Drain {
    let mut how = Drained::ByInterrupt;
    let mut completed = pair.completed();
    let (mut idle, mut all) = (0, 0);
    while !pair.is_drained() {
        if pair.is_leaving() {
            return Drain::Leaving;
        }
        if idle == IDLE_WAITS || all == ALL_WAITS {
            return Drain::Stuck;
        }
        let looked = idle >= LOOK_AFTER;
        if looked {
            pair.look();
        }
        pair.wait();
        idle += 1;
        all += 1;
        let now = pair.completed();
        if now != completed {
            if looked {
                how = Drained::ByPoll;
            }
            completed = now;
            idle = 0;
        }
    }
    Drain::Done(how)
}

/// Resumes a queue pair that pauses, with the map `generation`. A queue pair that does not pause is
/// not affected, nor is one that is broken.
///
/// # Errors
///
/// The queue pair still pauses. The port must be reset.
pub fn go_on<P: Pair>(pair: &mut P, generation: &P::Generation) -> Result<(), P::Error> {
    if !*pair.out_of_use() && !pair.uses(generation) {
        let prepared = pair.allocate(generation)?;
        drop(exchange(pair, prepared)?);
    }
    resume(pair);
    Ok(())
}

/// Resumes a queue pair that pauses, or gives up. One that is broken has given up.
fn resume<P: Pair>(pair: &mut P) {
    if *pair.out_of_use() {
        return;
    }
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
        /// Number of waits until the send queue is empty.
        busy: u32,
        /// Number of frames that are sent, and of which no interrupt has told.
        unnoticed: u32,
        looked: bool,
        /// Number of frames that are not sent, and of waits until the link partner takes one.
        left: u32,
        interval: u32,
        waits: u32,
        /// Number of waits after which somebody wants to close the port.
        leaves_after: Option<u32>,
        completed: u32,
        how: Option<Drained>,
        /// Numbers of the steps that fail, counted from 1, and how many there were.
        fails: Vec<u32>,
        steps: u32,
        /// True if work requests are lost when they cannot be written again.
        fragile: bool,
        broken: bool,
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
            self.busy == 0 && self.unnoticed == 0 && self.left == 0
        }

        fn completed(&self) -> u32 {
            self.completed
        }

        fn look(&mut self) {
            self.looked = true;
        }

        fn drained(&mut self, how: Drained) {
            self.how = Some(how);
        }

        fn wait(&mut self) {
            self.waits += 1;
            self.busy = self.busy.saturating_sub(1);
            if core::mem::take(&mut self.looked) {
                self.completed += core::mem::take(&mut self.unnoticed);
            }
            if self.left > 0 && self.waits.checked_rem(self.interval) == Some(0) {
                self.left -= 1;
                self.completed += 1;
            }
        }

        fn is_leaving(&self) -> bool {
            self.leaves_after.is_some_and(|waits| self.waits >= waits)
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
            assert!(!self.broken, "the adapter uses memory that is gone");
            self.step()?;
            self.enabled = enabled;
            Ok(())
        }

        fn exchange(&mut self, prepared: u32) -> Result<Option<u32>, ExchangeError<Failed>> {
            self.assert_paused();
            self.step().map_err(match self.fragile {
                true => ExchangeError::Broken,
                false => ExchangeError::Unchanged,
            })?;
            Ok(self.map.replace(prepared))
        }

        fn out_of_use(&mut self) -> &mut bool {
            &mut self.broken
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
        pair.busy = IDLE_WAITS;
        prepare(&mut pair, &2).unwrap();
        switch(&mut pair).unwrap();
        assert!(pair.carries_traffic() && pair.map == Some(2));
        assert_eq!(pair.next, None);
        assert_eq!(pair.how, Some(Drained::ByInterrupt));
    }

    /// A lost interrupt costs some waits, and no more.
    #[test]
    fn completions_are_noticed_without_an_interrupt() {
        let mut pair = Script::running(1);
        pair.unnoticed = 5;
        prepare(&mut pair, &2).unwrap();
        switch(&mut pair).unwrap();
        assert!(pair.carries_traffic() && pair.map == Some(2));
        assert_eq!(pair.how, Some(Drained::ByPoll));
        assert_eq!(pair.waits, LOOK_AFTER + 1);
    }

    /// The time without progress counts, not that for all frames.
    #[test]
    fn a_slow_partner_is_waited_for() {
        let mut pair = Script::running(1);
        (pair.left, pair.interval) = (3, IDLE_WAITS);
        prepare(&mut pair, &2).unwrap();
        switch(&mut pair).unwrap();
        assert!(pair.carries_traffic() && pair.map == Some(2));
        assert_eq!(pair.waits, 3 * IDLE_WAITS);
    }

    #[test]
    fn a_slow_partner_is_not_waited_for_without_end() {
        let mut pair = Script::running(1);
        (pair.left, pair.interval) = (1000, IDLE_WAITS);
        prepare(&mut pair, &2).unwrap();
        assert_eq!(switch(&mut pair), Err(Failed));
        assert!(pair.carries_traffic() && pair.map == Some(1));
        assert_eq!((pair.waits, pair.how), (ALL_WAITS, None));
    }

    /// Frames that go with a port are not waited for by whoever closes it.
    #[test]
    fn a_port_that_is_closed_is_not_waited_for() {
        let mut pair = Script::running(1);
        (pair.busy, pair.leaves_after) = (IDLE_WAITS, Some(5));
        prepare(&mut pair, &2).unwrap();
        switch(&mut pair).unwrap();
        assert_eq!((pair.waits, pair.steps, pair.map), (5, 0, Some(1)));
        assert!(pair.holds && pair.enabled && pair.polled && !pair.gave_up);
        // Nothing happens to it any more.
        prepare(&mut pair, &3).unwrap();
        switch(&mut pair).unwrap();
        pause(&mut pair).unwrap();
        go_on(&mut pair, &3).unwrap();
        assert_eq!((pair.waits, pair.steps, pair.map), (5, 0, Some(1)));
    }

    #[test]
    fn a_pair_that_does_not_drain_goes_on() {
        let mut pair = Script::running(1);
        pair.busy = IDLE_WAITS + 1;
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

    /// Whatever fails, the adapter never uses a pair again whose work requests are broken, and the port is
    /// reset.
    #[test]
    fn a_broken_pair_pauses_until_the_port_is_reset() {
        let mut broken = 0;
        for fails in 0..64u32 {
            let fails: Vec<u32> = (1..=6).filter(|step| fails & 1 << step != 0).collect();
            let mut pair = Script::running(1);
            (pair.fails, pair.fragile) = (fails.clone(), true);
            prepare(&mut pair, &2).unwrap();
            let moved = switch(&mut pair);
            assert!(pair.gave_up || pair.carries_traffic(), "{fails:?}");
            if !pair.broken {
                continue;
            }
            broken += 1;
            assert_eq!(moved, Err(Failed));
            assert!(pair.gave_up);
            // Others go on meanwhile, with this map or another one.
            for map in [1, 3] {
                prepare(&mut pair, &map).unwrap();
                switch(&mut pair).unwrap();
                pause(&mut pair).unwrap();
                go_on(&mut pair, &map).unwrap();
                discard(&mut pair);
            }
            pair.assert_paused();
        }
        assert!(broken > 0);
    }

    fn release_keys_and_go_on(pair: &mut Script) {
        pair.release_keys();
        if go_on(pair, &2) == Err(Failed) {
            // As its caller does.
            pair.gave_up = true;
        }
    }
}
