// SPDX-License-Identifier: GPL-2.0
//! The host's end of a port's netdev.

use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{
    recv, send, socketpair, sockopt, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType,
};

/// Number of bytes that wait in each direction before the sender is held back.
const BUFFER: usize = 1 << 20;

/// One end of a socket pair, of which QEMU has the other. One message is one frame without CRC.
/// Neither end loses frames: an end that cannot take more holds the other back.
#[derive(Debug)]
pub struct Port {
    socket: OwnedFd,
}

impl Port {
    /// Returns a port and QEMU's end (`Netdev::Socket`).
    pub fn new() -> Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .context("cannot make a socket pair")?;
        for end in [&ours, &theirs] {
            // The size exceeds the system's limit if that is allowed, else it is as much as the
            // system gives.
            if sockopt::set_socket_send_buffer_size_force(end, BUFFER).is_err() {
                sockopt::set_socket_send_buffer_size(end, BUFFER)?;
            }
        }
        Ok((Self { socket: ours }, theirs))
    }

    #[cfg(test)]
    pub(super) fn from_socket(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// Sends a frame. Returns false if the other end cannot take it now.
    pub fn try_send(&self, frame: &[u8]) -> Result<bool> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match send(&self.socket, frame, flags) {
            Ok(length) => {
                ensure!(length == frame.len(), "a frame was cut");
                Ok(true)
            }
            Err(Errno::AGAIN | Errno::NOBUFS) => Ok(false),
            Err(error) => Err(error).context("the guest's netdev is gone"),
        }
    }

    /// Receives a frame and returns its length, or returns `None` if there is none.
    pub fn try_receive(&self, buffer: &mut [u8]) -> Result<Option<usize>> {
        match recv(
            &self.socket,
            &mut *buffer,
            RecvFlags::DONTWAIT | RecvFlags::TRUNC,
        ) {
            Ok((_, 0)) => Err(anyhow::anyhow!("the guest's netdev is gone")),
            Ok((_, length)) => {
                ensure!(length <= buffer.len(), "a frame of {length} bytes");
                Ok(Some(length))
            }
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error).context("the guest's netdev is gone"),
        }
    }

    /// Waits until a frame has arrived or, if `to_send`, can be sent, but not longer than
    /// `timeout`.
    pub fn wait(&self, to_send: bool, timeout: Duration) -> Result<()> {
        wait(&[(self, true, to_send)], timeout)
    }

    /// Waits until a frame can be sent, but not longer than `timeout`.
    pub fn wait_to_send(&self, timeout: Duration) -> Result<()> {
        wait(&[(self, false, true)], timeout)
    }

    /// Discards the frames that wait.
    pub fn drain(&self) -> Result<()> {
        let mut buffer = [0; 1 << 16];
        while self.try_receive(&mut buffer)?.is_some() {}
        Ok(())
    }
}

/// Waits until one of the ports can receive (first flag) or send (second flag), but not longer than
/// `timeout`.
pub(super) fn wait(ports: &[(&Port, bool, bool)], timeout: Duration) -> Result<()> {
    let mut fds: Vec<_> = ports
        .iter()
        .map(|(port, receive, send)| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, *receive);
            flags.set(PollFlags::OUT, *send);
            PollFd::new(&port.socket, flags)
        })
        .collect();
    let timeout = Timespec::try_from(timeout)?;
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error).context("poll"),
    }
}
