// SPDX-License-Identifier: GPL-2.0
//! Counters of an interface, as the kernel and the model keep them.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{bail, ensure, Context, Result};
use ehea_model::stats::Stats;

use crate::lab::{wait_until, Lab};
use crate::peer::{Cable, Carried, ETHERNET_HEADER, MIN_FRAME};

/// Counts of frames and bytes (without CRC) of an interface since some point in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Number of frames received.
    pub rx_frames: u64,
    /// Number of bytes in these frames.
    pub rx_bytes: u64,
    /// Number of frames sent.
    pub tx_frames: u64,
    /// Number of bytes in these frames.
    pub tx_bytes: u64,
}

impl Counters {
    /// Reads the kernel's counters of an interface, in a network namespace if one is named.
    pub fn of_interface(lab: &Lab, namespace: Option<&str>, name: &str) -> Result<Self> {
        const NAMES: [&str; 7] = [
            "rx_packets",
            "rx_bytes",
            "tx_packets",
            "tx_bytes",
            "rx_errors",
            "tx_errors",
            "tx_dropped",
        ];
        let inside = namespace.map_or(String::new(), |n| format!("ip netns exec {n} "));
        let directory = format!("/sys/class/net/{name}/statistics");
        let text = lab.sh(&format!(
            "{inside}sh -c 'cd {directory} && cat {}'",
            NAMES.join(" ")
        ))?;
        let numbers: Vec<u64> = text.lines().filter_map(|line| line.parse().ok()).collect();
        let [rx_frames, rx_bytes, tx_frames, tx_bytes, rx_errors, tx_errors, tx_dropped] =
            numbers[..]
        else {
            bail!("no counters of {name} in {text:?}");
        };
        for (what, count) in NAMES[4..].iter().zip([rx_errors, tx_errors, tx_dropped]) {
            ensure!(count == 0, "{name}: {count} {what}");
        }
        Ok(Self {
            rx_frames,
            rx_bytes: rx_bytes + rx_frames * lab.system().uncounted_rx_bytes(),
            tx_frames,
            tx_bytes,
        })
    }

    /// Returns the model's counters of a port, numbered from 1.
    pub fn of_port(stats: &Stats, port: usize) -> Result<Self> {
        let port = stats
            .ports
            .iter()
            .find(|p| usize::from(p.port) == port)
            .with_context(|| format!("the model has no port {port}"))?;
        Ok(Self {
            rx_frames: port.rx_frames,
            rx_bytes: port.rx_bytes,
            tx_frames: port.tx_frames,
            tx_bytes: port.tx_bytes,
        })
    }

    /// Checks whether an end has counted what was on the wire. Sent frames shorter than the wire
    /// allows, such as those that reset a TCP connection, are counted without their padding. There
    /// are few of them.
    fn agrees_with_wire(&self, wire: &Self) -> bool {
        const SHORT_FRAMES: u64 = 16;
        const PADDING: u64 = (MIN_FRAME - ETHERNET_HEADER) as u64;
        let padded = Self {
            tx_bytes: wire.tx_bytes,
            ..*self
        };
        let padding = wire.tx_bytes.checked_sub(self.tx_bytes);
        padded == *wire && padding.is_some_and(|padding| padding <= SHORT_FRAMES * PADDING)
    }

    /// Returns the counts since `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            rx_frames: self.rx_frames.saturating_sub(before.rx_frames),
            rx_bytes: self.rx_bytes.saturating_sub(before.rx_bytes),
            tx_frames: self.tx_frames.saturating_sub(before.tx_frames),
            tx_bytes: self.tx_bytes.saturating_sub(before.tx_bytes),
        }
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "rx {} frames, {} bytes; tx {} frames, {} bytes",
            self.rx_frames, self.rx_bytes, self.tx_frames, self.tx_bytes
        )
    }
}

/// Returns a counter of `ethtool -S`.
pub fn ethtool_counter(lab: &Lab, name: &str, counter: &str) -> Result<u64> {
    let statistics = ethtool_statistics(lab, name)?;
    let value = statistics.get(counter).copied();
    value.with_context(|| format!("{name} has no counter {counter}"))
}

/// Returns the counters that `ethtool -S` shows for an interface.
pub fn ethtool_statistics(lab: &Lab, name: &str) -> Result<BTreeMap<String, u64>> {
    let text = lab.sh(&format!("ethtool -S {name}"))?;
    text.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| Ok((key.trim().to_owned(), value.trim().parse()?)))
        .collect()
}

/// Returns the number of times that a port was set up anew since the driver was loaded.
pub fn resets(lab: &Lab, name: &str) -> Result<u64> {
    let counter = lab.system().resets_counter();
    let statistics = ethtool_statistics(lab, name)?;
    statistics
        .get(counter)
        .copied()
        .with_context(|| format!("{name} has no counter {counter}"))
}

/// Comparison of the kernel's and the model's counts for a port from one point in time on.
#[derive(Clone, Debug)]
pub struct Comparison {
    port: usize,
    name: String,
    namespace: Option<String>,
    kernel: Counters,
    model: Counters,
}

impl Comparison {
    /// Starts the comparison. Nothing may be under way except what the kernel sends of its own
    /// accord now and then, which must not fall between the reads of both counters.
    pub fn start(lab: &Lab, port: usize, name: &str, namespace: Option<&str>) -> Result<Self> {
        let look = || -> Result<_> {
            let kernel = Counters::of_interface(lab, namespace, name)?;
            Ok((kernel, Counters::of_port(&lab.stats()?, port)?))
        };
        let mut counted = look()?;
        wait_until("nothing is counted", || {
            let before = std::mem::replace(&mut counted, look()?);
            Ok(counted == before)
        })?;
        let (kernel, model) = counted;
        Ok(Self {
            port,
            name: name.to_owned(),
            namespace: namespace.map(str::to_owned),
            kernel,
            model,
        })
    }

    /// Returns what the kernel and the model have counted since the start.
    fn now(&self, lab: &Lab) -> Result<(Counters, Counters)> {
        let kernel = Counters::of_interface(lab, self.namespace.as_deref(), &self.name)?;
        let model = Counters::of_port(&lab.stats()?, self.port)?;
        Ok((kernel.since(self.kernel), model.since(self.model)))
    }

    /// Waits until both have counted the same since the start, and returns it. Frames under way are
    /// waited for.
    pub fn agree(&self, lab: &Lab) -> Result<Counters> {
        let mut both = (Counters::default(), Counters::default());
        let agreed = wait_until("kernel and model agree on frames and bytes", || {
            both = self.now(lab)?;
            Ok(both.0 == both.1)
        });
        agreed.with_context(|| {
            format!("port {}\nkernel: {}\nmodel:  {}", self.port, both.0, both.1)
        })?;
        Ok(both.0)
    }
}

/// Comparison of the counts at both ends of a cable with those of the cable.
#[derive(Debug)]
pub struct WireComparison {
    ends: [Comparison; 2],
    carried: [Carried; 2],
}

impl WireComparison {
    /// Starts the comparison. Nothing may be under way.
    pub fn start(ends: [Comparison; 2], cable: &Cable) -> Self {
        Self {
            ends,
            carried: cable.carried(),
        }
    }

    /// Waits until, in each direction, sender and receiver, kernel and model, and the cable have
    /// counted the same since the start, and returns it. Frames under way are waited for.
    pub fn agree(&self, lab: &Lab, cable: &Cable) -> Result<[Carried; 2]> {
        let mut wire = [Carried::default(); 2];
        let mut ends = [(Counters::default(), Counters::default()); 2];
        let agreed = wait_until("both ends and the cable agree", || {
            ends = [self.ends[0].now(lab)?, self.ends[1].now(lab)?];
            let now = cable.carried();
            for ((wire, now), before) in wire.iter_mut().zip(now).zip(self.carried) {
                wire.frames = now.frames - before.frames;
                wire.bytes = now.bytes - before.bytes;
            }
            let [there, back] = wire;
            let end = |sent: Carried, received: Carried| Counters {
                rx_frames: received.frames,
                rx_bytes: received.bytes,
                tx_frames: sent.frames,
                tx_bytes: sent.bytes,
            };
            let wire = [end(there, back), end(back, there)];
            let agrees = |(end, wire): (&(Counters, Counters), Counters)| {
                end.0.agrees_with_wire(&wire) && end.1.agrees_with_wire(&wire)
            };
            Ok(ends.iter().zip(wire).all(agrees))
        });
        agreed.with_context(|| {
            let [(near, near_model), (far, far_model)] = ends;
            format!(
                "near kernel: {near}\nnear model:  {near_model}\nfar kernel:  {far}\n\
                 far model:   {far_model}\nthere: {:?}\nback:  {:?}",
                wire[0], wire[1]
            )
        })?;
        Ok(wire)
    }
}
