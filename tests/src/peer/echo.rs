// SPDX-License-Identifier: GPL-2.0
//! Answers ping.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{bail, ensure, Result};

use super::inet::{packet, sum};
use super::{Port, ETHERNET_HEADER};

const ICMP_PROTOCOL: u8 = 1;
const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;

/// Responder that answers ICMP echo requests which arrive at a port, until it is stopped. It
/// discards everything else.
#[derive(Debug)]
pub struct Echo {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64>>,
}

impl Echo {
    /// Starts to answer.
    pub fn new(port: Arc<Port>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut buffer = [0; 1 << 16];
            let mut answered = 0;
            while !stopped.load(Ordering::Relaxed) {
                let Some(length) = port.try_receive(&mut buffer)? else {
                    port.wait(false, Duration::from_millis(20))?;
                    continue;
                };
                let Some(answer) = answer(&buffer[..length])? else {
                    continue;
                };
                while !port.try_send(&answer)? {
                    port.wait_to_send(Duration::from_millis(20))?;
                }
                answered += 1;
            }
            Ok(answered)
        });
        Self { stop, thread }
    }

    /// Stops the responder. Returns the number of requests that arrived, or an error if one of them
    /// was wrong.
    pub fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(answered) => answered,
            Err(_) => bail!("the thread that answers ping panicked"),
        }
    }
}

/// Returns the answer to an echo request, or `None` for anything else.
fn answer(frame: &[u8]) -> Result<Option<Vec<u8>>> {
    let Some(packet) = packet(frame, ICMP_PROTOCOL)? else {
        return Ok(None);
    };
    if packet.payload.first() != Some(&ECHO_REQUEST) {
        return Ok(None);
    }
    ensure!(sum(packet.payload, 0) == 0xffff, "a wrong ICMP checksum");
    let icmp = ETHERNET_HEADER + packet.header.len();
    let mut answer = frame[..icmp + packet.payload.len()].to_vec();
    let swap = |bytes: &mut [u8]| bytes.rotate_left(bytes.len() / 2);
    swap(&mut answer[..12]);
    // The checksum of the header stays the same.
    swap(&mut answer[ETHERNET_HEADER + 12..ETHERNET_HEADER + 20]);
    answer[icmp] = ECHO_REPLY;
    answer[icmp + 2..icmp + 4].fill(0);
    let checksum = !sum(&answer[icmp..], 0);
    answer[icmp + 2..icmp + 4].copy_from_slice(&checksum.to_be_bytes());
    Ok(Some(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request of a Linux host, from 10.0.0.1 to 10.0.0.2, with eight bytes of payload.
    const REQUEST: [u8; 50] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0, 0, 1, 0x08, 0x00, //
        0x45, 0, 0, 36, 0x12, 0x34, 0x40, 0, 64, 1, 0x14, 0xa3, 10, 0, 0, 1, 10, 0, 0, 2, //
        8, 0, 0xdf, 0xc0, 0x12, 0x34, 0, 1, 1, 2, 3, 4, 1, 2, 1, 2,
    ];

    #[test]
    fn a_request_is_answered() {
        let answer = answer(&REQUEST).unwrap().unwrap();
        assert_eq!(answer[..6], REQUEST[6..12]);
        let packet = packet(&answer, ICMP_PROTOCOL).unwrap().unwrap();
        assert_eq!(packet.header[12..], [10, 0, 0, 2, 10, 0, 0, 1]);
        assert_eq!(
            (packet.payload[0], sum(packet.payload, 0)),
            (ECHO_REPLY, 0xffff)
        );
        assert_eq!(packet.payload[4..], REQUEST[38..]);
    }

    #[test]
    fn only_right_requests_are_answered() {
        let mut other = REQUEST;
        other[34] = ECHO_REPLY;
        assert!(answer(&other).unwrap().is_none());
        let mut wrong = REQUEST;
        wrong[45] ^= 1;
        assert!(answer(&wrong).is_err());
    }
}
