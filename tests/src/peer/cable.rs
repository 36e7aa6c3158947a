// SPDX-License-Identifier: GPL-2.0
//! A patch cable between two ports.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{bail, Result};

use super::port::{wait, Port};

/// A cable that carries every frame from one port to the other until it is pulled.
#[derive(Debug)]
pub struct Cable {
    stop: Arc<AtomicBool>,
    counts: Arc<[Counts; 2]>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug, Default)]
struct Counts {
    frames: AtomicU64,
    bytes: AtomicU64,
}

/// Counts of what a cable carried in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Number of frames.
    pub frames: u64,
    /// Number of bytes, without CRC.
    pub bytes: u64,
}

struct Direction<'a> {
    from: &'a Port,
    to: &'a Port,
    counts: &'a Counts,
    frame: Vec<u8>,
    length: usize,
}

impl Direction<'_> {
    /// Moves what can be moved. Returns whether anything was.
    fn step(&mut self) -> Result<bool> {
        let mut moved = false;
        loop {
            if self.length == 0 {
                match self.from.try_receive(&mut self.frame)? {
                    Some(length) => self.length = length,
                    None => return Ok(moved),
                }
            }
            if !self.to.try_send(&self.frame[..self.length])? {
                return Ok(moved);
            }
            self.counts.frames.fetch_add(1, Ordering::Relaxed);
            self.counts
                .bytes
                .fetch_add(self.length as u64, Ordering::Relaxed);
            self.length = 0;
            moved = true;
        }
    }
}

impl Cable {
    /// Connects two ports.
    pub fn new(a: Arc<Port>, b: Arc<Port>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let counts = Arc::<[Counts; 2]>::default();
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&counts));
        let thread = thread::spawn(move || {
            let direction = |from, to, counts| Direction {
                from,
                to,
                counts,
                frame: vec![0; 1 << 16],
                length: 0,
            };
            let mut there = direction(&*a, &*b, &counted[0]);
            let mut back = direction(&*b, &*a, &counted[1]);
            while !stopped.load(Ordering::Relaxed) {
                if !there.step()? & !back.step()? {
                    // A frame that was taken waits for its receiver and keeps its sender waiting.
                    let (full, other) = (there.length > 0, back.length > 0);
                    wait(
                        &[(&a, !full, other), (&b, !other, full)],
                        Duration::from_millis(50),
                    )?;
                }
            }
            Ok(())
        });
        Self {
            stop,
            counts,
            thread: Some(thread),
        }
    }

    /// Returns what was carried from the first port to the second, and back.
    pub fn carried(&self) -> [Carried; 2] {
        self.counts.each_ref().map(|counts| Carried {
            frames: counts.frames.load(Ordering::Relaxed),
            bytes: counts.bytes.load(Ordering::Relaxed),
        })
    }

    /// Disconnects the ports. Returns what was carried.
    pub fn pull(mut self) -> Result<[Carried; 2]> {
        self.stop()?;
        Ok(self.carried())
    }

    fn stop(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(_)) => bail!("the cable's thread panicked"),
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // If the guest is gone, there is nothing left to report.
        let _ = self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Plan;
    use rustix::net::{recv, send, RecvFlags, SendFlags};

    #[test]
    fn a_cable_carries_both_ways_and_counts() {
        // generator - (port a) cable (port b) - reflector
        let (generator, cable_end) = Port::new().unwrap();
        let a = Port::from_socket(cable_end);
        let (b, reflector) = Port::new().unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 1 << 16];
            while let Ok((length @ 1.., _)) = recv(&reflector, &mut buffer, RecvFlags::empty()) {
                if send(&reflector, &buffer[..length], SendFlags::NOSIGNAL).is_err() {
                    break;
                }
            }
        });
        let cable = Cable::new(Arc::new(a), Arc::new(b));
        let summary = Plan::new(1, 2000, |n| 60 + n as usize % 1455)
            .run(&generator)
            .unwrap();
        summary.flawless().unwrap();
        let [there, back] = cable.pull().unwrap();
        assert_eq!((there.frames, there), (2000, back));
        assert_eq!(there.bytes, summary.bytes + 2000 * 14);
    }
}
