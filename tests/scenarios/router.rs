// SPDX-License-Identifier: GPL-2.0
//! A guest that forwards packets from one port to the other, in a network namespace.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Result};
use ehea_tests::checks::offload::Offloads;
use ehea_tests::counters::resets;
use ehea_tests::lab::{port_address, text, wait_until, Lab};
use ehea_tests::peer::{
    collect, collect_segments, pattern, udp_payload, Checker, Endpoint, Flow, Port, FIRST_SEQUENCE,
    PEER_ADDRESS, TCP_PORT,
};

use crate::observe::parse_queues;

const PATIENCE: Duration = Duration::from_secs(60);
/// Name of the network namespace.
const ROUTER: &str = "router";
/// Addresses of the router at port 2 and of the hosts behind the ports.
const OUTSIDE: [u8; 4] = [10, 86, 0, 1];
const CLIENT: [u8; 4] = [10, 85, 0, 2];
const SERVER: [u8; 4] = [10, 86, 0, 2];
const UDP_PORT: u16 = 4001;

/// Returns a flow from the client to the server, through port 1.
fn flow(from: u16, to: u16) -> Flow {
    Flow {
        station: port_address(1),
        from: (CLIENT, from),
        to: (SERVER, to),
    }
}

/// Sends frames to the guest, which holds back a sender that sends too many.
fn send(port: &Port, frames: impl IntoIterator<Item = Vec<u8>>) -> Result<()> {
    let start = Instant::now();
    for frame in frames {
        while !port.try_send(&frame)? {
            ensure!(start.elapsed() < PATIENCE, "the port takes no frames");
            port.wait_to_send(Duration::from_millis(20))?;
        }
    }
    Ok(())
}

/// Router with a port on each side, which have the interfaces `names`.
pub(crate) struct Router<'a> {
    lab: &'a Lab,
    names: [String; 2],
}

impl<'a> Router<'a> {
    pub(crate) fn new(lab: &'a Lab, mtu: usize) -> Result<Self> {
        lab.load()?;
        let names = [lab.interface(1)?, lab.interface(2)?];
        lab.sh(&format!(
            "ip netns add {ROUTER} && ip netns exec {ROUTER} sysctl -qw net.ipv4.ip_forward=1"
        ))?;
        for (net, name) in [(85, &names[0]), (86, &names[1])] {
            lab.sh(&format!(
                "ip link set {name} netns {ROUTER} && \
                 ip -n {ROUTER} addr add 10.{net}.0.1/24 dev {name} && \
                 ip -n {ROUTER} link set {name} mtu {mtu} up && \
                 ip -n {ROUTER} neigh replace 10.{net}.0.2 lladdr {} nud permanent dev {name}",
                text(PEER_ADDRESS)
            ))?;
            wait_until("a carrier", || {
                let carrier = format!("ip netns exec {ROUTER} cat /sys/class/net/{name}/carrier");
                Ok(lab.sh(&carrier)? == "1")
            })?;
        }
        Ok(Self { lab, names })
    }

    fn sh(&self, command: &str) -> Result<String> {
        self.lab.sh(&format!("ip netns exec {ROUTER} {command}"))
    }

    pub(crate) fn remove(self) -> Result<()> {
        for name in &self.names {
            self.lab
                .sh(&format!("ip -n {ROUTER} link set {name} netns 1"))?;
            let resets = resets(self.lab, name)?;
            ensure!(resets == 0, "{name}: {resets} resets");
        }
        self.lab.sh(&format!("ip netns del {ROUTER}"))?;
        self.lab.unload()
    }
}

/// TCP segments arrive at port 1 and leave through port 2 unchanged. In between they are long
/// packets: the stack puts them together, and the adapter cuts them. As a control, there are no
/// long packets with GRO off.
pub(crate) fn gro_in_tso_out(lab: &Lab) -> Result<()> {
    const MSS: usize = 1448;
    // The number is several times what the receive queue has buffers for.
    const PACKETS: u64 = 200;
    const LENGTH: usize = 20 * MSS + 100;
    let router = Router::new(lab, 1500)?;
    for (stream, gro) in [(240, "on"), (241, "off")] {
        let [near, _] = &router.names;
        router.sh(&format!("ethtool -K {near} gro {gro}"))?;
        let watch = lab.watch_in(ROUTER, near)?;
        let offloads = Offloads::start(lab, 2)?;
        let port = Arc::clone(lab.port(1)?);
        let sender = thread::spawn(move || {
            let segments = (0..PACKETS).flat_map(move |number| {
                let mut payload = vec![0; LENGTH];
                pattern::fill(&mut payload, stream, number);
                let sequence = FIRST_SEQUENCE.wrapping_add((number as usize * LENGTH) as u32);
                flow(4000, TCP_PORT).segments(number, sequence, &payload, MSS)
            });
            send(&port, segments)
        });
        let came = collect_segments(lab.port(2)?, stream, PACKETS, PATIENCE, |_| LENGTH)?;
        match sender.join() {
            Ok(sent) => sent?,
            Err(_) => bail!("the sender panicked"),
        }
        came.summary.flawless()?;
        let count = PACKETS * LENGTH.div_ceil(MSS) as u64;
        ensure!(
            came.segments == count && came.longest == MSS,
            "{} segments instead of {count}, the longest of {} bytes",
            came.segments,
            came.longest
        );
        let seen = watch.stop()?.received;
        let (checksums, segmented) = offloads.since(lab)?;
        ensure!(
            seen.checksums == seen.packets,
            "the adapter has verified checksums of {} packets only: {seen:?}",
            seen.checksums
        );
        match gro {
            "on" => ensure!(
                seen.long > 0
                    && seen.packets < count / 2
                    && segmented > 0
                    && checksums >= segmented,
                "{count} segments: {seen:?}; the adapter has cut {segmented} packets"
            ),
            _ => ensure!(
                seen.long == 0 && seen.packets == count && segmented == 0,
                "{count} segments without GRO: {seen:?}; the adapter has cut {segmented} packets"
            ),
        }
    }
    router.remove()
}

/// Number of frames that [`forward_on_all_queues`] sends.
const SPREAD: u64 = 1280;

/// Sends many flows through the router. Fails unless all frames arrive, unchanged, and each of the four receive queues gets
/// its share.
pub(crate) fn forward_on_all_queues(router: &Router<'_>, stream: u32) -> Result<()> {
    const FLOWS: u64 = 64;
    let lab = router.lab;
    let received = || -> Result<Vec<u64>> {
        let text = router.sh(&format!("./ehea-net queues {}", router.names[0]))?;
        let (queues, _) = parse_queues(&text)?;
        let received = queues.iter().filter(|queue| queue.kind == "rx");
        Ok(received.map(|queue| queue.frames).collect())
    };
    let before = received()?;
    let port = Arc::clone(lab.port(1)?);
    let sender = thread::spawn(move || {
        let datagram = |number: u64| {
            let from = 5000 + (number % FLOWS) as u16;
            let length = 18 + (number as usize * 61) % 1400;
            flow(from, UDP_PORT).numbered(stream, number, length)
        };
        send(&port, (0..SPREAD).map(datagram))
    });
    let mut checker = Checker::new(stream);
    collect(lab.port(2)?, &mut checker, SPREAD, PATIENCE, |frame| {
        udp_payload(frame, UDP_PORT)
    })?;
    match sender.join() {
        Ok(sent) => sent?,
        Err(_) => bail!("the sender panicked"),
    }
    let summary = checker.finish(SPREAD);
    // Queues overtake each other.
    ensure!(
        summary.lost + summary.duplicated + summary.corrupted == 0,
        "{summary}"
    );
    let after = received()?;
    ensure!(
        after.len() == 4
            && after
                .iter()
                .zip(&before)
                .all(|(after, before)| after - before > SPREAD / 16),
        "not on all queues: {before:?}, then {after:?}"
    );
    Ok(())
}

/// Many flows are received by all queues and forwarded unchanged.
pub(crate) fn all_queues(lab: &Lab) -> Result<()> {
    let router = Router::new(lab, 1500)?;
    forward_on_all_queues(&router, 242)?;
    router.remove()
}

/// Packets that rules of nft let through are forwarded with another source address, and so are the
/// answers. All others are dropped.
pub(crate) fn nft(lab: &Lab) -> Result<()> {
    const COUNT: u64 = 200;
    const DROPPED: u64 = 50;
    const STREAM: u32 = 243;
    let router = Router::new(lab, 9000)?;
    let far = router.names[1].clone();
    lab.sh(&format!(
        "cat >/run/rules <<END\n\
         table inet scenario {{\n\
         chain forward {{\n\
         type filter hook forward priority filter; policy drop;\n\
         ct state established,related accept\n\
         udp dport {UDP_PORT} accept\n\
         counter comment \"dropped\"\n\
         }}\n\
         chain postrouting {{\n\
         type nat hook postrouting priority srcnat;\n\
         oifname \"{far}\" masquerade\n\
         }}\n\
         }}\n\
         END\n\
         ip netns exec {ROUTER} nft -f /run/rules"
    ))?;
    let [near_port, far_port] = [lab.port(1)?, lab.port(2)?];
    let length = |n: u64| 18 + (n as usize * 89) % 8900;
    send(
        near_port,
        (0..DROPPED).map(|n| flow(6000, UDP_PORT + 1).numbered(STREAM, n, length(n))),
    )?;
    send(
        near_port,
        (0..COUNT).map(|n| flow(6000 + (n % 8) as u16, UDP_PORT).numbered(STREAM, n, length(n))),
    )?;
    let mut checker = Checker::new(STREAM);
    let sources: std::cell::RefCell<BTreeSet<Endpoint>> = Default::default();
    collect(far_port, &mut checker, COUNT, PATIENCE, |frame| {
        let payload = udp_payload(frame, UDP_PORT)?;
        if payload.is_some() {
            sources.borrow_mut().insert(source(frame)?);
        }
        Ok(payload)
    })?;
    checker.finish(COUNT).flawless()?;
    let sources = sources.into_inner();
    ensure!(
        sources.len() == 8 && sources.iter().all(|(address, _)| *address == OUTSIDE),
        "the sources are {sources:?}"
    );
    let dropped = router.sh("nft list chain inet scenario forward")?;
    ensure!(
        dropped.contains(&format!("counter packets {DROPPED} ")),
        "{dropped}"
    );

    let answers = sources.iter().enumerate().map(|(n, &to)| {
        let flow = Flow {
            station: port_address(2),
            from: (SERVER, UDP_PORT),
            to,
        };
        flow.numbered(STREAM + 1, n as u64, 300)
    });
    send(far_port, answers)?;
    let mut checker = Checker::new(STREAM + 1);
    let to: std::cell::RefCell<BTreeSet<u16>> = Default::default();
    collect(near_port, &mut checker, 8, PATIENCE, |frame| {
        for port in 6000..6008 {
            if let Some(payload) = udp_payload(frame, port)? {
                to.borrow_mut().insert(port);
                return Ok(Some(payload));
            }
        }
        Ok(None)
    })?;
    checker.finish(8).flawless()?;
    ensure!(to.into_inner().len() == 8, "not all clients were answered");
    router.sh("nft flush ruleset")?;
    router.remove()
}

/// Returns the sender of the IPv4 packet without options in a frame.
fn source(frame: &[u8]) -> Result<Endpoint> {
    let (Some(&address), Some(&port)) = (
        frame.get(26..).and_then(|bytes| bytes.first_chunk::<4>()),
        frame.get(34..).and_then(|bytes| bytes.first_chunk::<2>()),
    ) else {
        bail!("a short frame");
    };
    Ok((address, u16::from_be_bytes(port)))
}
