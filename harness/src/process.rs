// SPDX-License-Identifier: GPL-2.0
//! Child processes that live as long as this process.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc;
use std::sync::OnceLock;
use std::thread;

type Request = (Command, mpsc::Sender<io::Result<Child>>);

/// Spawns a child process from a thread that never ends. The kernel ties "die with the parent" to
/// the thread that spawned the child, and the thread of a test may end before the guest that it
/// booted.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<mpsc::Sender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = mpsc::channel::<Request>();
        thread::spawn(move || {
            for (mut command, reply) in requests {
                // A caller that is gone needs no answer.
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    let (reply, answer) = mpsc::channel();
    let gone = || io::Error::other("the thread that starts processes has ended");
    spawner.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}
