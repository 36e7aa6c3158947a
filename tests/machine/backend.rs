// SPDX-License-Identifier: GPL-2.0
//! The other end of a port's wire: slow, gone, or cut off in the middle of a frame.

use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};

use anyhow::{bail, ensure, Context, Result};
use ehea_harness::Machine;
use ehea_model::stats::{PortStats, Stats};
use rustix::net::{
    shutdown, socketpair, sockopt, AddressFamily, Shutdown, SocketFlags, SocketType,
};

/// Number of frames in a pass of the firmware `sender`.
const FRAMES: u64 = 32767;
/// Length of each frame in bytes.
const FRAME: usize = 224;

/// Number of bytes that wait on the peer's side of a connection.
const RECEIVE_BUFFER: usize = 16 << 10;

/// The peer of a `stream` netdev.
struct Peer {
    listener: TcpListener,
}

/// A connection of QEMU to the peer.
struct Connection(TcpStream);

impl Peer {
    fn new() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen")?;
        // The sender's buffer has no room for a pass, but the receiver's would grow. Connections
        // inherit this size.
        sockopt::set_socket_recv_buffer_size(&listener, RECEIVE_BUFFER)?;
        Ok(Self { listener })
    }

    /// Returns a machine with the firmware `sender`, connected to the peer.
    fn start(&self) -> Result<(Machine, Connection)> {
        let port = self.listener.local_addr()?.port();
        let netdev = format!(
            "stream,server=off,reconnect-ms=10,addr.type=inet,addr.host=127.0.0.1,addr.port={port}"
        );
        let machine = Machine::builder("sender")
            .netdev(&*netdev)
            .qemu_args(["-S"])
            .start()?;
        let connection = self.accept(&machine)?;
        machine.resume()?;
        Ok((machine, connection))
    }

    fn accept(&self, machine: &Machine) -> Result<Connection> {
        let (connection, _) = self.listener.accept()?;
        machine.wait_connected()?;
        Ok(Connection(connection))
    }
}

impl Connection {
    /// Reads a frame. Returns the pass to which it belongs, or `None` at the end.
    fn frame(&mut self) -> Result<Option<u64>> {
        let mut length = [0; 4];
        match self.0.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let length = u32::from_be_bytes(length);
        ensure!(length as usize == FRAME, "a frame of {length:#x} bytes");
        let mut frame = [0; FRAME];
        self.0.read_exact(&mut frame)?;
        let pass = frame[0];
        let whole = frame.iter().take_while(|&&byte| byte == pass).count();
        ensure!(
            whole == FRAME,
            "a frame of pass {pass} ends after {whole} bytes"
        );
        Ok(Some(pass.into()))
    }

    /// Reads until all frames of pass `wanted` have arrived. Returns the number of frames of other
    /// passes.
    fn pass(&mut self, wanted: u64) -> Result<u64> {
        let (mut got, mut others) = (0, 0);
        while got < FRAMES {
            match self.frame()? {
                Some(pass) if pass == wanted => got += 1,
                Some(_) => others += 1,
                None => bail!("the end after {got} frames"),
            }
        }
        Ok(others)
    }
}

fn port(machine: &Machine) -> Result<PortStats> {
    let stats: Stats = machine.stats()?;
    stats.ports.into_iter().next().context("no port")
}

/// Waits until the adapter waits for a peer that does not read.
fn wait_busy(machine: &Machine) -> Result<()> {
    machine.wait_until("the port waits", || {
        let port = port(machine)?;
        ensure!(port.tx_frames < FRAMES, "nobody holds the port back");
        Ok(port.tx_busy)
    })
}

/// Waits until the adapter is done with all frames of the first `passes` passes. Returns the number
/// of frames that were lost because the link was down.
fn wait_rid(machine: &Machine, passes: u64) -> Result<u64> {
    machine.wait_until("the port goes on", || {
        let port = port(machine)?;
        Ok(port.tx_frames + port.tx_errors == passes * FRAMES)
    })?;
    Ok(port(machine)?.tx_errors)
}

/// Resets the machine and reads the frames that it then sends. Returns the number of frames of
/// earlier passes.
fn works_after_reset(machine: &Machine, connection: &mut Connection) -> Result<u64> {
    machine.reset()?;
    connection.pass(2)
}

/// A reset in the middle of a frame: the peer still gets the rest of the frame.
pub(crate) fn reset_in_mid_frame() -> Result<()> {
    let peer = Peer::new()?;
    let (machine, mut connection) = peer.start()?;
    machine.run(|machine| {
        wait_busy(machine)?;
        let old = works_after_reset(machine, &mut connection)?;
        ensure!(old > 0 && old < FRAMES, "{old} frames before the reset");
        Ok(())
    })
}

/// QEMU stops in the middle of a frame: it loses the frames that wait, but not the rest of that
/// one.
pub(crate) fn stop_in_mid_frame() -> Result<()> {
    let peer = Peer::new()?;
    let (machine, mut connection) = peer.start()?;
    machine.run(|machine| {
        wait_busy(machine)?;
        machine.pause()?;
        machine.resume()?;
        works_after_reset(machine, &mut connection)?;
        Ok(())
    })
}

/// A peer closes the connection and comes back.
pub(crate) fn peer_comes_back() -> Result<()> {
    let peer = Peer::new()?;
    let (machine, connection) = peer.start()?;
    machine.run(|machine| {
        wait_busy(machine)?;
        drop(connection);
        let errors = wait_rid(machine, 1)?;
        ensure!(errors == 0, "the link was down for {errors} frames");
        let mut connection = peer.accept(machine)?;
        works_after_reset(machine, &mut connection)?;
        Ok(())
    })
}

/// A peer ends the connection of a `dgram` netdev without having read what it got.
pub(crate) fn peer_is_gone() -> Result<()> {
    let (family, kind, flags) = (
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
    );
    let (ours, theirs) = socketpair(family, kind, flags, None).context("cannot make sockets")?;
    let machine = Machine::builder("sender").netdev(theirs).start()?;
    machine.run(|machine| {
        wait_busy(machine)?;
        shutdown(&ours, Shutdown::Both)?;
        wait_rid(machine, 1).map(drop)
    })
}

/// Function that takes the link down or brings it up.
type Link = fn(&Machine, bool) -> Result<()>;

fn link_goes_down(set: Link) -> Result<()> {
    let peer = Peer::new()?;
    let (machine, mut connection) = peer.start()?;
    machine.run(|machine| {
        wait_busy(machine)?;
        set(machine, false)?;
        let errors = wait_rid(machine, 1)?;
        ensure!(errors > 0, "no frame was lost");
        set(machine, true)?;
        let old = works_after_reset(machine, &mut connection)?;
        ensure!(old > 0 && old < FRAMES, "{old} frames before the reset");
        Ok(())
    })
}

/// The link goes down, by command of the monitor, while half of a frame is sent.
pub(crate) fn netdev_link_goes_down() -> Result<()> {
    link_goes_down(Machine::set_netdev_link)
}

/// The link goes down, by the adapter's property, while half of a frame is sent.
pub(crate) fn port_link_goes_down() -> Result<()> {
    link_goes_down(Machine::set_port_link)
}

/// The netdev is deleted while half of a frame is sent.
pub(crate) fn netdev_is_deleted() -> Result<()> {
    let peer = Peer::new()?;
    let (machine, _connection) = peer.start()?;
    machine.run(|machine| {
        wait_busy(machine)?;
        machine.remove_netdev()?;
        let errors = wait_rid(machine, 1)?;
        ensure!(errors > 0, "no frame was lost");
        Ok(())
    })
}
