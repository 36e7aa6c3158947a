// SPDX-License-Identifier: GPL-2.0
//! The host side of a port: it generates numbered frames, checks what comes back, and connects
//! ports.
//!
//! Every frame carries a stream, a sequence number, its length and a pattern that depends on all of
//! them (see [`pattern`]). [`Checker`] can therefore detect and distinguish loss, duplication,
//! reordering and corruption. The guest's side is the program in `guest-tools/`.

pub mod pattern;

mod cable;
mod checker;
mod echo;
mod exchange;
mod inet;
mod packets;
mod port;
mod segments;
mod sink;
mod udp;

pub use cable::{Cable, Carried};
pub use checker::{Checker, Summary};
pub use echo::Echo;
pub use exchange::{collect, Plan, Traffic};
pub use packets::{Endpoint, Flow};
pub use port::Port;
pub use segments::{collect_segments, Segmented, FIRST_SEQUENCE, TCP_PORT};
pub use sink::Sink;
pub use udp::udp_payload;

/// Length of the shortest frame, without CRC.
pub const MIN_FRAME: usize = 60;
/// Length of the longest frame, without CRC: an MTU of 9000 and the Ethernet header.
pub const MAX_FRAME: usize = 9014;
/// Length of an Ethernet header in bytes.
pub const ETHERNET_HEADER: usize = 14;
/// Ethertype of numbered frames: IEEE Std 802 local experimental 1.
pub const TEST_ETHERTYPE: u16 = 0x88b5;
/// Ethertype of the frame that ends a series: IEEE Std 802 local experimental 2.
pub const END_ETHERTYPE: u16 = 0x88b6;
/// Ethertype of an 802.1Q tag.
pub const VLAN_ETHERTYPE: u16 = 0x8100;
/// Address of the peer.
pub const PEER_ADDRESS: [u8; 6] = [0x52, 0x54, 0x00, 0xea, 0xff, 0x01];

/// Returns the Ethertype of a frame, and what follows the Ethernet header.
fn split(frame: &[u8]) -> Option<(u16, &[u8])> {
    let (header, payload) = frame.split_at_checked(ETHERNET_HEADER)?;
    let &[high, low] = header.last_chunk::<2>()?;
    Some((u16::from_be_bytes([high, low]), payload))
}

/// Returns an Ethernet header.
fn header(destination: [u8; 6], ethertype: u16) -> [u8; ETHERNET_HEADER] {
    let mut header = [0; ETHERNET_HEADER];
    header[..6].copy_from_slice(&destination);
    header[6..12].copy_from_slice(&PEER_ADDRESS);
    header[12..].copy_from_slice(&ethertype.to_be_bytes());
    header
}

/// Returns a frame of `length` bytes that no socket in the guest asks for.
pub fn idle_frame(destination: [u8; 6], length: usize) -> Vec<u8> {
    let mut frame = header(destination, TEST_ETHERTYPE).to_vec();
    frame.resize(length, 0);
    frame
}

/// Returns the frame that `ehea-net await` waits for.
pub fn end_frame(destination: [u8; 6]) -> Vec<u8> {
    let mut frame = header(destination, END_ETHERTYPE).to_vec();
    frame.resize(MIN_FRAME, 0);
    frame
}
