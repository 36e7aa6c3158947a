// SPDX-License-Identifier: GPL-2.0
//! Memory that is slow to leave, or stays after all although the driver has let it go.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use ehea_model::stats::Stats;
use ehea_tests::checks::memory::{prepare, send_by, start, Holder};
use ehea_tests::counters::ethtool_counter;
use ehea_tests::lab::{text, wait_until, Lab};
use ehea_tests::memory::{allocations, calls, not_registered, settled, Dimm};
use ehea_tests::peer::PEER_ADDRESS;

use crate::memory::{map, plug, resets};

const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until the driver has let the memory of `dimm` go, while the kernel still tries to free it.
/// Later would be too late.
fn let_go(lab: &Lab, dimm: &Dimm, block: &str) -> Result<Stats> {
    wait_until("the memory is out of the map while it goes offline", || {
        let stats = lab.stats()?;
        Ok(not_registered(&stats, &dimm.range).is_ok() && stats.mrs.len() == 1)
    })?;
    let state = lab.sh(&format!("cat {block}/state"))?;
    ensure!(state == "going-offline", "the block is {state}");
    lab.stats()
}

fn sent_by_copy(lab: &Lab) -> Result<u64> {
    ethtool_counter(lab, &lab.interface(2)?, "tx_bounced")
}

/// A block cannot go offline because pages in it cannot move.
///
/// The driver lets it go at once. What is sent from it meanwhile is sent from a copy, without a
/// rebuild. When nobody wants the block offline any more, it is mapped again as soon as it is used.
/// When the pages are free, the block goes offline.
pub(crate) fn held_back(lab: &Lab) -> Result<()> {
    let (reflector, traffic) = start(lab)?;
    let (dimm, block) = plug(lab, "dimm4")?;
    let mapped = map(lab, &dimm, 100)?;
    let mut holder = Holder::start(lab, &dimm, 101)?;
    let by_copy = sent_by_copy(lab)?;
    holder.send()?;
    ensure!(sent_by_copy(lab)? == by_copy, "what is mapped was copied");

    let attempt = lab.guest().spawn(&format!("echo offline >{block}/state"))?;
    let going = let_go(lab, &dimm, &block)?;
    ensure!(
        allocations(&going) == allocations(&mapped) + 1,
        "not one rebuild for one block"
    );
    for _ in 0..5 {
        holder.send()?;
    }
    ensure!(sent_by_copy(lab)? > by_copy, "no packet missed");
    traffic.wait_progress(100, PATIENCE)?;
    let missed = lab.stats()?;
    ensure!(
        calls(&missed) == calls(&going),
        "misses in memory that goes offline cost hypercalls: {:?}, before: {:?}",
        missed.hcalls,
        going.hcalls
    );

    attempt.signal("KILL")?;
    wait_until("the kernel gives up", || {
        Ok(lab.sh(&format!("cat {block}/state"))? == "online")
    })?;
    ensure!(
        calls(&lab.stats()?) == calls(&missed),
        "that memory stays cost hypercalls"
    );
    holder.send()?;
    let again = settled(lab, &dimm)?;
    ensure!(
        allocations(&again) == allocations(&missed) + 1,
        "not one rebuild for memory that has stayed"
    );
    ensure!(
        again.live == mapped.live,
        "{:?} instead of {:?}",
        again.live,
        mapped.live
    );

    let attempt = lab.guest().spawn(&format!("echo offline >{block}/state"))?;
    let_go(lab, &dimm, &block)?;
    holder.stop()?;
    let output = attempt.wait()?;
    ensure!(output.success(), "{output}");
    traffic.wait_progress(100, PATIENCE)?;
    traffic.stop()?.flawless()?;
    reflector.stop()?;
    ensure!(resets(lab)? == 0, "a port was reset");
    dimm.unplug(lab)?;
    lab.unload()
}

/// The driver lets a block go, and another notifier that is called later refuses. Everything is as
/// before, and the block is mapped again when it is used.
pub(crate) fn overruled(lab: &Lab) -> Result<()> {
    let (reflector, traffic) = start(lab)?;
    let (dimm, block) = plug(lab, "dimm6")?;
    let mut mapped = map(lab, &dimm, 105)?;
    // Notifiers of a lower priority are called later.
    lab.sh("modprobe memory-notifier-error-inject priority=-10")?;
    let error = "/sys/kernel/debug/notifier-error-inject/memory/actions/MEM_GOING_OFFLINE/error";
    for round in 0..5 {
        lab.sh(&format!("echo -16 >{error}"))?;
        let output = lab.run(&format!("echo offline >{block}/state"))?;
        ensure!(!output.success(), "the block went offline");
        lab.sh(&format!("echo 0 >{error}"))?;
        let refused = lab.stats()?;
        not_registered(&refused, &dimm.range)?;
        ensure!(refused.live == mapped.live, "left: {:?}", refused.live);
        traffic.wait_progress(50, PATIENCE)?;
        let again = map(lab, &dimm, 106 + round)?;
        ensure!(
            allocations(&again) == allocations(&mapped) + 2,
            "not one rebuild each way"
        );
        ensure!(again.mrs[0].runs == mapped.mrs[0].runs, "another map");
        mapped = again;
    }
    lab.sh("rmmod memory-notifier-error-inject")?;
    traffic.stop()?.flawless()?;
    reflector.stop()?;
    ensure!(resets(lab)? == 0, "a port was reset");
    dimm.unplug(lab)?;
    lab.unload()
}

/// Number of datagrams that are sent from a file before its memory goes. A processor that many buffers
/// wait for is told of them.
const DATAGRAMS: u64 = 16;

/// Returns how many interrupts of the interface `name` the second processor has handled.
fn on_second_processor(lab: &Lab, name: &str) -> Result<u64> {
    let sum = lab.sh(&format!(
        "awk '/{name}-/ {{ sum += $3 }} END {{ print sum + 0 }}' /proc/interrupts"
    ))?;
    Ok(sum.trim().parse()?)
}

/// Memory goes although a file in it was sent a while ago. A processor sends that handles no
/// interrupt: nothing of what was sent may wait for it to receive something. The port is in use, idle
/// or down, in turn.
fn sent_before(lab: &Lab, rounds: u64) -> Result<()> {
    let [_, far] = prepare(lab)?;
    lab.sh(
        "for n in $(sed -n 's/^ *\\([0-9]*\\):.*ehea.*/\\1/p; s/^ *\\([0-9]*\\):.*eth[0-9].*/\\1/p' \
         /proc/interrupts); do echo 1 >/proc/irq/$n/smp_affinity; done",
    )?;
    let (dimm, block) = plug(lab, "dimm7")?;
    let before = on_second_processor(lab, &far)?;
    for round in 0..rounds {
        lab.sh("dd if=/dev/zero of=/tmp/file bs=64K count=16 2>/dev/null")?;
        let command = "taskset 2 ./ehea-net senddatagrams /tmp/file 10.78.0.2 4000";
        send_by(lab, &dimm, &format!("{command} {DATAGRAMS}"))
            .with_context(|| format!("round {round}"))?;
        lab.port(2)?.drain()?;
        match round % 3 {
            0 => {}
            1 => drop(lab.sh("sleep 1")?),
            _ => drop(lab.sh(&format!("ip link set {far} down"))?),
        }
        let output = lab.run(&format!(
            "timeout 30 sh -c 'echo offline >{block}/state' && echo online_movable >{block}/state"
        ))?;
        ensure!(
            output.success(),
            "round {round}: the memory does not go: {output}"
        );
        lab.sh("rm /tmp/file")?;
        if round % 3 == 2 {
            lab.up(2, 9000)?;
            lab.sh(&format!("arp -i {far} -s 10.78.0.2 {}", text(PEER_ADDRESS)))?;
        }
    }
    ensure!(
        on_second_processor(lab, &far)? == before,
        "the sending processor has received something: nothing was tested"
    );
    dimm.unplug(lab)?;
    lab.unload()
}

pub(crate) fn sent_long_ago(lab: &Lab) -> Result<()> {
    sent_before(lab, 6)
}

pub(crate) fn sent_long_ago_50(lab: &Lab) -> Result<()> {
    sent_before(lab, 50)
}
