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

/// Bytes that wait in each direction before the sender is held back.
const BUFFER: usize = 1 << 20;

/// One end of a socket pair; QEMU has the other. One message is one frame without CRC. Neither end
/// loses frames: one that can't take more holds the other back.
#[derive(Debug)]
pub struct Port {
    socket: OwnedFd,
}

impl Port {
    /// A port and the end for QEMU (`Netdev::Socket`).
    pub fn new() -> Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .context("cannot make a socket pair")?;
        for end in [&ours, &theirs] {
            // Beyond the system's limit if allowed, else as much as it gives.
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

    /// Sends a frame; false if the other end can't take it now.
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

    /// Receives a frame if there is one, and returns its length.
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

    /// Waits until a frame has come, or can be sent if `to_send`; not longer than `timeout`.
    pub fn wait(&self, to_send: bool, timeout: Duration) -> Result<()> {
        wait(&[(self, true, to_send)], timeout)
    }

    /// Waits until a frame can be sent; not longer than `timeout`.
    pub fn wait_to_send(&self, timeout: Duration) -> Result<()> {
        wait(&[(self, false, true)], timeout)
    }

    /// Throws away the frames that wait.
    pub fn drain(&self) -> Result<()> {
        let mut buffer = [0; 1 << 16];
        while self.try_receive(&mut buffer)?.is_some() {}
        Ok(())
    }
}

/// Waits until one of the ports can receive (first flag) or send (second flag), for `timeout` at most.
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
