// SPDX-License-Identifier: GPL-2.0
//! What a port is connected to.

use std::os::fd::OwnedFd;

/// The host side of a port.
#[derive(Debug)]
pub enum Netdev {
    /// QEMU's user-mode network: the guest reaches the host as 10.0.2.2.
    User,
    /// One end of a datagram or sequenced-packet socket pair: one frame (without CRC) in each message.
    /// The frame generator of a test holds the other end.
    Socket(OwnedFd),
    /// Any other backend in QEMU's syntax, without an id: `hubport,hubid=0`, `user,restrict=on` …
    Spec(String),
    /// Nothing: the port exists and has no peer.
    None,
}

impl Netdev {
    /// The value of QEMU's `-netdev`, with `fd` the number under which QEMU inherits the socket.
    pub(crate) fn argument(&self, id: &str, fd: i32) -> Option<String> {
        match self {
            Self::User => Some(format!("user,id={id}")),
            Self::Socket(_) => Some(format!("dgram,id={id},local.type=fd,local.str={fd}")),
            Self::Spec(spec) => Some(format!("{spec},id={id}")),
            Self::None => None,
        }
    }

    /// What QEMU is to inherit.
    pub(crate) fn into_socket(self) -> Option<OwnedFd> {
        match self {
            Self::Socket(socket) => Some(socket),
            _ => None,
        }
    }
}

impl From<OwnedFd> for Netdev {
    fn from(fd: OwnedFd) -> Self {
        Self::Socket(fd)
    }
}

impl From<&str> for Netdev {
    /// `user` and `none` are the variants of that name; the rest is a [`Netdev::Spec`].
    fn from(spec: &str) -> Self {
        match spec {
            "user" => Self::User,
            "none" => Self::None,
            _ => Self::Spec(spec.to_owned()),
        }
    }
}
