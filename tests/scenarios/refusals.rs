// SPDX-License-Identifier: GPL-2.0
//! Refusal by firmware of each call that the driver makes, in turn.

use std::collections::BTreeMap;

use anyhow::{ensure, Context, Result};
use ehea_model::fault::ArmedFault;
use ehea_model::stats::{Live, Stats};
use ehea_tests::checks::faults::{fired, reported, works};
use ehea_tests::counters::ethtool_counter;
use ehea_tests::lab::{wait_until, Lab};
use serde_json::{json, Value};

/// Returns the codes with which firmware may refuse a call.
pub(crate) fn codes(call: &str) -> &'static [&'static str] {
    match call {
        "H_ALLOC_HEA_RESOURCE" => &[
            "H_NOT_ENOUGH_RESOURCES",
            "H_NO_MEM",
            "H_RESOURCE",
            "H_HARDWARE",
            "H_AUTHORITY",
        ],
        "H_REGISTER_HEA_RPAGES" => &[
            "H_MEM_PARM",
            "H_RH_PARM",
            "H_NOT_ENOUGH_RESOURCES",
            "H_HARDWARE",
        ],
        "H_REGISTER_SMR" => &[
            "H_MR_CONDITION",
            "H_NOT_ENOUGH_RESOURCES",
            "H_RH_PARM",
            "H_HARDWARE",
        ],
        "H_MODIFY_HEA_QP" | "H_QUERY_HEA_QP" => {
            &["H_R_STATE", "H_RH_PARM", "H_PARAMETER", "H_HARDWARE"]
        }
        "H_QUERY_HEA" => &["H_ADAPTER_PARM", "H_PARAMETER", "H_FUNCTION", "H_HARDWARE"],
        "H_QUERY_HEA_PORT" | "H_MODIFY_HEA_PORT" => {
            &["H_PORT_PARM", "H_AUTHORITY", "H_PARAMETER", "H_HARDWARE"]
        }
        "H_FREE_RESOURCE" => &["H_R_STATE", "H_RESOURCE", "H_HARDWARE"],
        "H_REG_BCMC" => &["H_MCG_FULL", "H_TABLE_FULL", "H_AUTHORITY", "H_HARDWARE"],
        _ => &["H_PARAMETER", "H_RESOURCE", "H_HARDWARE"],
    }
}

/// Calls that only give things back. Probe and open make them only after a failure.
const TEARDOWN: &[&str] = &[
    "H_FREE_RESOURCE",
    "H_DEREG_BCMC",
    "H_DISABLE_AND_GET_HEA",
    "H_ERROR_DATA",
];

/// Returns which of `count` calls are refused. Of a long series (page registration), these are the
/// first, second, middle and last.
fn chosen(count: u64) -> Vec<u64> {
    if count <= 12 {
        return (1..=count).collect();
    }
    vec![1, 2, count / 2, count]
}

/// Returns the calls by name that were made between two points in time.
fn all_made(before: &Stats, after: &Stats) -> BTreeMap<String, u64> {
    let count = |stats: &Stats, name: &str| stats.hcalls.get(name).copied().unwrap_or_default();
    after
        .hcalls
        .keys()
        .map(|name| (name.clone(), count(after, name) - count(before, name)))
        .filter(|&(_, number)| number > 0)
        .collect()
}

/// Returns the calls by name that were made between two points in time, except for those that only give
/// things back.
pub(crate) fn made(before: &Stats, after: &Stats) -> BTreeMap<String, u64> {
    let mut calls = all_made(before, after);
    calls.retain(|name, _| !TEARDOWN.contains(&name.as_str()));
    calls
}

/// Returns all refusals to try for a run that makes the calls `calls`.
fn refusals(calls: &BTreeMap<String, u64>) -> Vec<(&str, u64, &'static str)> {
    let mut refusals = Vec::new();
    for (call, &count) in calls {
        for nth in chosen(count) {
            for &code in codes(call) {
                refusals.push((call.as_str(), nth, code));
            }
        }
    }
    refusals
}

pub(crate) fn refusal(call: &str, nth: u64, code: &str) -> Value {
    json!({ "opcode": call, "nth": nth, "action": { "return": code } })
}

/// Each call of probe is refused. Either the adapter is unusable and nothing of it is left, or the
/// driver does without (one port less, or a smaller queue) and works.
pub(crate) fn of_probe(lab: &Lab) -> Result<()> {
    let before = lab.stats()?;
    lab.load()?;
    let calls = made(&before, &lab.stats()?);
    lab.unload()?;
    ensure!(
        calls.contains_key("H_REGISTER_HEA_RPAGES"),
        "probe registers no memory: {calls:?}"
    );
    for (call, nth, code) in refusals(&calls) {
        let round = || -> Result<()> {
            let position = lab.guest().console().position();
            lab.guest().inject_fault(&refusal(call, nth, code))?;
            lab.load()?;
            fired(lab)?;
            reported(lab, position, call, code)?;
            if lab.bound()?.is_empty() {
                lab.nothing_left()?;
            }
            lab.unload()
        };
        round().with_context(|| format!("call {nth} of {call} refused with {code}"))?;
    }
    lab.load()?;
    let name = lab.up(1, 1500)?;
    works(lab, &name)?;
    lab.unload()
}

/// Each call of open is refused. `ip link set up` fails, nothing is left of the attempt, and the
/// next one succeeds.
pub(crate) fn of_open(lab: &Lab) -> Result<()> {
    lab.load()?;
    let name = lab.interface(1)?;
    let closed = lab.stats()?;
    lab.up(1, 1500)?;
    let calls = made(&closed, &lab.stats()?);
    lab.sh(&format!("ip link set {name} down"))?;
    let same = |live: &Live| live == &closed.live;
    ensure!(
        same(&lab.stats()?.live),
        "closing leaves {:?}",
        lab.stats()?.live
    );
    for (call, nth, code) in refusals(&calls) {
        let round = || -> Result<()> {
            let position = lab.guest().console().position();
            lab.guest().inject_fault(&refusal(call, nth, code))?;
            let opened = lab.run(&format!("ip link set {name} up"))?.success();
            fired(lab)?;
            // Without room for another group, all multicast frames are accepted instead, which is
            // no error.
            let full = call == "H_REG_BCMC" && matches!(code, "H_MCG_FULL" | "H_TABLE_FULL");
            if !(opened && full) {
                reported(lab, position, call, code)?;
            }
            if opened {
                // The port does without what was refused, and still works.
                lab.carrier(&name, true)?;
                lab.sh(&format!("ip link set {name} down"))?;
            }
            let live = lab.stats()?.live;
            ensure!(same(&live), "left: {live:?}, before: {:?}", closed.live);
            Ok(())
        };
        round().with_context(|| format!("call {nth} of {call} refused with {code}"))?;
    }
    lab.up(1, 1500)?;
    works(lab, &name)?;
    lab.unload()
}

/// Expects refusals of the model's own because of a queue pair that firmware has kept: of its queues, and of data
/// about an error that there was not.
pub(crate) fn kept(lab: &Lab) {
    for refusal in ["CqInUse", "EqInUse", "MrInUse", "QpEnabled", "NoErrorData"] {
        lab.expect_refusal(refusal);
    }
}

/// Each call of close is refused. The port is closed all the same, and can be opened again. Nothing is left when
/// the driver goes.
pub(crate) fn of_close(lab: &Lab) -> Result<()> {
    kept(lab);
    lab.load()?;
    let name = lab.interface(1)?;
    let close = || -> Result<BTreeMap<String, u64>> {
        lab.up(1, 1500)?;
        let open = lab.stats()?;
        lab.sh(&format!("ip link set {name} down"))?;
        Ok(all_made(&open, &lab.stats()?))
    };
    // An open port fetches its counters now and then, which is no part of closing it.
    let mut calls = close()?;
    for _ in 0..3 {
        let again = close()?;
        for (name, count) in &mut calls {
            *count = again.get(name).map_or(0, |&other| other.min(*count));
        }
    }
    calls.retain(|_, count| *count > 0);
    ensure!(
        calls.contains_key("H_DISABLE_AND_GET_HEA") && calls.contains_key("H_FREE_RESOURCE"),
        "close frees nothing: {calls:?}"
    );
    for (call, nth, code) in refusals(&calls) {
        let round = || -> Result<()> {
            lab.up(1, 1500)?;
            lab.guest().inject_fault(&refusal(call, nth, code))?;
            lab.sh(&format!("ip link set {name} down"))?;
            fired(lab)
        };
        round().with_context(|| format!("call {nth} of {call} refused with {code}"))?;
    }
    lab.up(1, 1500)?;
    works(lab, &name)?;
    lab.unload()
}

/// Each call is refused that is made when the driver goes while a port is open. It goes, and nothing is left.
pub(crate) fn of_remove(lab: &Lab) -> Result<()> {
    kept(lab);
    lab.load()?;
    lab.up(1, 1500)?;
    let open = lab.stats()?;
    lab.unload()?;
    let calls = all_made(&open, &lab.stats()?);
    for (call, nth, code) in refusals(&calls) {
        let round = || -> Result<()> {
            lab.load()?;
            lab.up(1, 1500)?;
            lab.guest().inject_fault(&refusal(call, nth, code))?;
            lab.unload()?;
            fired(lab)
        };
        round().with_context(|| format!("call {nth} of {call} refused with {code}"))?;
    }
    lab.load()?;
    let name = lab.up(1, 1500)?;
    works(lab, &name)?;
    lab.unload()
}

/// Each call of a reset is refused. The port works again, at the latest after the next attempt.
pub(crate) fn of_reset(lab: &Lab) -> Result<()> {
    kept(lab);
    lab.load()?;
    let name = lab.up(1, 1500)?;
    let resets = || -> Result<u64> { ethtool_counter(lab, &name, "port_resets") };
    let error = json!({ "event": "queue_pair_error", "port": 1 });
    let reset = || -> Result<()> {
        let before = resets()?;
        lab.guest().inject_fault(&error)?;
        wait_until("the port is reset", || Ok(resets()? > before))?;
        lab.carrier(&name, true)
    };
    let before = lab.stats()?;
    reset()?;
    lab.guest().clear_faults()?;
    let after = lab.stats()?;
    ensure!(before.live == after.live, "the reset leaves something");
    for (call, nth, code) in refusals(&all_made(&before, &after)) {
        let round = || -> Result<()> {
            lab.guest().inject_fault(&refusal(call, nth, code))?;
            reset()?;
            let faults: Vec<ArmedFault> = lab.guest().faults()?;
            ensure!(faults.iter().all(|fault| fault.fired > 0), "{faults:?}");
            lab.guest().clear_faults()
        };
        round().with_context(|| format!("call {nth} of {call} refused with {code}"))?;
    }
    works(lab, &name)?;
    lab.unload()
}

/// Each call answers "long busy" before it is executed, and everything works nevertheless.
pub(crate) fn long_busy(lab: &Lab) -> Result<()> {
    let before = lab.stats()?;
    lab.load()?;
    lab.up(1, 1500)?;
    let calls = made(&before, &lab.stats()?);
    lab.unload()?;
    for call in calls.keys() {
        let fault = json!({
            "opcode": call,
            "nth": 1,
            "count": 3,
            "action": { "long_busy": { "code": "H_LONG_BUSY_ORDER_1_MSEC", "times": 2 } },
        });
        lab.guest().inject_fault(&fault)?;
    }
    lab.load()?;
    let name = lab.up(1, 1500)?;
    works(lab, &name)?;
    let faults: Vec<ArmedFault> = lab.guest().faults()?;
    ensure!(
        faults.len() == calls.len() && faults.iter().all(|fault| fault.fired > 0),
        "some calls were never busy: {faults:?}"
    );
    lab.guest().clear_faults()?;
    lab.unload()
}
