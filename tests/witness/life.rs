// SPDX-License-Identifier: GPL-2.0
//! Loading, ports, queues and counters: what the driver makes in the adapter and what it reports
//! about it.

use anyhow::{ensure, Context, Result};
use ehea_model::stats::{Live, Stats};
use ehea_tests::checks::faults::works;
use ehea_tests::counters::ethtool_statistics;
use ehea_tests::lab::{port_address, wait_until, Lab};
use ehea_tests::memory::online_bytes;
use ehea_tests::peer::Plan;

/// Path of the adapter's device.
const ADAPTER: &str = "/sys/bus/ibmebus/drivers/ehea/*lhea*";

/// The loaded driver is the C driver, and it finds both ports.
pub(crate) fn finds_ports(lab: &Lab) -> Result<()> {
    let kernel = lab.sh("uname -rm")?;
    ensure!(
        kernel.starts_with("6.12.") && kernel.ends_with(" ppc64"),
        "not the witness's kernel: {kernel}"
    );
    lab.load()?;
    let log = lab.sh("dmesg")?;
    ensure!(
        log.contains("IBM eHEA ethernet device driver (Release EHEA_"),
        "the C driver didn't say who it is"
    );
    for port in 1..=2 {
        let interface = lab.interface(port)?;
        let driver = lab.sh(&format!("ethtool -i {interface}"))?;
        ensure!(driver.contains("driver: ehea"), "port {port}: {driver}");
        let number = lab.sh(&format!(
            "cat /sys/class/net/{interface}/device/log_port_id"
        ))?;
        ensure!(
            number == port.to_string(),
            "port {port} has the number {number}"
        );
    }
    let capabilities = lab.sh("cat /sys/bus/ibmebus/drivers/ehea/capabilities")?;
    ensure!(capabilities == "7", "capabilities {capabilities}");
    lab.unload()
}

/// Returns the number of calls with the name `name` between two points in time.
fn calls(before: &Stats, after: &Stats, name: &str) -> u64 {
    let count = |stats: &Stats| stats.hcalls.get(name).copied().unwrap_or_default();
    count(after) - count(before)
}

/// The objects that the driver makes when it is loaded and when a port is opened are those in the
/// ABI document (§1.1, §8.2, §9.4), and all of them are gone afterwards.
pub(crate) fn objects(lab: &Lab) -> Result<()> {
    let none = lab.stats()?;
    lab.load()?;
    let loaded = lab.stats()?;
    let adapter = Live {
        neq: 1,
        mr: 1,
        ..Live::default()
    };
    ensure!(loaded.live == adapter, "loaded: {:?}", loaded.live);
    let memory = online_bytes(lab)?;
    let [mr] = &loaded.mrs[..] else {
        anyhow::bail!("not one region: {:?}", loaded.mrs);
    };
    ensure!(
        mr.bytes == memory && mr.register_calls == memory >> 21 && mr.page_bytes == 4096,
        "{mr:?} for {memory} bytes of memory"
    );

    let name = lab.up(1, 1500)?;
    let opened = lab.stats()?;
    let groups: u64 = lab
        .sh(&format!("grep -cw {name} /proc/net/dev_mcast"))?
        .parse()?;
    // Broadcast and the groups in which the stack takes part are registered, each untagged and
    // tagged.
    let port = Live {
        eq: 2,
        cq: 2,
        qp: 1,
        smr: 2,
        bcmc: 2 + 2 * groups,
        ..adapter.clone()
    };
    ensure!(opened.live == port, "opened: {:?}", opened.live);
    for (call, number) in [
        ("H_ALLOC_HEA_RESOURCE", 5),
        // The pages are those of the queue pair, of the completion queues and of the event queues.
        ("H_REGISTER_HEA_RPAGES", 240 + 40 + 32 + 2),
        ("H_REGISTER_SMR", 2),
        ("H_QUERY_HEA_QP", 4),
        ("H_MODIFY_HEA_QP", 3),
        // A group that is joined meanwhile causes a new registration of all of them.
        (
            "H_REG_BCMC",
            port.bcmc + calls(&loaded, &opened, "H_DEREG_BCMC"),
        ),
    ] {
        let made = calls(&loaded, &opened, call);
        ensure!(
            made == number,
            "{made} calls of {call} at open instead of {number}"
        );
    }
    lab.sh(&format!("ip link set {name} down"))?;
    let closed = lab.stats()?.live;
    ensure!(closed == adapter, "closed: {closed:?}");
    lab.unload()?;
    ensure!(
        calls(&none, &lab.stats()?, "H_ERROR_DATA") == 0,
        "something could not be freed at once"
    );
    Ok(())
}

/// Ports are removed and added in sysfs, and the others continue to work.
pub(crate) fn ports_come_and_go(lab: &Lab) -> Result<()> {
    lab.load()?;
    for _ in 0..3 {
        lab.up(2, 1500)?;
        lab.sh(&format!("echo 2 >$(echo {ADAPTER})/remove_port"))?;
        ensure!(lab.interface(2).is_err(), "port 2 is still there");
        let name = lab.up(1, 1500)?;
        works(lab, &name)?;
        lab.sh(&format!("echo 2 >$(echo {ADAPTER})/probe_port"))?;
        lab.up(2, 1500)?;
        lab.sh(&format!("ip link set {name} down"))?;
    }
    lab.unload()
}

/// The smallest rings that the driver accepts work and wrap many times.
pub(crate) fn smallest_queues(lab: &Lab) -> Result<()> {
    lab.sh("modprobe ehea sq_entries=127 rq1_entries=127 rq2_entries=127 rq3_entries=127")?;
    let name = lab.up(1, 9000)?;
    let reflector = lab.reflect(&name)?;
    let plan = Plan::new(300, 8000, |n| match n % 5 {
        0 => 60 + (n as usize * 61) % 8955,
        1 => 60 + (n as usize * 61) % 1455,
        _ => 60 + n as usize % 133,
    });
    // Not more frames are under way than there are buffers.
    let plan = plan.to(port_address(1)).window(64);
    plan.run(lab.port(1)?)?.flawless()?;
    reflector.stop()?;
    lab.unload()
}

/// The counters that the driver fetches from the adapter once a second are right.
pub(crate) fn statistics(lab: &Lab) -> Result<()> {
    const GROUP: [u8; 6] = [0x01, 0x00, 0x5e, 0x01, 0x02, 0x03];
    lab.load()?;
    let name = lab.up(1, 1500)?;
    lab.sh(&format!("ifconfig {name} allmulti"))?;
    let reflector = lab.reflect(&name)?;
    let read = || -> Result<u64> {
        let path = format!("/sys/class/net/{name}/statistics/multicast");
        Ok(lab.sh(&format!("cat {path}"))?.parse()?)
    };
    let before = read()?;
    let plan = Plan::new(301, 37, |n| 60 + n as usize);
    plan.to(GROUP).run(lab.port(1)?)?.flawless()?;
    wait_until("the adapter's counter is read", || {
        Ok(read()? == before + 37)
    })?;
    reflector.stop()?;
    let statistics = ethtool_statistics(lab, &name)?;
    // The ring has 1023 work requests, of which one is never used.
    for (counter, value) in [
        ("sig_comp_iv", 102),
        ("swqe_refill_th", 102),
        ("port resets", 0),
    ] {
        let found = statistics.get(counter).copied().context(counter)?;
        ensure!(found == value, "{counter} is {found}");
    }
    lab.unload()
}

/// ethtool shows and sets speed, autonegotiation and link.
pub(crate) fn settings(lab: &Lab) -> Result<()> {
    lab.load()?;
    let name = lab.up(1, 1500)?;
    let speed = || -> Result<(String, String)> {
        let text = lab.sh(&format!("ethtool {name}"))?;
        let field = |key: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(key));
            line.map(str::to_owned)
                .with_context(|| format!("no {key} in {text}"))
        };
        Ok((field("Speed: ")?, field("Duplex: ")?))
    };
    let is = |wanted: [&str; 2]| -> Result<()> {
        let found = speed()?;
        ensure!(
            found == (wanted[0].to_owned(), wanted[1].to_owned()),
            "{found:?}"
        );
        works(lab, &name)
    };
    is(["10000Mb/s", "Full"])?;
    lab.sh(&format!(
        "ethtool -s {name} speed 1000 duplex full autoneg off"
    ))?;
    lab.carrier(&name, true)?;
    is(["1000Mb/s", "Full"])?;
    lab.sh(&format!(
        "ethtool -s {name} speed 100 duplex half autoneg off"
    ))?;
    lab.carrier(&name, true)?;
    is(["100Mb/s", "Half"])?;
    lab.sh(&format!("ethtool -r {name}"))?;
    lab.carrier(&name, true)?;
    is(["10000Mb/s", "Full"])?;
    lab.unload()
}
