// SPDX-License-Identifier: GPL-2.0
//! Checks that what the driver shows of its memory map agrees with the model.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use ehea_model::fault::ArmedFault;
use ehea_model::stats::Stats;
use ehea_tests::checks::faults::{fired, reported, works};
use ehea_tests::checks::memory::{prepare, send_from, start};
use ehea_tests::counters::{ethtool_counter, ethtool_statistics};
use ehea_tests::lab::{port_address, wait_until, Lab};
use ehea_tests::memory::{blocks, not_registered, online_bytes, registered, Dimm};
use ehea_tests::observe::{allocations_of_module, Event, MapFile, Trace, DEBUGFS};
use ehea_tests::peer::Plan;
use serde_json::json;

use crate::memory::{self, plug};

const PATIENCE: Duration = Duration::from_secs(60);
/// Size of a DIMM in bytes: two blocks.
const DIMM_BYTES: u64 = 512 << 20;
/// First adapter address.
const START: u64 = 0x8000_0000_0000_0000;
/// Number of calls to disable a queue pair and to enable it again, which take three calls each.
const BLACKOUT_HCALLS: u64 = 6;

fn hcalls(stats: &Stats) -> u64 {
    stats.hcalls.values().sum()
}

/// Fails unless the last blackout, which was since `before`, and the longest one had the calls that they
/// need. Ports ask for their statistics once a second, and such calls count if they are made meanwhile.
fn blackouts(lab: &Lab, file: &MapFile, before: &Stats) -> Result<()> {
    let asked = |stats: &Stats| stats.hcalls.get("H_QUERY_HEA_PORT").copied().unwrap_or(0);
    let others = asked(&lab.stats()?) - asked(before);
    for name in ["mr_blackout_hcalls", "mr_blackout_hcalls_max"] {
        let calls = file.get(name)?;
        ensure!(
            (BLACKOUT_HCALLS..=BLACKOUT_HCALLS + others).contains(&calls),
            "{name} is {calls}, not {BLACKOUT_HCALLS}, and {others} calls were about ports"
        );
    }
    Ok(())
}

/// Returns the file in debugfs after comparing it with the model, with the memory that is online,
/// and with `ethtool -S`.
fn map(lab: &Lab, before: &Stats) -> Result<MapFile> {
    let counted = counters(lab)?;
    let earlier = lab.stats()?;
    let file = MapFile::read(lab)?;
    let stats = lab.stats()?;

    let [mr] = &stats.mrs[..] else {
        bail!("the model has {} regions", stats.mrs.len());
    };
    file.expect(&[
        ("mr_alive", 1),
        ("mr_not_freed", 0),
        ("mr_bytes", mr.bytes),
        ("mr_sections", mr.bytes >> 24),
        ("mr_page_size", mr.page_bytes),
        ("mr_register_hcalls", mr.register_calls),
    ])?;
    let runs: Vec<_> = file.runs.iter().map(|run| (run.real, run.len)).collect();
    ensure!(runs == mr.runs, "{runs:x?}, the model has {:x?}", mr.runs);
    let mut bus = START;
    for run in &file.runs {
        ensure!(run.bus == bus, "{run:x?} is not at {bus:#x}");
        bus += run.len;
    }
    let online = online_bytes(lab)?;
    ensure!(bus - START == online, "{online} bytes are online: {file:?}");

    // The adapter's counters are fetched once a second, perhaps in between.
    let calls = file.get("hcalls")? + hcalls(before);
    ensure!(
        (hcalls(&earlier)..=hcalls(&stats)).contains(&calls),
        "{calls} hypercalls, the model has {} to {}",
        hcalls(&earlier),
        hcalls(&stats)
    );

    same_counters(&file, &counted, &counters(lab)?)?;
    Ok(file)
}

/// Returns the counters that `ethtool -S` shows for the adapter: figures of the adapter, which both
/// ports must show alike, and the sums of what the ports have counted.
fn counters(lab: &Lab) -> Result<BTreeMap<String, u64>> {
    let mut sums = ethtool_statistics(lab, &lab.interface(1)?)?;
    for (name, value) in ethtool_statistics(lab, &lab.interface(2)?)? {
        let sum = sums.get_mut(&name);
        let sum = sum.with_context(|| format!("one port has no {name}"))?;
        if name.starts_with("mr_") {
            ensure!(*sum == value, "{name} is {sum} and {value}");
        } else if name == "hcalls" {
            // Statistics may be fetched in between.
            *sum = value;
        } else {
            *sum += value;
        }
    }
    Ok(sums)
}

/// Fails unless the file in debugfs shows the same counters as `ethtool -S` has shown before and after
/// it, under the same names.
fn same_counters(
    file: &MapFile,
    before: &BTreeMap<String, u64>,
    after: &BTreeMap<String, u64>,
) -> Result<()> {
    let names: BTreeSet<_> = file.names().collect();
    let expected: BTreeSet<_> = after.keys().map(String::as_str).collect();
    ensure!(
        names == expected,
        "not in both: {:?}",
        names.symmetric_difference(&expected)
    );
    for (name, &after) in after {
        let before = before.get(name).copied().unwrap_or_default();
        let value = file.get(name)?;
        let exact = name.starts_with("mr_") || name.contains("miss") || name.contains("bounced");
        ensure!(
            value == after || !exact && (before..after).contains(&value),
            "{name} is {value}, ethtool has {before} before and {after} after"
        );
    }
    Ok(())
}

/// Checks the events of the only rebuild, whose cause is `cause`: it ends as `result`, and its
/// costs are those in the file.
fn rebuild(events: &[Event], file: &MapFile, cause: &str, result: &str) -> Result<()> {
    let events: Vec<_> = events.iter().filter(|e| e.name != "ehea_miss").collect();
    let [start, end] = &events[..] else {
        bail!("not one rebuild: {events:?}");
    };
    ensure!(
        start.name == "ehea_rebuild_start" && end.name == "ehea_rebuild_end",
        "{events:?}"
    );
    ensure!(start.text("cause")? == cause, "{start:?}");
    ensure!(end.text("result")? == result, "{end:?}");
    ensure!(start.text("device")? == end.text("device")?, "{events:?}");
    ensure!(
        start.number("generation")? == end.number("generation")?,
        "{events:?}"
    );
    file.expect(&[
        ("mr_bytes", end.number("bytes")?),
        ("mr_blackout_hcalls", end.number("blackout_hcalls")?),
        ("mr_blackout_ns", end.number("blackout_ns")?),
    ])?;
    ensure!(
        end.number("ns")? > end.number("blackout_ns")?
            && end.number("hcalls")? > end.number("blackout_hcalls")?,
        "a blackout longer than the rebuild: {end:?}"
    );
    Ok(())
}

/// Memory is added, used, refused to be removed, and removed. The file in debugfs, the counters and
/// the events show that.
pub(crate) fn map_and_events(lab: &Lab) -> Result<()> {
    let before = lab.stats()?;
    let (reflector, traffic) = start(lab)?;
    traffic.wait_progress(100, PATIENCE)?;
    let trace = Trace::start(lab)?;
    let first = map(lab, &before)?;
    first.expect(&[
        ("mr_generation", 0),
        ("mr_rebuilds_lazy", 0),
        ("mr_rebuilds_immediate", 0),
        ("mr_rebuilds_failed", 0),
        ("mr_rebuilds_refused", 0),
        ("mr_rebuilds_break_first", 0),
        ("mr_blackout_hcalls", 0),
        ("mr_blackout_ns", 0),
        ("tx_translation_misses", 0),
        ("rx_translation_misses", 0),
        ("tx_bounced", 0),
    ])?;

    let dimm = Dimm::plug(lab, "dimm6", DIMM_BYTES)?;
    let added = MapFile::read(lab)?;
    ensure!(added.runs == first.runs, "added memory was mapped unused");
    ensure!(trace.take()?.is_empty(), "an event without a cause");

    let unused = lab.stats()?;
    send_from(lab, &dimm, 130)?;
    wait_until("the map was rebuilt", || {
        Ok(MapFile::read(lab)?.get("mr_rebuilds_lazy")? == 1)
    })?;
    let lazy = map(lab, &before)?;
    blackouts(lab, &lazy, &unused)?;
    lazy.expect(&[
        ("mr_generation", 1),
        ("mr_blackout_ns_max", lazy.get("mr_blackout_ns")?),
    ])?;
    let events = trace.take()?;
    rebuild(&events, &lazy, "lazy", "published")?;
    let mut misses = 0;
    for miss in events.iter().filter(|event| event.name == "ehea_miss") {
        ensure!(
            miss.text("dev")? == lab.interface(2)?
                && miss.text("direction")? == "tx"
                && dimm.range.contains(&miss.number("address")?),
            "{miss:?}"
        );
        misses += 1;
    }
    ensure!(misses > 0, "no miss: {events:?}");
    lazy.expect(&[("tx_translation_misses", misses)])?;

    let [block, _] = &blocks(lab, &dimm.range)?[..] else {
        bail!("a DIMM of {DIMM_BYTES} bytes is not two memory blocks");
    };
    lab.guest().inject_fault(
        &json!({ "opcode": "H_MODIFY_HEA_QP", "nth": 3, "action": { "return": "H_HARDWARE" } }),
    )?;
    let output = lab.run(&format!("echo offline >{block}/state"))?;
    fired(lab)?;
    ensure!(!output.success(), "the block went offline");
    let refused = map(lab, &before)?;
    refused.expect(&[
        ("mr_generation", 1),
        ("mr_rebuilds_failed", 1),
        ("mr_rebuilds_refused", 1),
        ("mr_rebuilds_immediate", 0),
    ])?;
    ensure!(refused.runs == lazy.runs, "{refused:?}");
    rebuild(&trace.take()?, &refused, "immediate", "failed")?;

    lab.sh(&format!("echo offline >{block}/state"))?;
    let removed = map(lab, &before)?;
    removed.expect(&[
        ("mr_generation", 2),
        ("mr_rebuilds_immediate", 1),
        ("mr_rebuilds_failed", 1),
    ])?;
    // The longest one may have been any so far.
    blackouts(lab, &removed, &unused)?;
    ensure!(
        removed.get("mr_bytes")? == lazy.get("mr_bytes")? - (DIMM_BYTES / 2),
        "{removed:?}"
    );
    rebuild(&trace.take()?, &removed, "immediate", "published")?;

    drop(trace);
    dimm.unplug(lab)?;
    map(lab, &before)?.expect(&[("mr_generation", 3), ("mr_rebuilds_immediate", 2)])?;
    let trace = lab.sh("cat /sys/kernel/tracing/trace")?;
    ensure!(
        !trace.contains("ehea_"),
        "events while tracing is off:\n{trace}"
    );
    traffic.stop()?.flawless()?;
    reflector.stop()?;
    lab.unload()
}

/// An adapter with room for only one region lets queue pairs pause while a region is registered.
/// The blackout has the calls for that.
pub(crate) fn break_first(lab: &Lab) -> Result<()> {
    let before = lab.stats()?;
    let (reflector, traffic) = start(lab)?;
    traffic.wait_progress(100, PATIENCE)?;
    let dimm = Dimm::plug(lab, "dimm7", DIMM_BYTES)?;
    let trace = Trace::start(lab)?;
    send_from(lab, &dimm, 132)?;
    wait_until("the map was rebuilt", || {
        Ok(MapFile::read(lab)?.get("mr_rebuilds_lazy")? == 1)
    })?;
    let file = map(lab, &before)?;
    file.expect(&[
        ("mr_generation", 1),
        ("mr_rebuilds_break_first", 1),
        ("mr_rebuilds_failed", 0),
    ])?;
    let blackout = file.get("mr_blackout_hcalls")?;
    let register = file.get("mr_register_hcalls")?;
    ensure!(
        blackout >= register + BLACKOUT_HCALLS,
        "{blackout} calls, {register} of them for registration: {file:?}"
    );
    rebuild(&trace.take()?, &file, "lazy", "published")?;
    traffic.stop()?.flawless()?;
    reflector.stop()?;
    dimm.unplug(lab)?;
    lab.unload()
}

/// The driver is unbound from the adapter while the file is read and while it is open.
pub(crate) fn unbound_while_read(lab: &Lab) -> Result<()> {
    let driver = lab.driver_directory();
    lab.load()?;
    lab.up(1, 1500)?;
    let device = lab.sh(&format!("cd {DEBUGFS} && echo *"))?;
    let map = format!("{DEBUGFS}/{device}/map");
    let reader = lab.guest().spawn(&format!(
        "n=0; until [ -e /run/enough ]; do cat {map} >/dev/null 2>&1 && : $((n += 1)); done; echo $n"
    ))?;
    for round in 0..10 {
        lab.sh(&format!(
            "cat {map} >/dev/null && echo {device} >{driver}/unbind"
        ))?;
        ensure!(
            !lab.run(&format!("test -e {DEBUGFS}"))?.success(),
            "round {round}: the file is still there"
        );
        lab.nothing_left()?;
        lab.sh(&format!("echo {device} >{driver}/bind"))?;
        lab.up(1, 1500)?;
    }
    lab.sh("touch /run/enough")?;
    let output = reader.wait()?;
    lab.sh("rm /run/enough")?;
    let reads: u64 = output.out().trim().parse().context("number of reads")?;
    ensure!(reads > 0, "the file was never read");

    // The process that has the file open sees an error and can close it. The module waits for that.
    let report = lab.sh(&format!(
        "exec 3<{map}\n\
         echo {device} >{driver}/unbind\n\
         cat <&3 >/dev/null 2>&1 && echo read\n\
         rmmod ehea 2>/dev/null && echo removed\n\
         exec 3<&-\n\
         echo closed"
    ))?;
    ensure!(report == "closed", "{report}");
    lab.unload()
}

/// A queue as the kernel describes it to users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Queue {
    pub(crate) kind: String,
    number: usize,
    napi: String,
    irq: String,
    pub(crate) frames: u64,
    bytes: u64,
}

/// Returns the queues of an interface, and the counts of the interface as a whole: frames and bytes
/// received, and frames and bytes sent.
fn queues(lab: &Lab, name: &str) -> Result<(Vec<Queue>, [u64; 4])> {
    parse_queues(&lab.sh(&format!("./ehea-net queues {name}"))?)
}

/// Parses the text that `ehea-net queues` prints.
pub(crate) fn parse_queues(text: &str) -> Result<(Vec<Queue>, [u64; 4])> {
    let (lines, total) = text.split_once("total ").context("no totals")?;
    let queue = |line: &str| -> Result<Queue> {
        let [kind, number, napi, irq, frames, bytes] = line.split(' ').collect::<Vec<_>>()[..]
        else {
            bail!("{line}");
        };
        Ok(Queue {
            kind: kind.to_owned(),
            number: number.parse()?,
            napi: napi.to_owned(),
            irq: irq.to_owned(),
            frames: frames.parse()?,
            bytes: bytes.parse()?,
        })
    };
    let queues = lines.lines().map(queue).collect::<Result<_>>()?;
    let total = total
        .split(' ')
        .map(str::parse)
        .collect::<Result<Vec<_>, _>>()?;
    let total = total.try_into().ok().context("not four totals")?;
    Ok((queues, total))
}

/// Users see which NAPI instance and which interrupt each queue has, also after a reset. The
/// numbers by which they know the instances stay the same when the port is down for a while.
pub(crate) fn queues_and_interrupts(lab: &Lab) -> Result<()> {
    const COUNT: usize = 4;
    lab.load()?;
    let name = lab.up(1, 1500)?;
    // These are the numbers of the instances, by queue.
    let expect = || -> Result<Vec<_>> {
        let (queues, _) = queues(lab, &name)?;
        let mut numbers = Vec::new();
        for kind in ["rx", "tx"] {
            for number in 0..COUNT {
                let found = queues
                    .iter()
                    .find(|queue| queue.kind == kind && queue.number == number)
                    .with_context(|| format!("no {kind} {number} in {queues:?}"))?;
                let irq = lab.sh(&format!(
                    "awk '$NF == \"{name}-queue{number}\" {{ sub(\":\", \"\", $1); print $1 }}' \
                     /proc/interrupts"
                ))?;
                ensure!(found.irq == irq, "interrupt {irq}: {found:?}");
                ensure!(found.napi != "-", "{found:?}");
                numbers.push(found.napi.clone());
            }
        }
        let (rx, tx) = numbers.split_at(COUNT);
        let distinct: BTreeSet<_> = rx.iter().collect();
        ensure!(
            queues.len() == 2 * COUNT && rx == tx && distinct.len() == COUNT,
            "{queues:?}"
        );
        Ok(numbers)
    };
    let first = expect()?;
    lab.sh(&format!("ip link set {name} down"))?;
    let (none, _) = queues(lab, &name)?;
    ensure!(none.is_empty(), "queues of a port that is down: {none:?}");
    lab.sh(&format!("ip link set {name} up"))?;
    ensure!(expect()? == first, "after it was down");
    lab.sh(&format!("ip link set {name} mtu 9000"))?;
    ensure!(expect()? == first, "after a change of the MTU");
    lab.unload()
}

/// The counts of the queues add up to those of the interface, which stay when the port is down.
pub(crate) fn queue_statistics(lab: &Lab) -> Result<()> {
    const FRAMES: u64 = 400;
    lab.load()?;
    // The counters are read one after the other.
    lab.silent(&lab.interface(1)?)?;
    let name = lab.up(1, 1500)?;
    let reflector = lab.reflect(&name)?;
    let plan = Plan::new(75, FRAMES, |n| 60 + 3 * n as usize).to(port_address(1));
    plan.run(lab.port(1)?)?.flawless()?;
    reflector.stop()?;
    let of_interface = || -> Result<[u64; 4]> {
        let mut counters = [0; 4];
        for (counter, file) in
            counters
                .iter_mut()
                .zip(["rx_packets", "rx_bytes", "tx_packets", "tx_bytes"])
        {
            *counter = lab
                .sh(&format!("cat /sys/class/net/{name}/statistics/{file}"))?
                .parse()?;
        }
        Ok(counters)
    };
    let (queues_up, total) = queues(lab, &name)?;
    let expected = of_interface()?;
    let mut sum = [0; 4];
    for queue in &queues_up {
        let at = if queue.kind == "rx" { 0 } else { 2 };
        sum[at] += queue.frames;
        sum[at + 1] += queue.bytes;
    }
    ensure!(
        total == expected && sum == expected && total[0] >= FRAMES && total[2] >= FRAMES,
        "in total {total:?}, of queues {sum:?}, of the interface {expected:?}"
    );
    lab.sh(&format!("ip link set {name} down"))?;
    let (_, total) = queues(lab, &name)?;
    ensure!(total == of_interface()?, "{total:?} of a port that is down");
    lab.unload()
}

/// Ports that are up and idle do their periodic work without allocating memory.
pub(crate) fn idle_ports_allocate_nothing(lab: &Lab) -> Result<()> {
    lab.load()?;
    for port in [1, 2] {
        lab.silent(&lab.interface(port)?)?;
    }
    let name = lab.up(1, 1500)?;
    lab.up(2, 9000)?;
    let seen = allocations_of_module(
        lab,
        &format!("ip link set {name} down; ip link set {name} up"),
    )?;
    ensure!(!seen.is_empty(), "an allocation goes unseen");
    lab.carrier(&name, true)?;
    let calls = |stats: &Stats| stats.hcalls.get("H_QUERY_HEA_PORT").copied();
    let before = calls(&lab.stats()?);
    let seen = allocations_of_module(lab, "sleep 6")?;
    let after = calls(&lab.stats()?);
    ensure!(
        after > before,
        "nothing periodic was done: {before:?}, {after:?}"
    );
    ensure!(
        seen.is_empty(),
        "{} allocations, the first: {}",
        seen.len(),
        seen[0]
    );
    lab.unload()
}

/// Each port has a device of its own, with its node of the device tree, and tools find it.
pub(crate) fn devices_of_ports(lab: &Lab) -> Result<()> {
    lab.load()?;
    let mut names = BTreeSet::new();
    for port in [1, 2] {
        let name = lab.interface(port)?;
        let device = format!("/sys/class/net/{name}/device");
        let node = lab.sh(&format!("cat {device}/devspec"))?;
        let number = lab.sh(&format!(
            "od -An -tu1 -j3 /proc/device-tree{node}/ibm,hea-port-no"
        ))?;
        ensure!(
            number.trim() == port.to_string(),
            "{name} is at {node}, which is port {number}"
        );
        let link = lab.sh(&format!("readlink -f {device}/of_node"))?;
        ensure!(link.ends_with(&node), "{name}: {link} instead of {node}");
        ensure!(
            lab.sh(&format!("readlink -f {device}/.."))?
                .contains(&format!("/{}/", lab.bus().name())),
            "the device of {name} is not below that of the adapter"
        );
        names.insert(lab.sh(&format!("readlink -f {device}"))?);
    }
    ensure!(names.len() == 2, "one device: {names:?}");
    lab.unload()?;
    for name in names {
        ensure!(!lab.run(&format!("ls {name}"))?.success(), "{name} is left");
    }
    Ok(())
}

/// Users who look at counters are answered while the memory map is rebuilt, however long firmware takes. So are those
/// who close a port and open it again. The port works when the rebuild has ended, and so does one that was reset
/// meanwhile; the log says when.
pub(crate) fn during_rebuild(lab: &Lab) -> Result<()> {
    let [near, far] = prepare(lab)?;
    let (dimm, block) = plug(lab, "dimm3")?;
    memory::map(lab, &dimm, 130)?;
    let position = lab.guest().console().position();
    lab.guest().inject_fault(&json!({
        "opcode": "H_ALLOC_HEA_RESOURCE", "resource": "mr",
        "action": { "long_busy": { "code": "H_LONG_BUSY_ORDER_10_SEC", "times": 1 } },
    }))?;
    let removal = lab.guest().spawn(&format!("echo offline >{block}/state"))?;
    wait_until("firmware is busy", || {
        let faults = lab.guest().faults::<Vec<ArmedFault>>()?;
        Ok(faults.iter().any(|fault| fault.fired > 0))
    })?;
    lab.sh(&format!("ip -s link show {near}"))?;
    lab.sh(&format!("ethtool -S {near}"))?;
    lab.sh("cat /sys/kernel/debug/ehea/*/map")?;
    lab.sh(&format!("ip link set {near} down && ip link set {near} up"))?;
    lab.guest()
        .inject_fault(&json!({ "event": "port_malfunction", "port": 2 }))?;
    wait_until("the other port is closed, to be reset", || {
        Ok(ethtool_counter(lab, &far, "port_resets")? == 1)
    })?;
    registered(&lab.stats()?, &dimm.range).context("answered after the rebuild")?;
    let output = removal.wait()?;
    ensure!(output.success(), "{output}");
    not_registered(&lab.stats()?, &dimm.range)?;
    lab.guest().clear_faults()?;
    lab.carrier(&near, true)?;
    works(lab, &near)?;
    reported(lab, position, &far, ": reset")?;
    dimm.unplug(lab)?;
    lab.unload()
}
