// SPDX-License-Identifier: GPL-2.0
//! Memory that cannot be removed, or only in another way, while frames flow.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use ehea_model::stats::Stats;
use ehea_tests::checks::faults::{fired, reported};
use ehea_tests::checks::memory::{prepare, send_by, send_from, start};
use ehea_tests::counters::{ethtool_counter, ethtool_statistics};
use ehea_tests::lab::{wait_until, Lab};
use ehea_tests::memory::{allocations, blocks, not_registered, registered, settled, Dimm, LMB};
use ehea_tests::peer::Traffic;
use serde_json::{json, Value};

const PATIENCE: Duration = Duration::from_secs(60);

/// Plugs in a DIMM of one block. Returns it and its directory in sysfs.
pub(crate) fn plug(lab: &Lab, id: &str) -> Result<(Dimm, String)> {
    let dimm = Dimm::plug(lab, id, LMB)?;
    let block = blocks(lab, &dimm.range)?.pop().context("no memory block")?;
    Ok((dimm, block))
}

/// Sends from the memory of a DIMM so that it gets mapped, and waits until nothing else is left to
/// do.
pub(crate) fn map(lab: &Lab, dimm: &Dimm, stream: u32) -> Result<Stats> {
    send_from(lab, dimm, stream)?;
    settled(lab, dimm)
}

/// Returns the sum of counters of `ethtool -S` that must not change.
pub(crate) fn resets(lab: &Lab) -> Result<u64> {
    let mut sum = 0;
    for port in 1..=2 {
        sum += ethtool_counter(lab, &lab.interface(port)?, "port_resets")?;
    }
    Ok(sum)
}

/// Returns the lines that the driver has logged since `position`.
fn logged(lab: &Lab, position: usize) -> Vec<String> {
    let mut lines = lab.guest().console().since(position);
    lines.retain(|line| line.contains("ehea "));
    lines
}

/// Checks that a block cannot go offline because of a fault, and that nothing has changed except
/// for one line in the log.
fn refused(lab: &Lab, block: &str, dimm: &Dimm, traffic: &Traffic, fault: &Value) -> Result<()> {
    let live = lab.stats()?.live;
    let position = lab.guest().console().position();
    lab.guest().inject_fault(fault)?;
    let output = lab.run(&format!("echo offline >{block}/state"))?;
    fired(lab)?;
    ensure!(!output.success(), "the block went offline");
    let now = lab.stats()?;
    ensure!(now.live == live, "{:?} instead of {live:?}", now.live);
    registered(&now, &dimm.range)?;
    traffic.wait_progress(100, PATIENCE)?;
    ensure!(resets(lab)? == 0, "a port was reset");
    lab.sh("echo end >/dev/kmsg")?;
    let end = lab.guest().console().wait_for(position, "end", PATIENCE);
    ensure!(end.is_some(), "no console");
    let lines = logged(lab, position);
    ensure!(
        lines.len() == 1 && lines[0].contains("can't be removed"),
        "{} lines:\n{}",
        lines.len(),
        lines.join("\n")
    );
    Ok(())
}

/// Firmware refuses each kind of call that removing memory from the map needs. The memory stays,
/// and so does the map. The memory is removed when firmware no longer refuses.
pub(crate) fn removal_refused(lab: &Lab) -> Result<()> {
    let (reflector, traffic) = start(lab)?;
    let (dimm, block) = plug(lab, "dimm2")?;
    map(lab, &dimm, 90)?;
    let calls = [
        ("H_ALLOC_HEA_RESOURCE", 1, "H_HARDWARE"),
        ("H_REGISTER_HEA_RPAGES", 1, "H_HARDWARE"),
        ("H_REGISTER_HEA_RPAGES", 400, "H_HARDWARE"),
        ("H_REGISTER_SMR", 1, "H_HARDWARE"),
        ("H_REGISTER_SMR", 4, "H_NOT_ENOUGH_RESOURCES"),
        // First, the first port cannot pause; then, the second cannot, when the first was already
        // moved.
        ("H_QUERY_HEA_QP", 1, "H_HARDWARE"),
        ("H_MODIFY_HEA_QP", 1, "H_HARDWARE"),
        ("H_MODIFY_HEA_QP", 3, "H_HARDWARE"),
    ];
    for (call, nth, code) in calls {
        let fault = json!({ "opcode": call, "nth": nth, "action": { "return": code } });
        refused(lab, &block, &dimm, &traffic, &fault)
            .with_context(|| format!("call {nth} of {call} refused with {code}"))?;
    }
    traffic.wait_progress(100, PATIENCE)?;
    let before = lab.stats()?;
    lab.sh(&format!("echo offline >{block}/state"))?;
    let after = lab.stats()?;
    not_registered(&after, &dimm.range)?;
    ensure!(
        allocations(&after) == allocations(&before) + 1,
        "not one rebuild"
    );
    ensure!(
        after.live == before.live,
        "{:?}, {:?}",
        before.live,
        after.live
    );
    traffic.wait_progress(100, PATIENCE)?;
    traffic.stop()?.flawless()?;
    reflector.stop()?;
    dimm.unplug(lab)?;
    lab.unload()
}

/// A block that the driver has let go stays after all, because the process that wanted it removed
/// was killed. It is mapped again when it is used.
pub(crate) fn removal_cancelled(lab: &Lab) -> Result<()> {
    let (reflector, traffic) = start(lab)?;
    let (dimm, block) = plug(lab, "dimm3")?;
    map(lab, &dimm, 92)?;
    // The registration takes so long that the signal arrives while the kernel waits for the driver.
    lab.guest().inject_fault(&json!({
        "opcode": "H_ALLOC_HEA_RESOURCE", "resource": "mr",
        "action": { "long_busy": { "code": "H_LONG_BUSY_ORDER_1_SEC", "times": 2 } },
    }))?;
    let status = lab.sh(&format!(
        "sh -c 'echo offline >{block}/state' & pid=$!; sleep 0.5; kill -9 $pid; \
         wait $pid; cat {block}/state"
    ))?;
    fired(lab)?;
    ensure!(status == "online", "the block is {status}");
    not_registered(&lab.stats()?, &dimm.range)?;
    traffic.wait_progress(100, PATIENCE)?;
    map(lab, &dimm, 94)?;
    traffic.stop()?.flawless()?;
    reflector.stop()?;
    dimm.unplug(lab)?;
    lab.unload()
}

/// Firmware does not take the old region back, so the adapter might still reach the memory, which
/// therefore stays. Once firmware has taken the region back, the memory can be removed, and nothing
/// is left behind.
pub(crate) fn region_not_freed(lab: &Lab) -> Result<()> {
    let (reflector, traffic) = start(lab)?;
    let (dimm, block) = plug(lab, "dimm6")?;
    let before = map(lab, &dimm, 98)?;
    let offline = || lab.run(&format!("echo offline >{block}/state"));
    // The call is repeated at once.
    let fault = |count: u32| {
        json!({
            "opcode": "H_FREE_RESOURCE", "resource": "mr", "count": count,
            "action": { "return": "H_HARDWARE" },
        })
    };
    lab.guest().inject_fault(&fault(2))?;
    let position = lab.guest().console().position();
    ensure!(!offline()?.success(), "the block went offline");
    fired(lab)?;
    reported(lab, position, "can't be removed", "may still reach it")?;
    let refused = lab.stats()?;
    ensure!(refused.mrs.len() == 2, "{:?}", refused.mrs);
    traffic.wait_progress(100, PATIENCE)?;
    let output = offline()?;
    ensure!(output.success(), "the block stays: {output}");
    let after = lab.stats()?;
    not_registered(&after, &dimm.range)?;
    ensure!(
        after.live == before.live,
        "{:?} instead of {:?}",
        after.live,
        before.live
    );
    traffic.wait_progress(100, PATIENCE)?;

    // A single refusal goes unnoticed.
    lab.sh(&format!("echo online_movable >{block}/state"))?;
    map(lab, &dimm, 99)?;
    lab.guest().inject_fault(&fault(1))?;
    ensure!(offline()?.success(), "the block did not go offline");
    fired(lab)?;
    not_registered(&lab.stats()?, &dimm.range)?;
    traffic.stop()?.flawless()?;
    reflector.stop()?;
    dimm.unplug(lab)?;
    lab.unload()
}

/// An adapter with room for only one region: the old region is freed before the new one is made,
/// and no frame is lost. If the new one cannot be made, the old one is made again.
pub(crate) fn one_region(lab: &Lab) -> Result<()> {
    let (reflector, traffic) = start(lab)?;
    let near = lab.interface(1)?;
    let break_first = || -> Result<u64> { ethtool_counter(lab, &near, "mr_rebuilds_break_first") };
    let live = lab.stats()?.live;
    let (dimm, block) = plug(lab, "dimm5")?;
    map(lab, &dimm, 96)?;
    ensure!(break_first()? == 1, "not one rebuild");
    traffic.wait_progress(100, PATIENCE)?;

    // The first allocation is the one for which there is no room.
    lab.guest().inject_fault(&json!({
        "opcode": "H_ALLOC_HEA_RESOURCE", "resource": "mr", "nth": 2,
        "action": { "return": "H_HARDWARE" },
    }))?;
    let output = lab.run(&format!("echo offline >{block}/state"))?;
    fired(lab)?;
    ensure!(!output.success(), "the block went offline");
    settled(lab, &dimm)?;
    traffic.wait_progress(100, PATIENCE)?;

    lab.sh(&format!("echo offline >{block}/state"))?;
    not_registered(&lab.stats()?, &dimm.range)?;
    traffic.wait_progress(100, PATIENCE)?;
    ensure!(resets(lab)? == 0, "a port was reset");
    traffic.stop()?.flawless()?;
    reflector.stop()?;
    ensure!(lab.stats()?.live == live, "left: {:?}", lab.stats()?.live);
    dimm.unplug(lab)?;
    lab.unload()
}

/// Removes memory three times while long frames of port 1 wait for the wire, which takes them (`blocked` is
/// reset) when the queue pairs are about to move. There are no interrupts of completions then.
fn remove_without_interrupts(lab: &Lab, near: &str, blocked: &AtomicBool) -> Result<()> {
    let (dimm, block) = plug(lab, "dimm8")?;
    let command = format!("exec ./ehea-net blast {near} {} 1400 110", 1_u64 << 40);
    let flood = lab.guest().spawn(&command)?;
    for round in 0..3 {
        map(lab, &dimm, 111 + round)?;
        blocked.store(true, Ordering::Relaxed);
        wait_until("the wire takes no more", || {
            Ok(lab.stats()?.ports.iter().any(|port| port.tx_busy))
        })?;
        lab.guest().inject_fault(
            &json!({ "event": "drop_interrupt", "queue": "completion", "count": 1_000_000 }),
        )?;
        let removal = lab.guest().spawn(&format!("echo offline >{block}/state"))?;
        wait_until(
            "there is another region",
            || Ok(lab.stats()?.mrs.len() == 2),
        )?;
        thread::sleep(Duration::from_millis(300));
        blocked.store(false, Ordering::Relaxed);
        let output = removal.wait()?;
        lab.guest().clear_faults()?;
        ensure!(
            output.success(),
            "round {round}: the memory does not go: {output}"
        );
        not_registered(&lab.stats()?, &dimm.range)?;
        lab.sh(&format!("echo online_movable >{block}/state"))?;
    }
    flood.signal("KILL")?;
    dimm.unplug(lab)
}

/// Interrupts get lost while memory is removed. The driver looks for itself: the memory goes, and no port
/// is reset.
pub(crate) fn without_interrupts(lab: &Lab) -> Result<()> {
    lab.expect_reraise();
    let [near, _] = prepare(lab)?;
    let polled = || -> Result<u64> { ethtool_counter(lab, &near, "drained_by_poll") };
    ensure!(polled()? == 0, "drained by poll without a rebuild");
    let port = Arc::clone(lab.port(1)?);
    let (blocked, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let wire = scope.spawn(|| -> Result<()> {
            while !stop.load(Ordering::Relaxed) {
                if !blocked.load(Ordering::Relaxed) {
                    port.drain()?;
                }
                thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        });
        let removed = remove_without_interrupts(lab, &near, &blocked);
        blocked.store(false, Ordering::Relaxed);
        stop.store(true, Ordering::Relaxed);
        let drained = wire.join().expect("the thread that is the wire");
        removed.and(drained)
    })?;
    ensure!(polled()? > 0, "no queue was looked at");
    ensure!(resets(lab)? == 0, "a port was reset");
    lab.unload()
}

/// Memory that was added is mapped although firmware refuses that at first and nobody uses the memory
/// any more. However often the memory is missed meanwhile, the log says once that it is not mapped.
pub(crate) fn tried_again(lab: &Lab) -> Result<()> {
    const REFUSALS: u64 = 4;
    let [near, _] = prepare(lab)?;
    let (dimm, _) = plug(lab, "dimm9")?;
    lab.guest().inject_fault(&json!({
        "opcode": "H_ALLOC_HEA_RESOURCE", "resource": "mr", "count": REFUSALS,
        "action": { "return": "H_HARDWARE" },
    }))?;
    let position = lab.guest().console().position();
    let failed = || -> Result<u64> { ethtool_counter(lab, &near, "mr_rebuilds_failed") };
    lab.sh("dd if=/dev/zero of=/tmp/file bs=64K count=16 2>/dev/null")?;
    while failed()? < REFUSALS / 2 {
        let command = "./ehea-net senddatagrams /tmp/file 10.78.0.2 4000 2";
        let (pages, inside) = send_by(lab, &dimm, command)?;
        ensure!(
            inside == pages,
            "{inside} of {pages} pages are in the added memory"
        );
    }
    lab.sh("rm /tmp/file")?;
    settled(lab, &dimm)?;
    lab.guest().clear_faults()?;
    let lines = logged(lab, position);
    let not_rebuilt = lines.iter().filter(|line| line.contains("not rebuilt"));
    ensure!(not_rebuilt.count() == 1, "{lines:#?}");
    ensure!(
        failed()? == REFUSALS,
        "{} failed rebuilds instead of {REFUSALS}",
        failed()?
    );
    dimm.unplug(lab)?;
    lab.unload()
}

/// All queue pairs pause longer than the watchdog waits, because firmware takes its time. No port is reset.
pub(crate) fn long_pause(lab: &Lab) -> Result<()> {
    lab.guest().console().allow("NETDEV WATCHDOG");
    let [near, far] = prepare(lab)?;
    let (dimm, block) = plug(lab, "dimm4")?;
    map(lab, &dimm, 120)?;
    // There is no room at the first allocation. The second one is made while all pause.
    lab.guest().inject_fault(&json!({
        "opcode": "H_ALLOC_HEA_RESOURCE", "resource": "mr", "nth": 2,
        "action": { "long_busy": { "code": "H_LONG_BUSY_ORDER_10_SEC", "times": 2 } },
    }))?;
    let position = lab.guest().console().position();
    lab.sh(&format!("echo offline >{block}/state"))?;
    fired(lab)?;
    not_registered(&lab.stats()?, &dimm.range)?;
    let lines = lab.guest().console().since(position);
    ensure!(
        lines.iter().any(|line| line.contains("NETDEV WATCHDOG")),
        "the watchdog was patient: nothing was tested"
    );
    ensure!(resets(lab)? == 0, "a port was reset");
    for name in [near, far] {
        let statistics = ethtool_statistics(lab, &name)?;
        let stuck = statistics.get("port_reset_stuck").copied();
        ensure!(stuck == Some(0), "{name}: {stuck:?} resets of queues");
    }
    dimm.unplug(lab)?;
    lab.unload()
}
