// SPDX-License-Identifier: GPL-2.0

//! Adapters of one memory map, of which any steps fail.

use std::vec::Vec;

use super::world::{Adapter, Error, Event, Fails, World};
use crate::mr::{Obstacle, Replaced};

/// Number of regions for which most adapters have room. It is more than there ever are.
const ROOMY: usize = 4;

/// Does `event` with failures, and checks what holds whatever fails. Returns whether it had its effect, and how
/// many steps it took.
fn disturbed(rooms: &[usize], event: Event, fails: Fails) -> (bool, u32) {
    let mut world = World::new(rooms);
    world.prepare(event);
    let (before, walks) = (world.map(), world.walks());
    world.fail(fails);
    let result = world.act(event);
    let steps = world.fail(Fails::never());
    assert!(world.walks() <= walks + 1, "more than one walk");
    let published = *world.map() != *before;
    match &result {
        Ok(replaced) => assert_eq!(published, *replaced == Replaced::Published),
        // Firmware has kept the region of the old map after all adapters had moved.
        Err(failure) if failure.error == Error::Obstacle(Obstacle::InReach) => {
            assert!(published && event == Event::Remove);
        }
        Err(_) => assert!(!published, "not as before"),
    }
    world.check();
    if result.is_ok() && event == Event::Remove {
        assert!(!world.reaches(event), "the memory is in reach");
    }
    if fails.is_one() {
        // It harms no adapter but that of which the step is.
        let down = world.adapters.iter().filter(|adapter| !adapter.is_up());
        assert!(down.count() <= 1);
        let failed = result.as_ref().err().and_then(|failure| failure.adapter);
        assert!(failed.is_none_or(|failed| world.are_up_except(failed)));
    }
    // What was refused may succeed even before ports are reset. If it does not, it does no harm.
    let again = match result {
        Ok(_) => Ok(()),
        Err(_) => world.act_again(event).map(drop),
    };
    world.check();
    world.reset();
    world.check();
    assert!(world.adapters.iter().all(Adapter::is_up));
    if again.is_err() {
        world.act_again(event).unwrap();
    }
    world.check();
    assert!(world.is_done(event));
    assert!(world.adapters.iter().all(Adapter::is_up));
    world.end();
    (result.is_ok(), steps)
}

/// Calls `f` with all numbers of regions for which each of several adapters has room.
fn each_room(f: impl Fn(&[usize])) {
    for count in 1..=3 {
        for tight in 0..1 << count {
            let rooms = [0, 1, 2].map(|n| if tight & 1 << n == 0 { ROOMY } else { 1 });
            f(&rooms[..count]);
        }
    }
}

/// Whatever step fails, once or from then on, all adapters carry traffic with one map. A removal that has failed
/// leaves the map as it was.
#[test]
fn any_step_fails() {
    each_room(|rooms| {
        for event in [Event::Add, Event::Remove] {
            let (done, steps) = disturbed(rooms, event, Fails::never());
            assert!(done);
            let mut failed = 0;
            for n in 1..=steps {
                for fails in [Fails::twice(n, 0), Fails::from(n)] {
                    let (done, _) = disturbed(rooms, event, fails);
                    failed += u32::from(!done);
                }
            }
            assert!(failed > steps, "{rooms:?}: {failed} of {steps}");
        }
    });
}

/// The same holds if another step fails, such as one by which the adapters return to the old map.
#[test]
fn any_two_steps_fail() {
    each_room(|rooms| {
        for event in [Event::Add, Event::Remove] {
            let (_, steps) = disturbed(rooms, event, Fails::never());
            for n in 1..=steps {
                let (_, all) = disturbed(rooms, event, Fails::twice(n, 0));
                for later in n + 1..=all {
                    disturbed(rooms, event, Fails::twice(n, later));
                }
            }
        }
    });
}

/// An adapter that has lost its region holds up no other adapter.
#[test]
fn one_that_loses_its_region_is_alone_with_that() {
    let mut world = World::new(&[2, 1, 2]);
    let before = world.map();
    world.adapters[1].refuse_regions(true);
    assert_eq!(world.act(Event::Remove).unwrap_err().adapter, Some(1));
    assert!(*world.map() == *before);
    world.check();
    let up: Vec<bool> = world.adapters.iter().map(Adapter::is_up).collect();
    assert_eq!(up, [true, false, true]);
    world.act_again(Event::Remove).unwrap();
    assert!(!world.reaches(Event::Remove));
    world.check();
    world.adapters[1].refuse_regions(false);
    world.reset();
    world.check();
    assert!(world.adapters.iter().all(Adapter::is_up));
    assert!(!world.reaches(Event::Remove));
    world.end();
}

/// One walk is enough for all adapters, and for one that comes later.
#[test]
fn adapters_come_and_go() {
    let mut world = World::new(&[2]);
    assert_eq!(world.walks(), 1);
    world.join(2);
    world.join(1);
    assert_eq!(world.walks(), 1);
    world.check();
    world.prepare(Event::Add);
    assert_eq!(world.act(Event::Add), Ok(Replaced::Published));
    // The others need the same memory, and have it.
    assert_eq!(world.act(Event::Add), Ok(Replaced::Unchanged));
    assert_eq!(world.walks(), 2);
    world.leave(0);
    world.check();
    assert_eq!(world.act(Event::Remove), Ok(Replaced::Published));
    assert_eq!(world.walks(), 3);
    world.check();
    world.leave(0);
    world.leave(0);
    world.join(2);
    assert_eq!(world.walks(), 3);
    world.check();
    world.end();
}
