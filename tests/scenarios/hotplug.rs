// SPDX-License-Identifier: GPL-2.0
//! Memory that comes and goes while frames flow.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use ehea_model::fault::ArmedFault;
use ehea_model::stats::Stats;
use ehea_tests::checks::memory::{prepare, send_by, send_from, start};
use ehea_tests::counters::ethtool_counter;
use ehea_tests::lab::{port_address, wait_until, Lab, Other};
use ehea_tests::memory::{
    allocations, blocks, calls, not_registered, registered, settled, Dimm, LMB,
};
use ehea_tests::peer::Plan;

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

/// Memory of two adapters, and the number of walks of memory that the driver has made for both.
#[derive(Debug)]
struct Both<'a> {
    lab: &'a Lab,
    /// Interfaces of the two adapters.
    names: [String; 2],
    dimm: Dimm,
    block: String,
}

impl<'a> Both<'a> {
    fn second(&self) -> Result<Stats> {
        self.lab.guest().stats_of(&Other::Adapter.id())
    }

    fn walks(&self) -> Result<u64> {
        let [first, second] = &self.names;
        let walks = ethtool_counter(self.lab, first, "mr_walks")?;
        ensure!(
            ethtool_counter(self.lab, second, "mr_walks")? == walks,
            "the adapters have two maps"
        );
        Ok(walks)
    }

    /// Fails if `event` does not cost one walk for both adapters.
    fn one_walk(&self, what: &str, event: impl FnOnce() -> Result<()>) -> Result<()> {
        let before = self.walks()?;
        event()?;
        let walks = self.walks()? - before;
        ensure!(walks == 1, "{what}: {walks} walks");
        Ok(())
    }

    /// Waits until both adapters have the memory in their regions, and no other region.
    fn mapped(&self) -> Result<()> {
        settled(self.lab, &self.dimm)?;
        wait_until("the second adapter has the memory, too", || {
            let stats = self.second()?;
            Ok(registered(&stats, &self.dimm.range).is_ok() && stats.mrs.len() == 1)
        })
    }

    fn not_mapped(&self) -> Result<()> {
        not_registered(&self.lab.stats()?, &self.dimm.range)?;
        not_registered(&self.second()?, &self.dimm.range).context("of the second adapter")
    }

    fn offline(&self) -> Result<bool> {
        let block = &self.block;
        let output = self.lab.run(&format!("echo offline >{block}/state"))?;
        Ok(output.success())
    }

    fn online(&self) -> Result<()> {
        let block = &self.block;
        self.lab
            .sh(&format!("echo online_movable >{block}/state"))
            .map(drop)
    }

    /// Fails if firmware has refused anything to the second adapter.
    fn flawless(&self) -> Result<()> {
        let stats = self.second()?;
        ensure!(
            stats.refused_accesses == 0 && stats.refusals.is_empty(),
            "the second adapter: {:?}",
            stats.refusals
        );
        Ok(())
    }
}

/// Two adapters have one memory map. Memory that one of them needs is mapped for both, and goes from both, with one
/// walk of memory each time. One that is bound later costs no walk.
pub(crate) fn of_two_adapters(lab: &Lab) -> Result<()> {
    let (reflector, traffic) = start(lab)?;
    let third = lab.up(3, 9000)?;
    lab.address(&third, 79)?;
    let (dimm, block) = memory::plug(lab, "dimm10")?;
    let both = Both {
        lab,
        names: [lab.interface(1)?, third.clone()],
        dimm,
        block,
    };
    ensure!(both.walks()? == 1, "the second adapter has cost a walk");
    for round in 0..2 {
        both.one_walk("a miss of the first adapter", || {
            send_from(lab, &both.dimm, 90 + round)?;
            both.mapped()
        })?;
        send_from(lab, &both.dimm, 94 + round)?;
        traffic.wait_progress(100, PATIENCE)?;
        both.one_walk("a removal", || {
            ensure!(both.offline()?, "the memory does not go");
            both.not_mapped()
        })?;
        both.online()?;
        both.one_walk("a miss of the second adapter", || {
            send_by(lab, &both.dimm, "./ehea-net fragments 10.79.0.2 4000 1 99")?;
            both.mapped()
        })?;
        lab.port(3)?.drain()?;
        traffic.wait_progress(100, PATIENCE)?;
        both.one_walk("another removal", || {
            ensure!(both.offline()?, "the memory does not go");
            both.not_mapped()
        })?;
        both.online()?;
    }

    // One that goes takes nothing with it, and one that comes uses the map that there is.
    let (directory, unit) = (lab.driver_directory(), Other::Adapter.unit());
    let mut devices = lab.bound()?.into_iter();
    let device = devices
        .find(|name| name.contains(unit))
        .context("the second adapter is not bound")?;
    let walks = both.walks()?;
    lab.sh(&format!("echo {device} >{directory}/unbind"))?;
    traffic.wait_progress(100, PATIENCE)?;
    send_from(lab, &both.dimm, 98)?;
    settled(lab, &both.dimm)?;
    lab.sh(&format!("echo {device} >{directory}/bind"))?;
    lab.up(3, 9000)?;
    ensure!(both.walks()? == walks + 1, "binding has cost a walk");
    both.mapped()?;
    both.dimm.unplug(lab)?;
    both.not_mapped()?;
    traffic.stop()?.flawless()?;
    reflector.stop()?;
    both.flawless()?;
    lab.unload()
}

/// Firmware of one of two adapters refuses each kind of call that a removal needs. The memory stays for both, with one
/// walk, and both carry all frames. It goes when firmware no longer refuses.
pub(crate) fn refused_by_one_adapter(lab: &Lab) -> Result<()> {
    let (reflector, traffic) = start(lab)?;
    let third = lab.up(3, 9000)?;
    let other_reflector = lab.reflect(&third)?;
    let plan = Plan::new(51, u64::MAX, |n| 60 + (n as usize * 61) % 8955);
    let plan = plan.to(port_address(3)).patience(PATIENCE);
    let other_traffic = plan.start(Arc::clone(lab.port(3)?));
    let (dimm, block) = memory::plug(lab, "dimm11")?;
    let both = Both {
        lab,
        names: [lab.interface(1)?, third],
        dimm,
        block,
    };
    send_from(lab, &both.dimm, 90)?;
    both.mapped()?;
    let (first, second) = ("ehea0".to_owned(), Other::Adapter.id());
    for (adapter, call) in [
        // Nothing has moved yet.
        (&second, "H_ALLOC_HEA_RESOURCE"),
        (&first, "H_ALLOC_HEA_RESOURCE"),
        // One of them has moved, and returns.
        (&second, "H_REGISTER_SMR"),
        (&second, "H_MODIFY_HEA_QP"),
        (&first, "H_MODIFY_HEA_QP"),
    ] {
        let fault = serde_json::json!({ "opcode": call, "action": { "return": "H_HARDWARE" } });
        lab.guest().inject_fault_of(adapter, &fault)?;
        let refused = || -> Result<()> {
            ensure!(!both.offline()?, "the memory went");
            both.mapped()
        };
        both.one_walk("a refused removal", refused)
            .with_context(|| format!("{adapter} refuses {call}"))?;
        let faults: Vec<ArmedFault> = lab.guest().faults_of(adapter)?;
        ensure!(faults.iter().all(|fault| fault.fired == 1), "{faults:?}");
        lab.guest().clear_faults_of(adapter)?;
        traffic.wait_progress(100, PATIENCE)?;
        other_traffic.wait_progress(100, PATIENCE)?;
        for name in &both.names {
            let resets = ethtool_counter(lab, name, "port_resets")?;
            ensure!(resets == 0, "{name} was reset: {adapter} refuses {call}");
        }
    }
    for name in &both.names {
        ensure!(
            ethtool_counter(lab, name, "mr_rebuilds_refused")? == 5,
            "not all refusals are counted by {name}"
        );
    }
    both.one_walk("a removal", || {
        ensure!(both.offline()?, "the memory does not go");
        both.not_mapped()
    })?;
    traffic.wait_progress(100, PATIENCE)?;
    other_traffic.wait_progress(100, PATIENCE)?;
    both.online()?;
    both.dimm.unplug(lab)?;
    for traffic in [traffic, other_traffic] {
        traffic.stop()?.flawless()?;
    }
    reflector.stop()?;
    other_reflector.stop()?;
    both.flawless()?;
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
