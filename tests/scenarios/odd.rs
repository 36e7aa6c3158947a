// SPDX-License-Identifier: GPL-2.0
//! Frames whose headers or lengths are not what the adapter is made for. Anybody with a packet
//! socket or a virtual machine can pass them to the driver, and none of them may disturb the port.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{anyhow, ensure, Context, Result};
use ehea_tests::checks::offload::Offloads;
use ehea_tests::counters::resets;
use ehea_tests::lab::{port_address, text, wait_until, Lab};
use ehea_tests::peer::{Plan, PEER_ADDRESS, TEST_ETHERTYPE};

/// Checks whether a frame is an IPv4 frame from port 1.
fn is_packet(frame: &[u8]) -> bool {
    frame.get(6..12) == Some(&port_address(1)) && frame.get(12..14) == Some(&[8, 0])
}

/// A port, and the effects of the frames that it was given.
struct Odd<'a> {
    lab: &'a Lab,
    name: String,
    /// Kinds of frames that caused a reset of the port.
    resets: Vec<String>,
    /// Kinds of frames that neither arrived nor were counted as dropped.
    vanished: Vec<String>,
}

impl<'a> Odd<'a> {
    fn new(lab: &'a Lab, mtu: usize) -> Result<Self> {
        lab.load()?;
        Ok(Self {
            lab,
            name: lab.up(1, mtu)?,
            resets: Vec::new(),
            vanished: Vec::new(),
        })
    }

    fn dropped(&self) -> Result<u64> {
        let text = self.lab.sh(&format!(
            "cd /sys/class/net/{}/statistics && cat tx_dropped tx_errors tx_aborted_errors",
            self.name
        ))?;
        text.lines().map(|line| Ok(line.parse::<u64>()?)).sum()
    }

    /// Makes the guest send a frame of a kind and a correct frame after it. Returns the number of
    /// frames of that kind that arrived.
    fn send(&mut self, kind: &str, command: &str, is_one: fn(&[u8]) -> bool) -> Result<u64> {
        let lab = self.lab;
        let port = lab.port(1)?;
        let (before, dropped) = (resets(lab, &self.name)?, self.dropped()?);
        port.drain()?;
        if lab.sh(command)?.starts_with("refused") {
            return Ok(0);
        }
        let after = lab
            .guest()
            .spawn(&format!("./ehea-net blast {} 1 60 251", self.name))?;
        let (mut came, mut over) = (0, false);
        let mut buffer = [0; 1 << 16];
        wait_until(&format!("what becomes of {kind} is known"), || {
            while let Some(length) = port.try_receive(&mut buffer)? {
                let frame = &buffer[..length];
                came += u64::from(is_one(frame));
                over |= frame.get(12..14) == Some(&TEST_ETHERTYPE.to_be_bytes());
            }
            Ok(over || resets(lab, &self.name)? > before)
        })?;
        let output = after.wait()?;
        ensure!(output.success(), "{output}");
        lab.carrier(&self.name, true)?;
        if resets(lab, &self.name)? > before {
            self.resets.push(kind.to_owned());
        } else if came == 0 && self.dropped()? == dropped {
            self.vanished.push(kind.to_owned());
        }
        Ok(came)
    }

    fn vnet(&mut self, kind: &str) -> Result<u64> {
        let command = format!(
            "./ehea-net vnet {} {} {kind}",
            self.name,
            text(PEER_ADDRESS)
        );
        self.send(kind, &command, is_packet)
    }

    /// Fails unless the port still works and no kind of frame caused a reset.
    fn end(self) -> Result<()> {
        self.lab.port(1)?.drain()?;
        let reflector = self.lab.reflect(&self.name)?;
        let plan = Plan::new(250, 50, |n| 60 + 20 * n as usize).to(port_address(1));
        plan.run(self.lab.port(1)?)?.flawless()?;
        reflector.stop()?;
        self.lab.unload()?;
        ensure!(
            self.vanished.is_empty(),
            "neither sent nor counted: {}",
            self.vanished.join(", ")
        );
        ensure!(
            self.resets.is_empty(),
            "each had the port reset: {}.",
            self.resets.join(", ")
        );
        Ok(())
    }
}

/// A frame with correct headers for the device is treated as they say.
pub(crate) fn right_headers(lab: &Lab) -> Result<()> {
    let mut odd = Odd::new(lab, 1500)?;
    for (kind, frames) in [("tcp", 1), ("udp", 1), ("padded", 1), ("segments", 9)] {
        let came = odd.vnet(kind)?;
        ensure!(came == frames, "{kind}: {came} frames instead of {frames}");
    }
    odd.end()
}

/// The headers for the device ask for checksums where the headers of the frame have none.
pub(crate) fn wrong_checksums(lab: &Lab) -> Result<()> {
    let mut odd = Odd::new(lab, 1500)?;
    for kind in [
        "inner",
        "udp-field",
        "tcp-field",
        "start-in-ip",
        "total-beyond",
        "total-tiny",
        "header-longer",
        "header-zero",
        "version",
        "fragment",
        "short-total-beyond",
        "short-header-longer",
    ] {
        odd.vnet(kind)?;
    }
    odd.end()
}

/// Packets are to be cut in a way that is impossible.
pub(crate) fn wrong_segments(lab: &Lab) -> Result<()> {
    let mut odd = Odd::new(lab, 9000)?;
    for kind in [
        "segments-of-udp",
        "segments-long-header",
        "segments-total",
        "segments-9014",
        "segments-12000",
        "segments-30000",
    ] {
        odd.vnet(kind)?;
    }
    odd.end()
}

/// The longest frame of a VLAN within a VLAN has two tags more than the MTU allows.
pub(crate) fn too_long(lab: &Lab) -> Result<()> {
    let mut odd = Odd::new(lab, 9000)?;
    let name = odd.name.clone();
    lab.sh(&format!(
        "ip link add link {name} name outer type vlan id 5 && \
         ip link add link outer name inner type vlan id 7 && ip link set outer up && ip link set inner up && \
         ip addr add 10.89.0.1/24 dev inner && \
         ip neigh replace 10.89.0.2 lladdr {} nud permanent dev inner",
        text(PEER_ADDRESS)
    ))
    .context("VLANs")?;
    let is_tagged = |frame: &[u8]| frame.get(12..14) == Some(&[0x81, 0]) && frame.len() > 300;
    // These are the longest that fits the wire and the longest of the MTU.
    for (kind, length) in [("9018 bytes", 8968), ("9022 bytes", 8972)] {
        let command = format!("ping -c 1 -W 1 -M do -s {length} 10.89.0.2 >/dev/null; true");
        odd.send(kind, &command, is_tagged)?;
    }
    lab.sh("ip link del inner; ip link del outer")?;
    odd.end()
}

/// Number of frames that are wrong at random, for each of the two seeds.
const RANDOM: u64 = 5000;

/// Runs a command in the guest and takes the frames that come out of port 1 meanwhile, so that the
/// port is never held up. Returns the output of the command.
fn run_and_drain(lab: &Lab, command: &str) -> Result<String> {
    let port = lab.port(1)?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let drain = scope.spawn(|| -> Result<()> {
            while !done.load(Relaxed) {
                port.drain()?;
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        });
        let output = lab.sh(command);
        done.store(true, Relaxed);
        drain
            .join()
            .map_err(|_| anyhow!("the thread that takes frames panicked"))??;
        output
    })
}

/// Frames that are wrong at random, in any respect that a sender can choose.
pub(crate) fn anything(lab: &Lab) -> Result<()> {
    let mut odd = Odd::new(lab, 9000)?;
    let offloads = Offloads::start(lab, 1)?;
    for seed in [1, 2] {
        let command = format!(
            "./ehea-net odd {} {} {seed} {RANDOM}",
            odd.name,
            text(PEER_ADDRESS)
        );
        let taken: u64 = run_and_drain(lab, &command)?.trim().parse()?;
        // The kernel refuses some of the headers itself.
        ensure!(taken > RANDOM / 4, "only {taken} of {RANDOM} were taken");
        odd.send(&format!("random {seed}"), "true", |_| true)?;
    }
    // Those that are right are left to the adapter.
    let (checksums, segmented) = offloads.since(lab)?;
    ensure!(
        checksums > RANDOM / 100 && segmented > RANDOM / 1000,
        "the adapter filled in only {checksums} checksums and cut only {segmented} packets"
    );
    odd.end()
}
