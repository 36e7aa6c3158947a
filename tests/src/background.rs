// SPDX-License-Identifier: GPL-2.0
//! Programs of `ehea-net` that run in the background of a guest until they are told to report.

use std::collections::BTreeMap;

use anyhow::{ensure, Context, Result};

use crate::lab::Lab;

/// A process in the background.
#[derive(Debug)]
struct Background<'a> {
    lab: &'a Lab,
    process: String,
    report: String,
}

impl<'a> Background<'a> {
    /// Starts a subcommand for an interface, in a network namespace if one is named.
    fn start(
        lab: &'a Lab,
        subcommand: &str,
        namespace: Option<&str>,
        interface: &str,
    ) -> Result<Self> {
        let inside = namespace.map_or(String::new(), |name| format!("ip netns exec {name} "));
        let report = format!("/run/{subcommand}-{interface}");
        let process = lab.sh(&format!(
            "{inside}./ehea-net {subcommand} {interface} {report}"
        ))?;
        Ok(Self {
            lab,
            process,
            report,
        })
    }

    fn signal(&self, signal: &str) -> Result<()> {
        self.lab
            .sh(&format!("kill -{signal} {}", self.process))
            .map(drop)
    }

    /// Ends the process and returns its report.
    fn stop(self) -> Result<String> {
        let (process, report) = (&self.process, &self.report);
        self.lab.sh(&format!(
            "kill -TERM {process}; n=0; until [ -s {report} ]; do \
             [ $((n += 1)) -lt 600 ] || exit 1; sleep 0.1; done; cat {report}"
        ))
    }
}

/// A process in the guest that sends numbered frames back.
#[derive(Debug)]
pub struct Reflector<'a>(Background<'a>);

impl Reflector<'_> {
    /// Stops the reflector from accepting frames, so that they wait in its socket.
    pub fn pause(&self) -> Result<()> {
        self.0.signal("STOP")
    }

    /// Lets the reflector accept frames again.
    pub fn resume(&self) -> Result<()> {
        self.0.signal("CONT")
    }

    /// Ends the reflector and returns its counts. Fails if its own socket lost frames.
    pub fn stop(self) -> Result<String> {
        let counts = self.0.stop()?;
        ensure!(
            counts.ends_with(" overflow 0"),
            "the reflector's socket lost frames: {counts}"
        );
        Ok(counts)
    }
}

/// A process in the guest that sees what passes between the stack and an interface.
#[derive(Debug)]
pub struct Watch<'a>(Background<'a>);

/// IPv4 packets that passed between the stack and an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Packets handed to the device.
    pub sent: Way,
    /// Packets that came from the device, after the stack has put segments together.
    pub received: Way,
}

/// One direction of [`Passed`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// Number of packets.
    pub packets: u64,
    /// Number of packets whose checksum is left to the device or was verified by it.
    pub checksums: u64,
    /// Number of packets that the device is to cut into segments, or that are made of several.
    pub long: u64,
    /// Number of segments in the long packets.
    pub segments: u64,
}

impl Watch<'_> {
    /// Ends the watch and returns what it has seen. Fails if its own socket lost packets.
    pub fn stop(self) -> Result<Passed> {
        let text = self.0.stop()?;
        let counters: BTreeMap<&str, u64> = text
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(name, value)| Ok((name, value.parse()?)))
            .collect::<Result<_>>()?;
        let get = |name: String| {
            let value = counters.get(name.as_str()).copied();
            value.with_context(|| format!("no {name} in {text:?}"))
        };
        let way = |name: &str| -> Result<Way> {
            Ok(Way {
                packets: get(format!("{name}_frames"))?,
                checksums: get(format!("{name}_checksums"))?,
                long: get(format!("{name}_long"))?,
                segments: get(format!("{name}_segments"))?,
            })
        };
        ensure!(
            get("overflow".to_owned())? == 0,
            "the socket lost packets: {text}"
        );
        Ok(Passed {
            sent: way("sent")?,
            received: way("received")?,
        })
    }
}

impl Lab {
    /// Starts to reflect the frames that come to an interface.
    pub fn reflect(&self, interface: &str) -> Result<Reflector<'_>> {
        Background::start(self, "reflect", None, interface).map(Reflector)
    }

    /// Starts to reflect as [`Lab::reflect`] does, for an interface in a network namespace.
    pub fn reflect_in(&self, namespace: &str, interface: &str) -> Result<Reflector<'_>> {
        Background::start(self, "reflect", Some(namespace), interface).map(Reflector)
    }

    /// Starts to watch an interface in a network namespace.
    pub fn watch_in(&self, namespace: &str, interface: &str) -> Result<Watch<'_>> {
        Background::start(self, "watch", Some(namespace), interface).map(Watch)
    }
}
