// SPDX-License-Identifier: GPL-2.0
//! The host side of a port's connection.

use std::os::fd::OwnedFd;

/// The host side of a port.
#[derive(Debug)]
pub enum Netdev {
    /// QEMU's user-mode network, in which the guest reaches the host as 10.0.2.2.
    User,
    /// One end of a socket pair for datagrams or sequenced packets. Each message holds one frame,
    /// without CRC. The frame generator of a test has the other end.
    Socket(OwnedFd),
    /// Any other backend in QEMU's syntax, without an id, such as `hubport,hubid=0` or
    /// `user,restrict=on`.
    Spec(String),
    /// No backend: the port exists and has no peer.
    None,
}

impl Netdev {
    /// Returns the value of QEMU's option `-netdev`. `fd` is the number under which QEMU inherits
    /// the socket.
    pub(crate) fn argument(&self, id: &str, fd: i32) -> Option<String> {
        match self {
            Self::User => Some(format!("user,id={id}")),
            Self::Socket(_) => Some(format!("dgram,id={id},local.type=fd,local.str={fd}")),
            Self::Spec(spec) => Some(format!("{spec},id={id}")),
            Self::None => None,
        }
    }

    /// Returns the socket that QEMU is to inherit, if there is one.
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
    /// Parses a netdev. `user` and `none` stand for the variants of that name, everything else for
    /// a [`Netdev::Spec`].
    fn from(spec: &str) -> Self {
        match spec {
            "user" => Self::User,
            "none" => Self::None,
            _ => Self::Spec(spec.to_owned()),
        }
    }
}
