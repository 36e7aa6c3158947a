// SPDX-License-Identifier: GPL-2.0
//! Resets of a port while both directions are flooded.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use ehea_model::stats::{PortStats, Stats};
use ehea_tests::checks::faults::{reported, works};
use ehea_tests::counters::resets;
use ehea_tests::lab::{port_address, wait_until, Lab};
use ehea_tests::memory::allocations;
use ehea_tests::peer::{idle_frame, Checker, Port, Summary, ETHERNET_HEADER};
use serde_json::json;

use super::{unload, PATIENCE};

/// Frame length and stream of each program that floods. The adapter gets short frames as immediate
/// data, and reads the long ones.
const FLOODS: [(usize, u32); 2] = [(60, 150), (1400, 151)];
/// Number of frames that each program would send if it was not ended.
const ENDLESS: u64 = 1 << 40;
/// Number of frames that arrive at the host between two resets.
const BETWEEN: u64 = 100;
/// Number of resets of one kind after which one is made to fail, so that the port stays closed for a
/// while.
const CLOSED_EVERY: u64 = 10;

/// Flood of port 1 in both directions. Frames arrive as fast as the guest takes them, and those that the
/// guest sends are checked.
struct Flood {
    stop: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    thread: JoinHandle<Result<Vec<Summary>>>,
}

impl Flood {
    fn start(port: Arc<Port>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let received = Arc::new(AtomicU64::new(0));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&received));
        let thread = thread::spawn(move || exchange(&port, &stopped, &counted));
        Self {
            stop,
            received,
            thread,
        }
    }

    /// Waits until more frames of the guest have arrived.
    fn wait_progress(&self) -> Result<()> {
        let goal = self.received.load(Ordering::Relaxed) + BETWEEN;
        let start = Instant::now();
        while self.received.load(Ordering::Relaxed) < goal {
            ensure!(
                start.elapsed() < PATIENCE && !self.thread.is_finished(),
                "the flood has stopped"
            );
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Ends the flood. Fails if a frame of the guest was changed or arrived twice, or after a later one.
    fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let Ok(summaries) = self.thread.join() else {
            bail!("the thread of the flood panicked");
        };
        for summary in summaries? {
            ensure!(summary.received > 0, "nothing came: {summary}");
            summary.sound()?;
        }
        Ok(())
    }
}

/// Sends and receives until it is told to stop, and then receives until nothing more comes.
fn exchange(port: &Port, stop: &AtomicBool, received: &AtomicU64) -> Result<Vec<Summary>> {
    /// Number of frames that are sent before those that have arrived are looked at.
    const BURST: usize = 32;
    let frames = [60, 300, 1514].map(|length| idle_frame(port_address(1), length));
    let mut checkers = FLOODS.map(|(_, stream)| Checker::new(stream));
    let mut buffer = [0; 1 << 16];
    let mut frames = frames.iter().cycle();
    let mut frame = frames.next().context("no frames")?;
    loop {
        let stopped = stop.load(Ordering::Relaxed);
        let mut blocked = false;
        for _ in 0..BURST {
            blocked = stopped || !port.try_send(frame)?;
            if blocked {
                break;
            }
            frame = frames.next().context("no frames")?;
        }
        let mut came = false;
        while let Some(length) = port.try_receive(&mut buffer)? {
            came = true;
            let floods = FLOODS.iter().zip(&mut checkers);
            for (_, checker) in floods.filter(|((of, _), _)| *of == length) {
                checker.take(&buffer[ETHERNET_HEADER..length], |_| {
                    length - ETHERNET_HEADER
                });
                received.fetch_add(1, Ordering::Relaxed);
            }
        }
        if !came {
            if stopped {
                break;
            }
            port.wait(blocked, Duration::from_millis(20))?;
        }
    }
    Ok(checkers
        .map(|checker| {
            let sent = checker.next();
            checker.finish(sent)
        })
        .into())
}

/// Returns the model's counts of port 1.
fn port_stats(stats: &Stats) -> Result<&PortStats> {
    stats.ports.first().context("the model has no ports")
}

/// Returns the kernel's count of frames given to the adapter.
fn given(lab: &Lab, name: &str) -> Result<u64> {
    let path = format!("/sys/class/net/{name}/statistics/tx_packets");
    Ok(lab.sh(&format!("cat {path}"))?.parse()?)
}

/// Checks that kernel and model count the same frames from now on, while `f` makes some.
fn counted_alike(lab: &Lab, name: &str, f: impl FnOnce() -> Result<()>) -> Result<()> {
    let look = || -> Result<[[u64; 2]; 2]> {
        let directory = format!("/sys/class/net/{name}/statistics");
        let text = lab.sh(&format!("cd {directory} && cat rx_packets tx_packets"))?;
        let kernel: Vec<u64> = text.lines().map(str::parse).collect::<Result<_, _>>()?;
        let stats = lab.stats()?;
        let model = port_stats(&stats)?;
        Ok([kernel[..].try_into()?, [model.rx_frames, model.tx_frames]])
    };
    let before = look()?;
    f()?;
    let mut now = before;
    let agreed = wait_until("kernel and model agree on frames", || {
        now = look()?;
        let since = |side: usize| [0, 1].map(|way| now[side][way] - before[side][way]);
        Ok(since(0) == since(1))
    });
    agreed.with_context(|| format!("{before:?}, now {now:?}"))
}

/// Resets the port by a malfunction.
fn malfunction(lab: &Lab, name: &str, times: u64) -> Result<()> {
    lab.guest()
        .inject_fault(&json!({ "event": "port_malfunction", "port": 1 }))?;
    wait_until("the port is reset", || Ok(resets(lab, name)? >= times))?;
    lab.guest().clear_faults()?;
    lab.carrier(name, true)?;
    let resets = resets(lab, name)?;
    ensure!(resets == times, "{resets} resets instead of {times}");
    Ok(())
}

/// Resets the port by a malfunction so that it stays closed for a while, in which no frame may be given
/// to the adapter, or be sent by it. Returns the number of resets, including those that failed.
fn closed(lab: &Lab, name: &str) -> Result<u64> {
    let position = lab.guest().console().position();
    for fault in [
        json!({
            "opcode": "H_ALLOC_HEA_RESOURCE", "resource": "qp", "count": 1000,
            "action": { "return": "H_NOT_ENOUGH_RESOURCES" },
        }),
        json!({ "event": "port_malfunction", "port": 1 }),
    ] {
        lab.guest().inject_fault(&fault)?;
    }
    reported(lab, position, name, "reset failed")?;
    let look = || -> Result<_> {
        let stats = lab.stats()?;
        let sent = port_stats(&stats)?.tx_frames;
        ensure!(stats.live.qp == 0, "{} queue pairs", stats.live.qp);
        Ok((given(lab, name)?, sent, stats.ignored_mmio))
    };
    let before = look()?;
    thread::sleep(Duration::from_millis(200));
    let after = look()?;
    ensure!(
        after == before,
        "frames given and sent, and accesses ignored, while the port is closed: {before:?}, {after:?}"
    );
    lab.guest().clear_faults()?;
    lab.carrier(name, true)?;
    resets(lab, name)
}

/// Resets the port by an MTU for which it needs no large buffers any more, and sets the first MTU again.
fn mtu(lab: &Lab, name: &str) -> Result<()> {
    let before = allocations(&lab.stats()?);
    lab.sh(&format!("ip link set {name} mtu 1500"))?;
    ensure!(
        allocations(&lab.stats()?) > before,
        "the port was not reset"
    );
    lab.sh(&format!("ip link set {name} mtu 9000"))?;
    lab.carrier(name, true)
}

/// Resets a port, half of the times by a malfunction and half by a change of the MTU, while its transmit
/// queue is always full and frames always wait for it. The kernel reports nothing, no frame is sent
/// while the port is closed, and none is changed or sent twice. The port works afterwards, and
/// everything adds up again.
fn flooded_by(lab: &Lab, count: u64) -> Result<()> {
    lab.load()?;
    lab.silent(&lab.interface(1)?)?;
    let name = lab.up(1, 9000)?;
    let live = lab.stats()?.live;
    // The model counts since the guest was started, the kernel since the driver was loaded.
    let before = [port_stats(&lab.stats()?)?.tx_frames, given(lab, &name)?];
    let flood = Flood::start(Arc::clone(lab.port(1)?));
    let programs = FLOODS
        .iter()
        .map(|(length, stream)| {
            let command = format!("exec ./ehea-net blast {name} {ENDLESS} {length} {stream}");
            lab.guest().spawn(&command)
        })
        .collect::<Result<Vec<_>>>()?;
    let mut times = 0;
    let mut arrived = 0;
    for round in 0..count / 2 {
        flood.wait_progress()?;
        if round % CLOSED_EVERY == CLOSED_EVERY - 1 {
            times = closed(lab, &name).with_context(|| format!("malfunction {round}"))?;
        } else {
            times += 1;
            malfunction(lab, &name, times).with_context(|| format!("malfunction {round}"))?;
        }
        flood.wait_progress()?;
        mtu(lab, &name).with_context(|| format!("change {round} of the MTU"))?;
        let now = port_stats(&lab.stats()?)?.rx_frames;
        ensure!(now > arrived, "round {round}: nothing is received");
        arrived = now;
    }
    flood.wait_progress()?;
    ensure!(
        resets(lab, &name)? == times,
        "a reset that nobody asked for"
    );
    for program in &programs {
        program.signal("KILL")?;
    }
    flood.stop()?;
    let stats = lab.stats()?;
    let sent = port_stats(&stats)?.tx_frames - before[0];
    let given = given(lab, &name)? - before[1];
    ensure!(
        sent <= given,
        "{sent} frames were sent, the kernel has counted {given}"
    );
    ensure!(stats.live == live, "resets leave {:?}", stats.live);

    lab.sh(&format!("ip link set {name} mtu 1500"))?;
    lab.carrier(&name, true)?;
    lab.port(1)?.drain()?;
    counted_alike(lab, &name, || works(lab, &name))?;
    unload(lab)
}

/// A few resets.
pub(crate) fn flooded(lab: &Lab) -> Result<()> {
    flooded_by(lab, 20)
}

/// Many resets, to meet what is rare.
pub(crate) fn flooded_200(lab: &Lab) -> Result<()> {
    flooded_by(lab, 200)
}
