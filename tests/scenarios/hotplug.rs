// SPDX-License-Identifier: GPL-2.0
//! Memory that comes and goes while frames flow.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use ehea_model::stats::Stats;
use ehea_tests::checks::faults::fired;
use ehea_tests::checks::memory::{prepare, send_by, send_from, start};
use ehea_tests::counters::ethtool_counter;
use ehea_tests::lab::{wait_until, Lab, Other};
use ehea_tests::memory::{
    allocations, blocks, calls, not_registered, registered, settled, Dimm, LMB,
};

use crate::memory;

const PATIENCE: Duration = Duration::from_secs(60);
const DIMM_BYTES: u64 = 512 << 20;

/// Memory is added and removed five times. The first packet from added memory causes one rebuild,
/// the removal causes another, and no frame is lost, not even the one that caused the rebuild.
pub(crate) fn under_traffic(lab: &Lab) -> Result<()> {
    let (reflector, traffic) = start(lab)?;
    traffic.wait_progress(100, PATIENCE)?;
    for round in 0..5 {
        let before = lab.stats()?;
        let dimm = Dimm::plug(lab, "dimm0", DIMM_BYTES)?;
        let plugged = lab.stats()?;
        ensure!(
            allocations(&plugged) == allocations(&before),
            "round {round}: added memory alone caused a rebuild"
        );
        send_from(lab, &dimm, 60 + 2 * round)?;
        settled(lab, &dimm)?;
        send_from(lab, &dimm, 61 + 2 * round)?;
        let used = lab.stats()?;
        ensure!(
            allocations(&used) == allocations(&before) + 1,
            "round {round}: {} rebuilds for one range",
            allocations(&used) - allocations(&before)
        );
        traffic.wait_progress(100, PATIENCE)?;
        dimm.unplug(lab)?;
        let removed = lab.stats()?;
        not_registered(&removed, &dimm.range)?;
        // 512 MiB are two blocks, and each of them goes offline by itself.
        let rebuilds = allocations(&removed) - allocations(&used);
        ensure!(
            (1..=DIMM_BYTES >> 28).contains(&rebuilds),
            "round {round}: {rebuilds} rebuilds for one removal"
        );
        traffic.wait_progress(100, PATIENCE)?;
    }
    traffic.stop()?.flawless()?;
    reflector.stop()?;
    lab.unload()
}

/// A block in the map goes offline: it is out of the map before the operation ends. A block that is
/// not in the map costs nothing.
pub(crate) fn block_offline(lab: &Lab) -> Result<()> {
    let (reflector, traffic) = start(lab)?;
    let dimm = Dimm::plug(lab, "dimm1", 256 << 20)?;
    let [block] = &blocks(lab, &dimm.range)?[..] else {
        anyhow::bail!("a DIMM of 256 MiB is not one memory block");
    };

    let unmapped = allocations(&lab.stats()?);
    lab.sh(&format!("echo offline >{block}/state"))?;
    lab.sh(&format!("echo online_movable >{block}/state"))?;
    ensure!(
        allocations(&lab.stats()?) == unmapped,
        "memory that the map doesn't contain caused a rebuild"
    );
    send_from(lab, &dimm, 80)?;
    let mapped = settled(lab, &dimm)?;
    lab.sh(&format!("echo offline >{block}/state"))?;
    let offline = lab.stats()?;
    not_registered(&offline, &dimm.range)?;
    ensure!(
        allocations(&offline) == allocations(&mapped) + 1,
        "not one rebuild for one block"
    );
    traffic.wait_progress(100, PATIENCE)?;
    traffic.stop()?.flawless()?;
    reflector.stop()?;

    let before = calls(&lab.stats()?);
    lab.sh(&format!("echo online_movable >{block}/state"))?;
    lab.sh(&format!("echo offline >{block}/state"))?;
    ensure!(
        calls(&lab.stats()?) == before,
        "a block outside of the map cost hypercalls"
    );
    lab.sh(&format!("echo online_movable >{block}/state"))?;
    dimm.unplug(lab)?;
    lab.unload()
}

/// Two adapters follow memory that comes and goes. Each maps it when it needs it. It goes when both have let it go,
/// and stays if one of them cannot; both work all the time.
pub(crate) fn of_two_adapters(lab: &Lab) -> Result<()> {
    let (reflector, traffic) = start(lab)?;
    let third = lab.up(3, 9000)?;
    lab.address(&third, 79)?;
    let second = || lab.guest().stats_of::<Stats>(&Other::Adapter.id());
    let (dimm, block) = memory::plug(lab, "dimm10")?;
    let map = |stream: u32| -> Result<()> {
        send_from(lab, &dimm, stream)?;
        settled(lab, &dimm)?;
        not_registered(&second()?, &dimm.range).context("the second adapter has no need of it")?;
        send_by(lab, &dimm, "./ehea-net fragments 10.79.0.2 4000 1 99")?;
        wait_until("the second adapter maps the memory", || {
            lab.port(3)?.drain()?;
            Ok(registered(&second()?, &dimm.range).is_ok())
        })
    };
    map(90)?;
    lab.sh(&format!("echo offline >{block}/state"))?;
    not_registered(&lab.stats()?, &dimm.range)?;
    not_registered(&second()?, &dimm.range).context("of the second adapter")?;
    traffic.wait_progress(100, PATIENCE)?;

    lab.sh(&format!("echo online_movable >{block}/state"))?;
    map(91)?;
    lab.guest().inject_fault(&serde_json::json!({
        "opcode": "H_ALLOC_HEA_RESOURCE", "resource": "mr", "action": { "return": "H_HARDWARE" },
    }))?;
    ensure!(
        !lab.run(&format!("echo offline >{block}/state"))?.success(),
        "memory went although an adapter has it mapped"
    );
    fired(lab)?;
    registered(&lab.stats()?, &dimm.range)?;
    traffic.wait_progress(100, PATIENCE)?;
    dimm.unplug(lab)?;
    not_registered(&second()?, &dimm.range).context("of the second adapter")?;
    traffic.stop()?.flawless()?;
    reflector.stop()?;
    let stats = second()?;
    ensure!(
        stats.refused_accesses == 0 && stats.refusals.is_empty(),
        "the second adapter: {:?}",
        stats.refusals
    );
    lab.unload()
}

/// Memory comes and goes thirty times, in all ways in turn. No frame is lost, and nothing is left
/// behind.
pub(crate) fn soak(lab: &Lab) -> Result<()> {
    let soaked = ehea_tests::soak::soak(lab, 30, |plan| plan, |_| {})?;
    ensure!(soaked.lost == 0, "lost: {soaked:?}");
    Ok(())
}

/// Added memory costs nothing as long as nobody sends from it, and costs nothing if it is removed
/// before that. When it is finally used, many misses cost one rebuild.
pub(crate) fn idle(lab: &Lab) -> Result<()> {
    let [near, far] = prepare(lab)?;
    let before = calls(&lab.stats()?);
    let free = |what: &str| -> Result<()> {
        let cost = calls(&lab.stats()?) - before;
        ensure!(cost == 0, "{what} cost {cost} hypercalls");
        Ok(())
    };
    let dimms: Vec<Dimm> = (0..4)
        .map(|number| Dimm::plug(lab, &format!("idle{number}"), (1 + number % 2) * LMB))
        .collect::<Result<_>>()?;
    free("six blocks added")?;
    for dimm in &dimms {
        for block in blocks(lab, &dimm.range)? {
            lab.sh(&format!("echo offline >{block}/state"))?;
            lab.sh(&format!("echo online_movable >{block}/state"))?;
        }
    }
    free("six blocks offline and online")?;
    let (gone, used) = dimms.split_at(2);
    for dimm in gone {
        dimm.unplug(lab)?;
    }
    free("three blocks removed")?;

    // The rebuild takes so long that misses occur meanwhile.
    lab.guest().inject_fault(&serde_json::json!({
        "opcode": "H_ALLOC_HEA_RESOURCE", "resource": "mr",
        "action": { "long_busy": { "code": "H_LONG_BUSY_ORDER_1_SEC", "times": 1 } },
    }))?;
    let count = |name: &str| -> Result<u64> { ethtool_counter(lab, &far, name) };
    for stream in 120..123 {
        // The datagrams come from whichever of the two the kernel finds pages in first.
        let both = Dimm::spanning(used);
        send_from(lab, &both, stream)?;
    }
    for dimm in used {
        settled(lab, dimm)?;
    }
    lab.guest().clear_faults()?;
    let (misses, bounced) = (count("tx_translation_misses")?, count("tx_bounced")?);
    ensure!(
        misses > 1 && bounced > 1,
        "{misses} misses, {bounced} bounced"
    );
    ensure!(
        count("mr_rebuilds_lazy")? == 1,
        "{misses} misses caused several rebuilds"
    );
    for (index, dimm) in used.iter().enumerate() {
        dimm.unplug(lab)?;
        not_registered(&lab.stats()?, &dimm.range)?;
        let left = &used[index + 1..];
        for other in left {
            registered(&lab.stats()?, &other.range)?;
        }
    }
    let blocks: u64 = used
        .iter()
        .map(|dimm| (dimm.range.end - dimm.range.start) / LMB)
        .sum();
    ensure!(
        count("mr_rebuilds_immediate")? == blocks,
        "not one rebuild for each block"
    );
    ensure!(count("mr_rebuilds_failed")? == 0, "a rebuild failed");
    lab.sh(&format!("ip link set {near} down; ip link set {far} down"))?;
    lab.unload()
}
