// SPDX-License-Identifier: GPL-2.0
//! Sending of numbered frames to a guest that reflects them, and checks of what comes back.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{bail, Result};

use super::{
    header, pattern, split, Checker, Port, Summary, ETHERNET_HEADER, MAX_FRAME, TEST_ETHERTYPE,
    VLAN_ETHERTYPE,
};

/// Time after which a frame is sent beyond the window if nothing comes back, because the frames in
/// the window may be lost.
const PROBE: Duration = Duration::from_millis(250);

/// Time for which earlier frames are still waited for after each that arrives, once the frame with
/// the highest number has come back. Frames that take different ways overtake each other.
const STRAGGLERS: Duration = Duration::from_secs(3);

/// Number of rounds of sending and receiving, on average, between random pauses.
const PAUSE_ODDS: u32 = 500;

/// Description of the frames to send.
#[derive(Clone)]
pub struct Plan {
    stream: u32,
    count: u64,
    window: u64,
    patience: Duration,
    /// Longest pause, if there are any.
    pauses: Option<Duration>,
    length: Arc<dyn Fn(u64) -> usize + Send + Sync>,
    destination: Arc<dyn Fn(u64) -> [u8; 6] + Send + Sync>,
    tci: Arc<dyn Fn(u64) -> Option<u16> + Send + Sync>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} frames in stream {}", self.count, self.stream)
    }
}

impl Plan {
    /// Returns a plan for `count` frames, whose lengths (without CRC) `length` returns for their
    /// numbers.
    pub fn new(
        stream: u32,
        count: u64,
        length: impl Fn(u64) -> usize + Send + Sync + 'static,
    ) -> Self {
        Self {
            stream,
            count,
            window: 128,
            patience: Duration::from_secs(60),
            pauses: None,
            length: Arc::new(length),
            destination: Arc::new(|_| [0xff; 6]),
            tci: Arc::new(|_| None),
        }
    }

    /// Sends the frames to `destination`; by default they are broadcast.
    pub fn to(self, destination: [u8; 6]) -> Self {
        self.to_each(move |_| destination)
    }

    /// Sends the frames to the addresses that `destination` returns for their numbers.
    pub fn to_each(mut self, destination: impl Fn(u64) -> [u8; 6] + Send + Sync + 'static) -> Self {
        self.destination = Arc::new(destination);
        self
    }

    /// Adds an 802.1Q tag, which does not count in the frame's length. `tci` returns its control
    /// information (priority and VLAN) for the number of a frame. A frame must come back with the
    /// same tag.
    pub fn tagged(mut self, tci: impl Fn(u64) -> Option<u16> + Send + Sync + 'static) -> Self {
        self.tci = Arc::new(tci);
        self
    }

    /// Sets the maximum number of frames under way; 128 by default.
    pub fn window(mut self, frames: u64) -> Self {
        self.window = frames;
        self
    }

    /// Sets the time without any frame after which missing frames count as lost; a minute by
    /// default.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Neither sends nor takes frames now and then, at random, for up to `longest`.
    pub fn pauses(mut self, longest: Duration) -> Self {
        self.pauses = Some(longest);
        self
    }

    /// Sends the frames and waits for all of them to come back.
    pub fn run(&self, port: &Port) -> Result<Summary> {
        self.run_until(port, &AtomicBool::new(false), &AtomicU64::new(0))
    }

    /// Sends frames in the background until it is told to stop.
    pub fn start(self, port: Arc<Port>) -> Traffic {
        let stop = Arc::new(AtomicBool::new(false));
        let progress = Arc::new(AtomicU64::new(0));
        let (stopped, made) = (Arc::clone(&stop), Arc::clone(&progress));
        let thread = thread::spawn(move || self.run_until(&port, &stopped, &made));
        Traffic {
            stop,
            progress,
            thread,
        }
    }

    fn payload_length(&self, sequence: u64) -> usize {
        (self.length)(sequence).clamp(ETHERNET_HEADER + pattern::HEADER, MAX_FRAME)
            - ETHERNET_HEADER
    }

    /// Returns the frame with the number `sequence`.
    fn frame(&self, sequence: u64) -> Vec<u8> {
        let destination = (self.destination)(sequence);
        let mut frame = match (self.tci)(sequence) {
            None => header(destination, TEST_ETHERTYPE).to_vec(),
            Some(tci) => {
                let mut frame = header(destination, VLAN_ETHERTYPE).to_vec();
                frame.extend(tci.to_be_bytes());
                frame.extend(TEST_ETHERTYPE.to_be_bytes());
                frame
            }
        };
        let at = frame.len();
        frame.resize(at + self.payload_length(sequence), 0);
        pattern::fill(&mut frame[at..], self.stream, sequence);
        frame
    }

    /// Returns the payload of one of these frames, or `None` if the frame does not have the tag
    /// with which it was sent.
    fn payload<'a>(&self, frame: &'a [u8]) -> Option<&'a [u8]> {
        let (ethertype, rest) = split(frame)?;
        let (tci, payload) = match ethertype {
            TEST_ETHERTYPE => (None, rest),
            VLAN_ETHERTYPE => {
                let (tag, payload) = rest.split_first_chunk::<4>()?;
                let [tci, ethertype] = [[tag[0], tag[1]], [tag[2], tag[3]]].map(u16::from_be_bytes);
                (ethertype == TEST_ETHERTYPE).then_some((Some(tci), payload))?
            }
            _ => return None,
        };
        let wanted = pattern::sequence(payload).and_then(|sequence| (self.tci)(sequence));
        (tci == wanted).then_some(payload)
    }

    fn run_until(&self, port: &Port, stop: &AtomicBool, progress: &AtomicU64) -> Result<Summary> {
        let mut checker = Checker::new(self.stream);
        let mut sent = 0;
        let mut count = self.count;
        let mut buffer = [0; 1 << 16];
        let mut frame = Vec::new();
        let mut last = Instant::now();
        let mut probe = last;
        // What is random is the same each time.
        let mut random = fastrand::Rng::with_seed(self.stream.into());
        let patience = |checker: &Checker, count| match checker.next() < count {
            true => self.patience,
            false => self.patience.min(STRAGGLERS),
        };
        while checker.lacks(count) && last.elapsed() < patience(&checker, count) {
            if stop.load(Ordering::Relaxed) {
                count = count.min(sent);
            }
            if let Some(longest) = self.pauses {
                if random.u32(..PAUSE_ODDS) == 0 {
                    thread::sleep(longest.mul_f64(random.f64()));
                }
            }
            let mut blocked = false;
            while sent < count && (sent < checker.next() + self.window || probe.elapsed() > PROBE) {
                if frame.is_empty() {
                    frame = self.frame(sent);
                }
                blocked = !port.try_send(&frame)?;
                if blocked {
                    break;
                }
                frame.clear();
                sent += 1;
                probe = Instant::now();
            }
            let mut came = false;
            while let Some(length) = port.try_receive(&mut buffer)? {
                if let Some(payload) = self.payload(&buffer[..length]) {
                    checker.take(payload, |n| self.payload_length(n));
                    came = true;
                }
            }
            if came {
                last = Instant::now();
                probe = last;
                progress.store(checker.received(), Ordering::Relaxed);
            } else {
                port.wait(blocked, Duration::from_millis(20))?;
            }
        }
        Ok(checker.finish(sent))
    }
}

/// Receives the payloads of the frames that `payload` recognises, until `count` have arrived or
/// none has arrived for `patience`.
pub fn collect(
    port: &Port,
    checker: &mut Checker,
    count: u64,
    patience: Duration,
    payload: impl Fn(&[u8]) -> Result<Option<&[u8]>>,
) -> Result<()> {
    let mut buffer = [0; 1 << 16];
    let mut last = Instant::now();
    while checker.lacks(count) && last.elapsed() < patience {
        let Some(length) = port.try_receive(&mut buffer)? else {
            port.wait(false, Duration::from_millis(20))?;
            continue;
        };
        if let Some(payload) = payload(&buffer[..length])? {
            checker.take(payload, |_| payload.len());
            last = Instant::now();
        }
    }
    Ok(())
}

/// Frames that are being sent in the background.
#[derive(Debug)]
pub struct Traffic {
    stop: Arc<AtomicBool>,
    progress: Arc<AtomicU64>,
    thread: JoinHandle<Result<Summary>>,
}

impl Traffic {
    /// Returns the number of frames that have come back so far.
    pub fn received(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// Waits until `more` frames have come back from now on.
    pub fn wait_progress(&self, more: u64, patience: Duration) -> Result<()> {
        let goal = self.received() + more;
        let start = Instant::now();
        while self.received() < goal {
            if start.elapsed() > patience || self.thread.is_finished() {
                bail!("traffic has stopped");
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Stops sending, waits for what is under way, and returns the result.
    pub fn stop(self) -> Result<Summary> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(summary) => summary,
            Err(_) => bail!("the traffic generator panicked"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;

    /// Sends back what arrives, changed by `alter`, which may drop or add frames.
    fn reflector(
        socket: OwnedFd,
        mut alter: impl FnMut(u64, Vec<u8>) -> Vec<Vec<u8>> + Send + 'static,
    ) {
        thread::spawn(move || {
            use rustix::net::{recv, send, RecvFlags, SendFlags};
            let mut buffer = [0; 1 << 16];
            for number in 0.. {
                let Ok((length @ 1.., _)) = recv(&socket, &mut buffer, RecvFlags::empty()) else {
                    return;
                };
                for frame in alter(number, buffer[..length].to_vec()) {
                    if send(&socket, &frame, SendFlags::NOSIGNAL).is_err() {
                        return;
                    }
                }
            }
        });
    }

    fn plan(count: u64) -> Plan {
        Plan::new(3, count, |n| 60 + (n as usize * 37) % 8955).patience(Duration::from_millis(600))
    }

    #[test]
    fn a_faithful_reflector_is_flawless() {
        let (port, socket) = Port::new().unwrap();
        reflector(socket, |_, frame| vec![frame]);
        let summary = plan(3000).run(&port).unwrap();
        assert_eq!(summary.received, 3000);
        summary.flawless().unwrap();
    }

    #[test]
    fn who_comes_late_is_waited_for() {
        use crate::peer::pattern;
        let (port, socket) = Port::new().unwrap();
        for number in [3, 0, 1, 2] {
            let mut payload = [0; 64];
            pattern::fill(&mut payload, 3, number);
            rustix::net::send(&socket, &payload, rustix::net::SendFlags::NOSIGNAL).unwrap();
        }
        let mut checker = Checker::new(3);
        collect(&port, &mut checker, 4, Duration::from_secs(10), |frame| {
            Ok(Some(frame))
        })
        .unwrap();
        let summary = checker.finish(4);
        assert_eq!((summary.lost, summary.reordered), (0, 3));
    }

    #[test]
    fn who_is_overtaken_at_the_end_is_waited_for() {
        let (port, socket) = Port::new().unwrap();
        let later = socket.try_clone().unwrap();
        let mut held = Vec::new();
        reflector(socket, move |number, frame| match number {
            // The frame is on its way for so long that the stream's last frame is back long before
            // it.
            97 => {
                held.push(frame);
                vec![]
            }
            99 => {
                let (later, held) = (later.try_clone().unwrap(), std::mem::take(&mut held));
                thread::spawn(move || {
                    thread::sleep(Duration::from_millis(50));
                    for frame in held {
                        rustix::net::send(&later, &frame, rustix::net::SendFlags::NOSIGNAL)
                            .unwrap();
                    }
                });
                vec![frame]
            }
            _ => vec![frame],
        });
        let summary = plan(100).run(&port).unwrap();
        assert_eq!((summary.lost, summary.received), (0, 100), "{summary}");
    }

    #[test]
    fn an_unfaithful_one_is_found_out() {
        let (port, socket) = Port::new().unwrap();
        let mut held = None;
        reflector(socket, move |number, mut frame| match number {
            10 => vec![],
            20 => vec![frame.clone(), frame],
            30 => {
                held = Some(frame);
                vec![]
            }
            32 => vec![frame, held.take().unwrap()],
            40 => {
                frame[33] ^= 1;
                vec![frame]
            }
            _ => vec![frame],
        });
        let summary = plan(1000).run(&port).unwrap();
        assert_eq!(
            (
                summary.lost,
                summary.duplicated,
                summary.reordered,
                summary.corrupted
            ),
            (1, 1, 1, 1),
            "{summary}"
        );
    }

    #[test]
    fn a_window_of_lost_frames_does_not_end_the_stream() {
        let (port, socket) = Port::new().unwrap();
        reflector(socket, |number, frame| {
            if (100..130).contains(&number) {
                vec![]
            } else {
                vec![frame]
            }
        });
        let summary = plan(500)
            .window(16)
            .patience(Duration::from_secs(30))
            .run(&port)
            .unwrap();
        assert_eq!((summary.lost, summary.received), (30, 470), "{summary}");
        summary.sound().unwrap();
    }

    #[test]
    fn background_traffic_ends_when_told() {
        let (port, socket) = Port::new().unwrap();
        reflector(socket, |_, frame| vec![frame]);
        let traffic = plan(u64::MAX).start(Arc::new(port));
        traffic.wait_progress(500, Duration::from_secs(60)).unwrap();
        let summary = traffic.stop().unwrap();
        assert!(summary.sent >= 500);
        summary.flawless().unwrap();
    }
}
