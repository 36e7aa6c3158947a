// SPDX-License-Identifier: GPL-2.0
//! Receiver of whatever a port sends.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{bail, Result};

use super::Port;

/// Sink that receives and counts frames until it is stopped.
#[derive(Debug)]
pub struct Sink {
    stop: Arc<AtomicBool>,
    frames: Arc<AtomicU64>,
    thread: JoinHandle<Result<()>>,
}

impl Sink {
    /// Starts to receive.
    pub fn new(port: Arc<Port>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let frames = Arc::new(AtomicU64::new(0));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&frames));
        let thread = thread::spawn(move || {
            let mut buffer = [0; 1 << 16];
            while !stopped.load(Ordering::Relaxed) {
                match port.try_receive(&mut buffer)? {
                    Some(_) => drop(counted.fetch_add(1, Ordering::Relaxed)),
                    None => port.wait(false, Duration::from_millis(20))?,
                }
            }
            Ok(())
        });
        Self {
            stop,
            frames,
            thread,
        }
    }

    /// Returns the number of frames received so far.
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Stops the sink and returns the number of frames that arrived.
    pub fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(result) => result.map(|()| self.frames.load(Ordering::Relaxed)),
            Err(_) => bail!("the thread that receives frames panicked"),
        }
    }
}
