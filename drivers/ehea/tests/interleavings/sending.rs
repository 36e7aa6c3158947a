// SPDX-License-Identifier: GPL-2.0

//! Posting against completion.

use ehea_core::abi::cqe::CqeStatus;
use ehea_core::abi::ring::{QueueSize, SlotSize};
use ehea_core::queue::{SendCompleter, SentWork};
use loom::sync::atomic::{
    fence, AtomicBool, AtomicU32,
    Ordering::{Relaxed, SeqCst},
};
use loom::sync::{Arc, Mutex};
use loom::thread;

use crate::hold::{Bit, Hold};
use crate::interleave;
use crate::progress::SendProgress;
use crate::{SendPoster, WorkQueue};

const EMPTY: u32 = u32::MAX;

fn queue() -> WorkQueue {
    WorkQueue::new(QueueSize::MIN, SlotSize::B512)
}

/// State that both sides share.
struct Ring {
    progress: SendProgress,
    /// True if the transmit queue of the network device is stopped.
    stopped: AtomicBool,
    /// State of the queue: held or running.
    hold: Hold,
    /// Contents of two slots that are used in turn: the number of the frame. Read and written like
    /// plain memory.
    slots: [AtomicU32; 2],
    /// Contents of a bounce slot.
    bounce: AtomicU32,
}

impl Ring {
    fn new() -> Arc<Self> {
        let ring = Arc::new(Self {
            progress: SendProgress::new(&queue()),
            stopped: AtomicBool::new(true),
            hold: Hold::new(),
            slots: [(); 2].map(|()| AtomicU32::new(EMPTY)),
            bounce: AtomicU32::new(EMPTY),
        });
        ring.hold.run(&*ring);
        ring
    }
}

// The kernel changes the bit by atomic operations that read and write it.
impl Bit for Ring {
    fn stop(&self) {
        self.stopped.swap(true, Relaxed);
    }

    fn wake(&self) {
        self.stopped.swap(false, Relaxed);
    }
}

/// The posting side: what the lock of the transmit queue protects.
struct Sender {
    ring: Arc<Ring>,
    poster: SendPoster,
    bounces_taken: u32,
}

impl Sender {
    /// Returns a sender that has posted `posted` frames, none of them in the slots that are
    /// examined.
    fn new(ring: &Arc<Ring>, posted: u32) -> Self {
        let mut poster = SendPoster::new(&queue());
        for _ in 0..posted {
            let ticket = poster.reserve(poster.posted(), false).unwrap();
            poster.post(&ticket);
        }
        ring.progress.set_posted(posted);
        Self {
            ring: ring.clone(),
            poster,
            bounces_taken: 0,
        }
    }

    /// Transmits a frame for the stack. Returns false and stops the queue if the frame is refused.
    fn transmit(&mut self) -> bool {
        if self.ring.hold.is_held() {
            return false;
        }
        if self.poster.free(self.ring.progress.completed()) == 0 {
            self.stop();
            return false;
        }
        let ticket = self.poster.reserve(self.ring.progress.completed(), false);
        self.poster.post(&ticket.unwrap());
        self.ring.progress.set_posted(self.poster.posted());
        true
    }

    /// Stops the queue as `netif_txq_try_stop()` does.
    fn stop(&mut self) {
        self.ring.stop();
        fence(SeqCst);
        let completed = self.ring.progress.completed_count();
        if self.poster.free(completed) >= self.poster.wake_from() {
            self.ring.wake();
        }
    }
}

/// The completing side.
struct Completer {
    ring: Arc<Ring>,
    /// Copy of the posting side, which makes the same tickets.
    twin: SendPoster,
    completer: SendCompleter,
}

impl Completer {
    /// Returns a completer that has completed `completed` frames.
    fn new(ring: &Arc<Ring>, completed: u32) -> Self {
        let mut completer = Self {
            ring: ring.clone(),
            twin: SendPoster::new(&queue()),
            completer: SendCompleter::new(&queue()),
        };
        for _ in 0..completed {
            completer.complete(completed);
        }
        ring.progress.set_completed(completed);
        completer
    }

    /// Completes the next frame, which the adapter has sent.
    fn complete(&mut self, posted: u32) {
        let ticket = self.twin.reserve(self.completer.completed(), false);
        let ticket = ticket.unwrap();
        self.twin.post(&ticket);
        let sent = SentWork {
            wr_id: ticket.wr_id,
            status: CqeStatus::default(),
        };
        self.completer.complete(sent, posted).unwrap();
    }

    /// Handles up to `limit` completions of an adapter that sends everything at once.
    fn poll(&mut self, limit: u32) {
        let posted = self.ring.progress.posted();
        let count = limit.min(posted.wrapping_sub(self.completer.completed()));
        if count == 0 {
            return;
        }
        for _ in 0..count {
            self.complete(posted);
        }
        let completed = self.completer.completed();
        self.ring.progress.set_completed(completed);
        let may_wake = self.ring.progress.may_wake(completed);
        // As `__netif_txq_completed_wake()` does it.
        fence(SeqCst);
        if may_wake && self.ring.stopped.load(Relaxed) && !self.ring.hold.is_held() {
            self.ring.wake();
            self.ring.hold.settle(&*self.ring);
        }
    }
}

/// A queue that was stopped because it was full is woken, whenever it was stopped.
#[test]
fn no_wake_is_lost() {
    let capacity = queue().send_capacity();
    interleave(3, move || {
        let ring = Ring::new();
        let mut sender = Sender::new(&ring, capacity - 1);
        let mut completer = Completer::new(&ring, 0);
        let sending = thread::spawn(move || {
            assert!(sender.transmit());
            // The queue is full, unless something is completed by now.
            sender.transmit();
        });
        completer.poll(capacity / 8);
        completer.poll(u32::MAX);
        sending.join().unwrap();
        completer.poll(u32::MAX);
        assert!(!ring.stopped.load(SeqCst), "stopped for ever");
    });
}

/// A queue that was stopped because it was full is woken, also if the queue pair pauses and
/// resumes.
#[test]
fn no_wake_is_lost_in_a_pause() {
    let capacity = queue().send_capacity();
    interleave(3, move || {
        let ring = Ring::new();
        // The lock of the transmit queue.
        let sender = Arc::new(Mutex::new(Sender::new(&ring, capacity - 1)));
        let mut completer = Completer::new(&ring, 0);
        let set_paused = |sender: &Mutex<Sender>, paused| {
            let sender = sender.lock().unwrap();
            if paused {
                sender.ring.hold.hold(&*sender.ring);
            } else {
                sender.ring.hold.run(&*sender.ring);
            }
        };
        let pausing = {
            let sender = sender.clone();
            thread::spawn(move || {
                set_paused(&sender, true);
                let posted = sender.lock().unwrap().poster.posted();
                set_paused(&sender, false);
                posted
            })
        };
        let sending = {
            let sender = sender.clone();
            thread::spawn(move || {
                let mut sender = sender.lock().unwrap();
                if !sender.ring.stopped.load(Relaxed) {
                    let held = sender.ring.hold.is_held();
                    assert_eq!(sender.transmit(), !held);
                }
            })
        };
        completer.poll(u32::MAX);
        pausing.join().unwrap();
        sending.join().unwrap();
        completer.poll(u32::MAX);
        assert!(!ring.stopped.load(SeqCst), "stopped for ever");
    });
}

/// A held queue stays stopped while frames are completed.
#[test]
fn a_held_queue_is_not_woken() {
    let capacity = queue().send_capacity();
    interleave(3, move || {
        let ring = Ring::new();
        let mut sender = Sender::new(&ring, capacity);
        let mut completer = Completer::new(&ring, 0);
        // Full.
        assert!(!sender.transmit());
        let holding = thread::spawn(move || sender.ring.hold.hold(&*sender.ring));
        completer.poll(capacity / 2);
        completer.poll(u32::MAX);
        holding.join().unwrap();
        assert!(ring.stopped.load(SeqCst), "woken");
    });
}

/// The side that completes a frame sees what was written to its slot. The side that uses a slot
/// again sees that it was emptied.
#[test]
fn slots_are_handed_over_whole() {
    interleave(3, || {
        let ring = Ring::new();
        let mut sender = Sender::new(&ring, 0);
        let mut completer = Completer::new(&ring, 0);
        let sending = {
            let ring = ring.clone();
            thread::spawn(move || {
                for n in 0..4 {
                    // Of the many slots of the ring, two are examined.
                    let completed = ring.progress.completed();
                    if sender.poster.posted() - completed == 2 {
                        return;
                    }
                    let slot = &ring.slots[n as usize % 2];
                    assert_eq!(slot.load(Relaxed), EMPTY, "not emptied");
                    slot.store(n, Relaxed);
                    assert!(sender.transmit());
                }
            })
        };
        for _ in 0..2 {
            let posted = ring.progress.posted();
            for n in completer.completer.completed()..posted {
                completer.complete(posted);
                let slot = &ring.slots[n as usize % 2];
                assert_eq!(slot.load(Relaxed), n, "not written");
                slot.store(EMPTY, Relaxed);
            }
            ring.progress.set_completed(completer.completer.completed());
        }
        sending.join().unwrap();
    });
}

/// The same holds for a bounce slot, which is free again before its frame counts as completed.
#[test]
fn bounce_slots_are_handed_over_whole() {
    interleave(3, || {
        let ring = Ring::new();
        let mut sender = Sender::new(&ring, 0);
        let mut completer = Completer::new(&ring, 0);
        let sending = {
            let ring = ring.clone();
            thread::spawn(move || {
                for n in 0..3 {
                    if sender.bounces_taken != ring.progress.bounces_returned() {
                        // No bounce slot is free.
                        thread::yield_now();
                        continue;
                    }
                    assert_eq!(ring.bounce.load(Relaxed), EMPTY, "not sent yet");
                    ring.bounce.store(n, Relaxed);
                    sender.bounces_taken += 1;
                    assert!(sender.transmit());
                }
            })
        };
        let mut returned = 0;
        for _ in 0..2 {
            let posted = ring.progress.posted();
            for _ in completer.completer.completed()..posted {
                completer.complete(posted);
                assert_ne!(ring.bounce.load(Relaxed), EMPTY, "not written");
                ring.bounce.store(EMPTY, Relaxed);
                returned += 1;
                ring.progress.set_bounces_returned(returned);
            }
        }
        sending.join().unwrap();
    });
}
