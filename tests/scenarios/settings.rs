// SPDX-License-Identifier: GPL-2.0
//! Settings of a port: tools are told what is so, what cannot be done is refused, and firmware is left as it
//! was found.

use std::time::Duration;

use anyhow::{ensure, Context, Result};
use ehea_model::stats::PortSettings;
use ehea_tests::checks::faults::works;
use ehea_tests::counters::ethtool_statistics;
use ehea_tests::lab::{port_address, text, wait_until, Lab};
use ehea_tests::peer::{Plan, PEER_ADDRESS};

/// Settings of a link, as `ethtool` shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Link {
    speed: String,
    duplex: String,
    autoneg: String,
    advertised: String,
}

impl Link {
    fn read(lab: &Lab, name: &str) -> Result<Self> {
        let output = lab.sh(&format!("ethtool {name}"))?;
        let field = |key: &str| {
            let mut lines = output.lines().filter_map(|line| line.split_once(':'));
            let value = lines.find(|(name, _)| name.trim() == key);
            let value = value.with_context(|| format!("no {key} in {output}"))?;
            Ok::<_, anyhow::Error>(value.1.trim().to_owned())
        };
        Ok(Self {
            speed: field("Speed")?,
            duplex: field("Duplex")?,
            autoneg: field("Auto-negotiation")?,
            advertised: field("Advertised link modes")?,
        })
    }

    /// Fails unless the link has the speed, duplex mode and state of negotiation in `wanted`.
    fn expect(lab: &Lab, name: &str, wanted: [&str; 3]) -> Result<Self> {
        let link = Self::read(lab, name)?;
        ensure!(
            [&link.speed, &link.duplex, &link.autoneg] == wanted,
            "{link:?} instead of {wanted:?}"
        );
        Ok(link)
    }
}

/// Settings of a link that are not possible. Some would have to change what is negotiated, which firmware
/// cannot be asked for.
const IMPOSSIBLE: [&str; 8] = [
    "duplex full",
    "speed 100 duplex full",
    "autoneg on advertise 0x020",
    "autoneg off speed 1000 duplex full advertise 0x020",
    "autoneg off speed 1000 duplex half",
    "autoneg off speed 2500 duplex full",
    "port tp",
    "phyad 3",
];

/// Speed, duplex mode and negotiation are those that were asked for, also after the port was down. What
/// cannot be done is refused and changes nothing.
pub(crate) fn link(lab: &Lab) -> Result<()> {
    const NEGOTIATED: [&str; 3] = ["10000Mb/s", "Full", "on"];
    const FORCED: [&str; 3] = ["1000Mb/s", "Full", "off"];
    lab.load()?;
    let name = lab.up(1, 1500)?;
    let set = |what: &str| lab.sh(&format!("ethtool -s {name} {what}"));
    let negotiated = Link::expect(lab, &name, NEGOTIATED)?;
    for what in IMPOSSIBLE {
        let settings = lab.settings()?;
        let output = lab.run(&format!("ethtool -s {name} {what}"))?;
        ensure!(!output.success(), "{what} is possible");
        let now = Link::read(lab, &name)?;
        ensure!(now == negotiated, "{what} makes it {now:?}");
        ensure!(lab.settings()? == settings, "{what} changes settings");
    }
    lab.sh(&format!("ethtool -r {name}"))?;
    Link::expect(lab, &name, NEGOTIATED)?;

    set("speed 1000 duplex full autoneg off")?;
    let link = Link::expect(lab, &name, FORCED)?;
    ensure!(link.advertised == "Not reported", "{link:?}");
    set("duplex full")?;
    Link::expect(lab, &name, FORCED)?;
    let output = lab.run(&format!("ethtool -r {name}"))?;
    ensure!(!output.success(), "a speed that is forced is negotiated");
    lab.sh(&format!("ip link set {name} down"))?;
    Link::expect(lab, &name, FORCED)?;
    lab.up(1, 1500)?;
    Link::expect(lab, &name, FORCED)?;

    set("autoneg on")?;
    let link = Link::expect(lab, &name, NEGOTIATED)?;
    ensure!(link == negotiated, "{link:?} instead of {negotiated:?}");
    lab.unload()
}

/// Changes settings of a port that firmware keeps.
fn change(lab: &Lab, name: &str) -> Result<()> {
    lab.sh(&format!(
        "ip link set {name} address 52:54:00:ea:77:09 && \
         ethtool -s {name} speed 1000 duplex full autoneg off && \
         ip link add link {name} name {name}.77 type vlan id 77"
    ))
    .map(drop)
}

/// Fails unless the permanent address of a port is the one that it was made with.
fn expect_permanent_address(lab: &Lab, name: &str, port: usize) -> Result<()> {
    let shown = lab.sh(&format!("ethtool -P {name}"))?;
    let address = text(port_address(port));
    ensure!(shown.contains(&address), "{shown} instead of {address}");
    Ok(())
}

/// Settings in firmware are those that the driver found when it goes, whether a port was opened or not, and
/// whether the driver is unbound or unloaded. The permanent address stays the same.
pub(crate) fn left_as_found(lab: &Lab) -> Result<()> {
    let driver = lab.driver_directory();
    let found = lab.settings()?;
    let as_found = |how: &str| -> Result<()> {
        let left = lab.settings()?;
        ensure!(left == found, "{how}: {left:?} instead of {found:?}");
        Ok(())
    };
    lab.load()?;
    let (open, closed) = (lab.interface(1)?, lab.interface(2)?);
    change(lab, &closed)?;
    change(lab, &open)?;
    lab.sh(&format!(
        "ip link set {open} mtu 9000 up && ip link set {open}.77 up && ip link set {open} promisc on"
    ))?;
    lab.carrier(&open, true)?;
    expect_permanent_address(lab, &open, 1)?;
    expect_permanent_address(lab, &closed, 2)?;
    ensure!(lab.settings()? != found, "nothing is changed");
    let bound = lab.bound()?;
    for device in &bound {
        lab.sh(&format!("echo {device} >{driver}/unbind"))?;
    }
    as_found("unbound")?;

    for device in &bound {
        lab.sh(&format!("echo {device} >{driver}/bind"))?;
    }
    let name = lab.up(1, 1500)?;
    expect_permanent_address(lab, &name, 1)?;
    Link::expect(lab, &name, ["10000Mb/s", "Full", "on"])?;
    change(lab, &name)?;
    lab.unload()?;
    as_found("unloaded")
}

/// A group that nobody has joined.
const GROUP: [u8; 6] = [0x01, 0x00, 0x5e, 0x01, 0x02, 0x05];

/// Sends `count` frames to `address` through port 1, none of which comes back.
fn send(lab: &Lab, stream: u32, count: u64, address: [u8; 6]) -> Result<()> {
    let plan = Plan::new(stream, count, |n| 60 + 20 * n as usize)
        .to(address)
        .patience(Duration::from_secs(1));
    let summary = plan.run(lab.port(1)?)?;
    ensure!(summary.lost == count, "{} came back", summary.received);
    Ok(())
}

/// Counters that the adapter keeps start at 0 when the driver is loaded, and do not run backwards when the port
/// is set down and up.
pub(crate) fn counters(lab: &Lab) -> Result<()> {
    const ADAPTERS: [&str; 3] = ["multicast", "rx_missed_errors", "rx_errors"];
    let read = |name: &str| -> Result<Vec<u64>> {
        let files = ADAPTERS.join(" ");
        let text = lab.sh(&format!(
            "cd /sys/class/net/{name}/statistics && cat {files}"
        ))?;
        Ok(text.lines().map(str::parse).collect::<Result<_, _>>()?)
    };
    let reach = |name: &str, wanted: [u64; 3]| {
        let mut counted = Vec::new();
        wait_until("the adapter's counters", || {
            counted = read(name)?;
            Ok(counted == wanted)
        })
        .with_context(|| format!("{counted:?} instead of {wanted:?}"))
    };
    // Frames that come while there is no driver are missed, too.
    send(lab, 400, 10, port_address(1))?;
    for round in 0..2 {
        lab.load()?;
        let name = lab.interface(1)?;
        lab.silent(&name)?;
        lab.up(1, 1500)?;
        lab.sh(&format!("ip link set {name} allmulticast on; sleep 2.5"))?;
        let counted = read(&name)?;
        ensure!(counted == [0, 0, 0], "round {round}, at first: {counted:?}");
        send(lab, 401, 30, GROUP)?;
        reach(&name, [30, 0, 0])?;
        lab.sh(&format!("ip link set {name} down"))?;
        ensure!(read(&name)? == [30, 0, 0], "down: {:?}", read(&name)?);
        send(lab, 402, 20, port_address(1))?;
        lab.up(1, 1500)?;
        send(lab, 403, 5, GROUP)?;
        reach(&name, [35, 20, 0])?;
        lab.unload()?;
    }
    Ok(())
}

/// The carrier stays when the port is set up anew for another MTU, as in a CMO partition.
pub(crate) fn carrier_at_mtu(lab: &Lab) -> Result<()> {
    lab.load()?;
    let name = lab.up(1, 9000)?;
    let carrier = || {
        lab.sh(&format!(
            "cd /sys/class/net/{name} && cat carrier carrier_changes"
        ))
    };
    let before = carrier()?;
    for mtu in [1500, 9000, 1500] {
        lab.sh(&format!("ip link set {name} mtu {mtu}"))?;
        let after = carrier()?;
        ensure!(after == before, "MTU {mtu}: {after:?}, before: {before:?}");
    }
    works(lab, &name)?;
    lab.unload()
}

/// A VLAN in which the guest does not take part.
const FOREIGN: u16 = 1300;
/// A VLAN in which it does.
const MEMBER: u16 = 1301;

/// A UDP packet over IPv4 with a wrong checksum, in a frame for port 1.
fn wrong_checksum() -> Vec<u8> {
    let mut frame = [&port_address(1)[..], &PEER_ADDRESS, &[0x08, 0x00]].concat();
    // The header's checksum is right.
    let header = [
        0x45, 0, 0, 48, 0, 0, 0x40, 0, 64, 17, 0x26, 0xbb, 10, 0, 0, 2, 10, 0, 0, 1,
    ];
    frame.extend(header);
    frame.extend([0x30, 0x39, 0x30, 0x39, 0, 28, 0xde, 0xad]);
    frame.extend([0x55; 20]);
    frame
}

/// Offloads of received frames can be turned off and on, and that has effect: checks of checksums, removal of
/// tags, and the filter by VLAN.
pub(crate) fn received_offloads(lab: &Lab) -> Result<()> {
    lab.load()?;
    let name = lab.up(1, 9000)?;
    lab.sh(&format!(
        "ip link add link {name} name vlan0 type vlan id {MEMBER} && ip link set vlan0 up"
    ))?;
    let port = lab.port(1)?;
    let set = |what: &str| lab.sh(&format!("ethtool -K {name} {what}"));
    let initial = lab.settings()?;
    let control = |settings: &[PortSettings]| settings.first().map(|port| port.receive_control);

    // With tags that the adapter removes, and with such that the stack finds in the frames.
    let tagged = |stream: u32| -> Result<()> {
        let reflector = lab.reflect("vlan0")?;
        Plan::new(stream, 200, |n| 60 + (n as usize * 89) % 8950)
            .to(port_address(1))
            .tagged(|_| Some(MEMBER))
            .run(port)?
            .flawless()?;
        reflector.stop().map(drop)
    };
    tagged(410)?;
    set("rxvlan off")?;
    ensure!(
        control(&lab.settings()?) != control(&initial),
        "the adapter still removes tags"
    );
    tagged(411)?;

    // Without the filter, frames of all VLANs reach the driver.
    let given = |stream: u32| -> Result<u64> {
        let count = || Ok::<_, anyhow::Error>(lab.stats()?.ports[0].rx_frames);
        let before = count()?;
        let plan = Plan::new(stream, 20, |_| 100).to(port_address(1));
        let plan = plan
            .tagged(|_| Some(FOREIGN))
            .patience(Duration::from_secs(1));
        plan.run(port)?;
        Ok(count()? - before)
    };
    ensure!(given(412)? == 0, "frames of another VLAN are received");
    set("rx-vlan-filter off")?;
    ensure!(given(413)? == 20, "frames of another VLAN are filtered");
    tagged(414)?;

    // The adapter counts frames whose checksum is wrong only if it is to check.
    let wrong = |count: u64| -> Result<u64> {
        let read = || -> Result<(u64, u64)> {
            let statistics = ethtool_statistics(lab, &name)?;
            let wrong = statistics.get("rx_checksum_errors").context("no counter")?;
            let path = format!("/sys/class/net/{name}/statistics/rx_packets");
            Ok((*wrong, lab.sh(&format!("cat {path}"))?.parse()?))
        };
        let before = read()?;
        for _ in 0..count {
            ensure!(port.try_send(&wrong_checksum())?, "the frame is not sent");
        }
        wait_until("the frames are received", || {
            Ok(read()?.1 >= before.1 + count)
        })?;
        Ok(read()?.0 - before.0)
    };
    ensure!(wrong(5)? == 5, "wrong checksums are not seen");
    set("rx off")?;
    ensure!(wrong(5)? == 0, "checksums are still checked");
    tagged(415)?;

    // Settings stay when the port is set down and up, and can be taken back.
    let off = control(&lab.settings()?);
    lab.sh(&format!("ip link set {name} down; ip link set {name} up"))?;
    lab.carrier(&name, true)?;
    ensure!(control(&lab.settings()?) == off, "they do not stay");
    lab.sh("ip link set vlan0 up")?;
    lab.carrier("vlan0", true)?;
    tagged(416)?;
    set("rx on rxvlan on rx-vlan-filter on")?;
    ensure!(
        control(&lab.settings()?) == control(&initial),
        "they are not taken back"
    );
    tagged(417)?;
    ensure!(given(418)? == 0, "frames of another VLAN are received");
    ensure!(wrong(5)? == 5, "wrong checksums are not seen");
    lab.sh("ip link del vlan0")?;
    lab.unload()
}

/// Interrupts can be put off (`napi_defer_hard_irqs`, `gro_flush_timeout`): a steady stream causes less than half of
/// them. A NAPI instance can have a thread of its own. No frame is lost.
pub(crate) fn deferred_interrupts(lab: &Lab) -> Result<()> {
    const FRAMES: u64 = 3000;
    lab.load()?;
    let name = lab.up(1, 1500)?;
    let interrupts = || -> Result<u64> {
        let sum = lab.sh(&format!(
            "awk '/{name}-/ {{ for (i = 2; i < 4; i++) sum += $i }} END {{ print sum + 0 }}' /proc/interrupts"
        ))?;
        Ok(sum.trim().parse()?)
    };
    let reflector = lab.reflect(&name)?;
    let caused = |stream: u32| -> Result<u64> {
        let before = interrupts()?;
        // Few frames are under way, so that most of them find nobody polling.
        let plan = Plan::new(stream, FRAMES, |_| 200).window(4);
        plan.to(port_address(1)).run(lab.port(1)?)?.flawless()?;
        Ok(interrupts()? - before)
    };
    let at_once = caused(140)?;
    lab.sh(&format!(
        "cd /sys/class/net/{name} && echo 200 >napi_defer_hard_irqs && echo 2000000 >gro_flush_timeout"
    ))?;
    let put_off = caused(141)?;
    ensure!(
        at_once > FRAMES / 100 && put_off < at_once / 2,
        "{put_off} interrupts when they are put off, {at_once} at first"
    );
    lab.sh(&format!(
        "cd /sys/class/net/{name} && echo 0 >napi_defer_hard_irqs && echo 0 >gro_flush_timeout && echo 1 >threaded && \
         pgrep napi/{name}-"
    ))?;
    caused(142)?;
    lab.sh(&format!("cd /sys/class/net/{name} && echo 0 >threaded"))?;
    caused(143)?;
    reflector.stop()?;
    lab.unload()
}
