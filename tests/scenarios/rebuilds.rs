// SPDX-License-Identifier: GPL-2.0
//! Rebuilds in which firmware refuses each call in turn, or is busy for a while.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use ehea_model::fault::ArmedFault;
use ehea_model::stats::Stats;
use ehea_tests::checks::memory::{prepare, send_perhaps};
use ehea_tests::lab::{port_address, wait_until, Lab};
use ehea_tests::memory::{blocks, not_registered, registered, Dimm, LMB};
use ehea_tests::peer::{Plan, Summary, Traffic};
use serde_json::{json, Value};

use crate::memory::resets;
use crate::refusals::{codes, made, refusal};

const PATIENCE: Duration = Duration::from_secs(60);

/// A block of memory that is used, removed and kept after all, again and again.
struct Bench<'a> {
    lab: &'a Lab,
    dimm: Dimm,
    block: String,
    /// Number of the next stream of frames.
    stream: u32,
}

/// Calls of a rebuild, except for those that give back the old objects.
const CALLS: [&str; 5] = [
    "H_ALLOC_HEA_RESOURCE",
    "H_REGISTER_HEA_RPAGES",
    "H_REGISTER_SMR",
    "H_QUERY_HEA_QP",
    "H_MODIFY_HEA_QP",
];

/// Cause of a rebuild.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// The first use of added memory.
    Add,
    /// The removal of memory.
    Remove,
    /// The first use of memory that stays after all.
    Cancel,
}

/// File that makes a notifier refuse which is called after the driver's.
const OVERRULE: &str =
    "/sys/kernel/debug/notifier-error-inject/memory/actions/MEM_GOING_OFFLINE/error";

impl<'a> Bench<'a> {
    fn new(lab: &'a Lab) -> Result<Self> {
        lab.sh("modprobe memory-notifier-error-inject priority=-10")?;
        prepare(lab)?;
        let dimm = Dimm::plug(lab, "bench", LMB)?;
        let block = blocks(lab, &dimm.range)?.pop().context("no block")?;
        Ok(Self {
            lab,
            dimm,
            block,
            stream: 200,
        })
    }

    fn stream(&mut self) -> u32 {
        self.stream += 1;
        self.stream
    }

    /// Starts frames that are reflected in the background.
    fn traffic(&mut self) -> Result<Traffic> {
        let plan = Plan::new(self.stream(), u64::MAX, |n| 60 + (n as usize * 61) % 8955);
        let plan = plan.to(port_address(1)).patience(PATIENCE);
        Ok(plan.start(Arc::clone(self.lab.port(1)?)))
    }

    fn is_mapped(&self) -> Result<bool> {
        let stats = self.lab.stats()?;
        Ok(registered(&stats, &self.dimm.range).is_ok() && stats.mrs.len() == 1)
    }

    /// Sends from the block. All packets arrive, unless the port had to be reset.
    fn send(&mut self) -> Result<()> {
        let stream = self.stream();
        let before = resets(self.lab)?;
        let summary = send_perhaps(self.lab, &self.dimm, stream)?;
        self.all_came(&summary, before)
    }

    /// Fails if a frame was lost, unless there are now more than `before` resets of ports. A queue
    /// pair that firmware does not enable again is made anew by a reset.
    fn all_came(&self, summary: &Summary, before: u64) -> Result<()> {
        let Err(loss) = summary.flawless() else {
            return Ok(());
        };
        wait_until("a reset", || Ok(resets(self.lab)? > before)).context(loss)?;
        summary.sound()
    }

    /// Sends from the block until it is mapped. Some attempts may be in vain, because some misses
    /// are ignored after a rebuild that failed.
    fn map(&mut self) -> Result<Stats> {
        for _ in 0..20 {
            self.send()?;
            // The last miss may have just requested the mapping.
            for _ in 0..20 {
                if self.is_mapped()? {
                    return self.lab.stats();
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        anyhow::bail!("the block is never mapped again")
    }

    fn offline(&self) -> Result<bool> {
        let command = format!("echo offline >{}/state", self.block);
        Ok(self.lab.run(&command)?.success())
    }

    fn online(&self) -> Result<()> {
        self.lab
            .sh(&format!("echo online_movable >{}/state", self.block))?;
        Ok(())
    }

    /// Prepares a rebuild.
    fn prepare(&mut self, cause: Cause) -> Result<()> {
        self.map()?;
        match cause {
            Cause::Remove => {}
            Cause::Add => {
                ensure!(self.offline()?, "the block does not go offline");
                self.online()?;
            }
            Cause::Cancel => {
                self.lab.sh(&format!("echo -16 >{OVERRULE}"))?;
                ensure!(!self.offline()?, "the block went offline");
                self.lab.sh(&format!("echo 0 >{OVERRULE}"))?;
            }
        }
        Ok(())
    }

    /// Causes the rebuild.
    fn cause(&mut self, cause: Cause) -> Result<()> {
        if cause == Cause::Remove {
            let gone = self.offline()?;
            let stats = self.lab.stats()?;
            if gone {
                not_registered(&stats, &self.dimm.range)?;
                self.online()?;
            } else {
                registered(&stats, &self.dimm.range)?;
            }
            return Ok(());
        }
        self.send()
    }

    /// Checks a rebuild with a fault: the frames keep flowing, and the next rebuild works.
    fn with_fault(&mut self, cause: Cause, fault: &Value) -> Result<()> {
        self.prepare(cause)?;
        let live = self.lab.stats()?.live;
        let before = resets(self.lab)?;
        let traffic = self.traffic()?;
        traffic.wait_progress(20, PATIENCE)?;
        self.lab.guest().inject_fault(fault)?;
        self.cause(cause)?;
        wait_until("the fault", || {
            let faults: Vec<ArmedFault> = self.lab.guest().faults()?;
            Ok(faults.iter().all(|fault| fault.fired > 0))
        })?;
        self.lab.guest().clear_faults()?;
        traffic.wait_progress(20, PATIENCE)?;
        self.map()?;
        traffic.wait_progress(20, PATIENCE)?;
        let summary = traffic.stop()?;
        self.all_came(&summary, before)?;
        let now = self.lab.stats()?.live;
        ensure!(now == live, "{now:?} instead of {live:?}");
        Ok(())
    }
}

/// Returns the numbers of calls that a rebuild makes.
fn calls(bench: &mut Bench<'_>, cause: Cause) -> Result<BTreeMap<String, u64>> {
    bench.prepare(cause)?;
    let before = bench.lab.stats()?;
    bench.cause(cause)?;
    if cause != Cause::Remove {
        wait_until("the block is mapped", || bench.is_mapped())?;
    }
    let mut calls = made(&before, &bench.lab.stats()?);
    calls.retain(|call, _| CALLS.contains(&call.as_str()));
    Ok(calls)
}

/// Returns which calls of one kind are refused. Of the calls for pages, these are the first and the
/// last. A rebuild for memory that stays is no other than one for memory that was added, so one
/// call of each kind suffices.
fn chosen(cause: Cause, count: u64) -> Vec<u64> {
    match (cause, count) {
        (Cause::Cancel, _) => vec![1],
        (_, 0..=8) => (1..=count).collect(),
        _ => vec![1, count],
    }
}

fn matrix(lab: &Lab, cause: Cause) -> Result<()> {
    let mut bench = Bench::new(lab)?;
    let near = lab.interface(1)?;
    let reflector = lab.reflect(&near)?;
    let calls = calls(&mut bench, cause)?;
    for call in CALLS {
        ensure!(
            calls.contains_key(call),
            "a rebuild makes no {call}: {calls:?}"
        );
    }
    for (call, &count) in &calls {
        let codes = codes(call);
        for (round, nth) in chosen(cause, count).into_iter().enumerate() {
            // All codes have their turn, though not for each call.
            let code = codes[round % codes.len()];
            bench
                .with_fault(cause, &refusal(call, nth, code))
                .with_context(|| format!("{cause:?}: call {nth} of {call} refused with {code}"))?;
        }
        let busy = json!({
            "opcode": call, "nth": 1, "count": 3,
            "action": { "long_busy": { "code": "H_LONG_BUSY_ORDER_1_MSEC", "times": 2 } },
        });
        bench
            .with_fault(cause, &busy)
            .with_context(|| format!("{cause:?}: {call} long busy"))?;
    }
    reflector.stop()?;
    lab.sh("rmmod memory-notifier-error-inject")?;
    bench.dimm.unplug(lab)?;
    lab.unload()
}

/// The rebuild for memory that was added survives refusals.
pub(crate) fn add(lab: &Lab) -> Result<()> {
    matrix(lab, Cause::Add)
}

/// The rebuild for memory that is removed survives refusals.
pub(crate) fn remove(lab: &Lab) -> Result<()> {
    matrix(lab, Cause::Remove)
}

/// The rebuild for memory that was to be removed, and stays, survives refusals.
pub(crate) fn cancel(lab: &Lab) -> Result<()> {
    matrix(lab, Cause::Cancel)
}
