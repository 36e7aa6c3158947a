// SPDX-License-Identifier: GPL-2.0
//! Traffic while memory comes and goes, and traffic from memory that was added.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, ensure, Result};
use ehea_harness::Job;

use crate::background::Reflector;
use crate::lab::{port_address, wait_until, Lab};
use crate::memory::{pages_inside, Dimm};
use crate::peer::{collect, udp_payload, Checker, Plan, Summary, Traffic};

const PATIENCE: Duration = Duration::from_secs(60);
const UDP_PORT: u16 = 4000;

/// Loads the driver and sets both ports up, the second for sending datagrams. Returns their
/// interfaces.
pub fn prepare(lab: &Lab) -> Result<[String; 2]> {
    lab.load()?;
    let near = lab.up(1, 9000)?;
    let far = lab.up(2, 9000)?;
    lab.address(&far, 78)?;
    Ok([near, far])
}

/// Starts the traffic: port 1 reflects frames all the time, and port 2 can send datagrams from
/// chosen memory.
pub fn start(lab: &Lab) -> Result<(Reflector<'_>, Traffic)> {
    start_as(lab, |plan| plan)
}

/// Starts the traffic as [`start`] does, with what `special` changes in the plan.
pub fn start_as(lab: &Lab, special: impl FnOnce(Plan) -> Plan) -> Result<(Reflector<'_>, Traffic)> {
    let [near, _] = prepare(lab)?;
    // The reflector starts before the first frame arrives.
    let reflector = lab.reflect(&near)?;
    let plan = Plan::new(50, u64::MAX, |n| 60 + (n as usize * 61) % 8955)
        .to(port_address(1))
        .patience(PATIENCE);
    let traffic = special(plan).start(Arc::clone(lab.port(1)?));
    Ok((reflector, traffic))
}

/// A process that holds pages in added memory, so that the memory cannot go offline, and sends from
/// them.
#[derive(Debug)]
pub struct Holder<'a> {
    lab: &'a Lab,
    job: Job<'a>,
    process: String,
    checker: Checker,
    sent: u64,
}

/// Number of datagrams that a [`Holder`] sends at a time.
const HELD_DATAGRAMS: u64 = 20;

impl<'a> Holder<'a> {
    /// Starts a holder for the memory of `dimm`.
    pub fn start(lab: &'a Lab, dimm: &Dimm, stream: u32) -> Result<Self> {
        let ready = format!("/run/hold-{stream}");
        let job = lab.guest().spawn(&format!(
            "rm -f {ready}; ./ehea-net hold 10.78.0.2 {UDP_PORT} {HELD_DATAGRAMS} {stream} {:#x} {:#x} {ready}",
            dimm.range.start, dimm.range.end
        ))?;
        wait_until("pages are held", || {
            Ok(job.finished()? || lab.run(&format!("test -s {ready}"))?.success())
        })?;
        if job.finished()? {
            bail!("{}", job.wait()?);
        }
        let process = lab.sh(&format!("cat {ready}"))?;
        Ok(Self {
            lab,
            job,
            process,
            checker: Checker::new(stream),
            sent: 0,
        })
    }

    /// Sends datagrams on port 2 from the pages. They must all arrive.
    pub fn send(&mut self) -> Result<()> {
        self.sent += HELD_DATAGRAMS;
        self.lab.sh(&format!("kill -USR1 {}", self.process))?;
        collect(
            self.lab.port(2)?,
            &mut self.checker,
            self.sent,
            PATIENCE,
            |frame| udp_payload(frame, UDP_PORT),
        )?;
        ensure!(
            !self.job.finished()?,
            "the process that holds pages has ended"
        );
        ensure!(
            self.checker.received() == self.sent,
            "{} of {} datagrams came",
            self.checker.received(),
            self.sent
        );
        Ok(())
    }

    /// Lets the pages go. Everything that was sent must have arrived unchanged.
    pub fn stop(self) -> Result<()> {
        self.lab.sh(&format!("kill -TERM {}", self.process))?;
        let output = self.job.wait()?;
        ensure!(output.success(), "{output}");
        self.checker.finish(self.sent).flawless()
    }
}

/// Runs a command of the guest that sends from memory. It gets the addresses of added memory as its last arguments,
/// and prints how many of its pages are there. Returns the number of pages, and of those in added memory. Fails if
/// there are none.
pub fn send_by(lab: &Lab, dimm: &Dimm, command: &str) -> Result<(u64, u64)> {
    let output = lab.sh(&format!(
        "{command} {:#x} {:#x}",
        dimm.range.start, dimm.range.end
    ))?;
    let (pages, inside) = pages_inside(&output)?;
    ensure!(
        inside > 0,
        "none of {pages} pages is in the added memory: nothing was tested"
    );
    Ok((pages, inside))
}

/// Sends datagrams on port 2 from anonymous memory, which comes from the movable zone if there is
/// one, and thus from added memory. Fails if it does not, or if not all datagrams arrive unchanged.
pub fn send_from(lab: &Lab, dimm: &Dimm, stream: u32) -> Result<()> {
    send(lab, dimm, stream, PATIENCE)?.flawless()
}

/// Sends datagrams as [`send_from`] does, but tolerates losses. Returns the summary.
pub fn send_perhaps(lab: &Lab, dimm: &Dimm, stream: u32) -> Result<Summary> {
    send(lab, dimm, stream, Duration::from_secs(1))
}

/// Sends the datagrams, and waits for them while the sender runs and `patience` longer.
fn send(lab: &Lab, dimm: &Dimm, stream: u32, patience: Duration) -> Result<Summary> {
    const ROUNDS: u64 = 4;
    const FRAGMENTS: u64 = 17;
    let job = lab.guest().spawn(&format!(
        "./ehea-net fragments 10.78.0.2 {UDP_PORT} {ROUNDS} {stream} {:#x} {:#x}",
        dimm.range.start, dimm.range.end
    ))?;
    let mut checker = Checker::new(stream);
    let count = ROUNDS * FRAGMENTS;
    loop {
        let finished = job.finished()?;
        collect(lab.port(2)?, &mut checker, count, patience, |frame| {
            udp_payload(frame, UDP_PORT)
        })?;
        if finished || checker.next() >= count {
            break;
        }
    }
    let output = job.wait()?;
    ensure!(output.success(), "{output}");
    let (pages, inside) = pages_inside(&output.out())?;
    ensure!(
        inside > 0,
        "none of {pages} pages is in the added memory: nothing was tested"
    );
    Ok(checker.finish(count))
}
