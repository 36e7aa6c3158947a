// SPDX-License-Identifier: GPL-2.0
//! Entitlement that grows and shrinks while frames flow.

use std::sync::Arc;

use anyhow::{ensure, Context, Result};
use ehea_tests::background::Reflector;
use ehea_tests::cmo::{set_lparcfg, Bus, Device, MINIMUM};
use ehea_tests::lab::{port_address, wait_until, Lab, Other};
use ehea_tests::peer::{Plan, Traffic};

use super::{counter, nothing_mapped, unload, ADAPTER, PATIENCE};

const ETHERNET_HEADER: usize = 14;
const SHORTEST: usize = 60;

/// A stream of numbered frames through a port, which the guest sends back.
struct Flow<'a> {
    port: usize,
    reflector: Reflector<'a>,
    traffic: Traffic,
}

impl<'a> Flow<'a> {
    /// Starts a stream of frames of all lengths that an interface with this MTU accepts.
    fn start(lab: &'a Lab, port: usize, name: &str, mtu: usize) -> Result<Self> {
        let reflector = lab.reflect(name)?;
        let lengths = ETHERNET_HEADER + mtu - SHORTEST;
        let traffic = Plan::new(140 + port as u32, u64::MAX, move |n| {
            SHORTEST + (n as usize * 61) % lengths
        })
        .to(port_address(port))
        .patience(PATIENCE)
        .start(Arc::clone(lab.port(port)?));
        Ok(Self {
            port,
            reflector,
            traffic,
        })
    }

    fn go_on(&self) -> Result<()> {
        self.traffic
            .wait_progress(200, PATIENCE)
            .with_context(|| format!("port {}", self.port))
    }

    fn stop(self) -> Result<()> {
        let port = self.port;
        self.traffic
            .stop()?
            .flawless()
            .with_context(|| format!("port {port}"))?;
        self.reflector.stop().map(drop)
    }
}

/// Makes the hypervisor grant `bytes` bytes and the guest's bus accept them. The bus may not accept
/// them at once, since frames that come and go change what is mapped, and the bus distributes again
/// what a device has given back.
pub(super) fn grant(lab: &Lab, bytes: u64) -> Result<()> {
    wait_until("the bus takes what is granted", || try_grant(lab, bytes))
        .with_context(|| format!("{bytes} bytes"))
}

/// Grants an entitlement as [`grant`] does. Returns false if the bus refuses because its devices
/// have more than that mapped.
fn try_grant(lab: &Lab, bytes: u64) -> Result<bool> {
    lab.guest().grant_entitlement(bytes)?;
    set_lparcfg(lab, "entitled_memory", bytes)
}

/// Makes a device's desired entitlement smaller, as an administrator would. The device has given
/// back what exceeds it when this returns.
fn wish(lab: &Lab, unit: &str, bytes: u64, flows: &[Flow<'_>]) -> Result<()> {
    lab.sh(&format!(
        "echo {bytes} >/sys/bus/vio/devices/{unit}/cmo_desired"
    ))?;
    wait_until("the device gives back", || {
        for flow in flows {
            flow.go_on()?;
        }
        let device = Device::read(lab, unit)?;
        Ok(device.allocated <= device.entitled && device.entitled <= bytes)
    })
    .with_context(|| format!("{unit}, wish {bytes}: {:?}", Device::read(lab, unit)))
}

/// Checks the rules of the bus that hold while frames come and go: those between its pools, and the
/// limits of what is allocated. What is allocated changes from one look to the next.
fn rules(bus: &Bus, devices: &[Device]) -> Result<()> {
    let more = |f: fn(&Device) -> u64| -> u64 {
        let each = devices
            .iter()
            .map(|device| f(device).saturating_sub(MINIMUM));
        each.sum()
    };
    let allocated: u64 = devices.iter().map(|device| device.allocated).sum();
    let min = MINIMUM * (devices.len() as u64 + 1);
    let all = (bus, devices);
    ensure!(bus.spare == MINIMUM && bus.min == min, "min: {all:?}");
    ensure!(bus.desired == min + more(|d| d.desired), "wishes: {all:?}");
    ensure!(
        bus.reserve_size == min + more(|d| d.entitled)
            && bus.reserve_size + bus.excess_size == bus.entitled
            && bus.excess_free <= bus.excess_size,
        "pools: {all:?}"
    );
    ensure!(
        bus.curr <= bus.entitled - bus.spare
            && bus.curr <= bus.high
            && allocated <= bus.entitled - bus.spare,
        "allocated: {all:?}"
    );
    let fair = |d: &Device| (MINIMUM..=d.desired).contains(&d.entitled);
    ensure!(devices.iter().all(fair), "shares: {all:?}");
    Ok(())
}

/// Checks what holds in each step: the rules of the bus hold, and frames flow. Each device of the
/// driver stays within its entitlement once it has had the time to follow. Returns the accounts of
/// the devices.
fn step(lab: &Lab, units: &[&str], ours: &[&str], flows: &[Flow<'_>]) -> Result<Vec<Device>> {
    for flow in flows {
        flow.go_on()?;
    }
    wait_until("the driver follows", || {
        for unit in ours {
            let device = Device::read(lab, unit)?;
            if device.allocated > device.entitled {
                return Ok(false);
            }
        }
        Ok(true)
    })?;
    let (mut devices, mut why) = (Vec::new(), Ok(()));
    wait_until("the bus balances", || {
        let read = units.iter().map(|unit| Device::read(lab, unit));
        devices = read.collect::<Result<Vec<_>>>()?;
        why = rules(&Bus::read(lab)?, &devices);
        Ok(why.is_ok())
    })
    .or_else(|error| why.and(Err(error)))?;
    for flow in flows {
        flow.go_on()?;
    }
    Ok(devices)
}

/// Fails unless the high-water mark keeps its value from the past until it is reset.
fn high_water(lab: &Lab, highest: u64) -> Result<()> {
    let bus = Bus::read(lab)?;
    ensure!(
        bus.high >= highest,
        "the mark is {}, not {highest}",
        bus.high
    );
    lab.sh("echo 0 >/sys/bus/vio/cmo_high")?;
    let reset = Bus::read(lab)?;
    ensure!(
        reset.high < bus.high,
        "the mark is not reset: {reset:?}, before {bus:?}"
    );
    Ok(())
}

/// One adapter with two ports that are opened with the minimum gets plenty, then the minimum again.
/// No port is reset, and no frame is lost.
pub(crate) fn grows_and_shrinks(lab: &Lab) -> Result<()> {
    let units = [ADAPTER];
    lab.load()?;
    // The rings are small with the minimum, and remain so. What they lack is buffers for large
    // frames.
    let names = [lab.up(1, 9000)?, lab.up(2, 9000)?];
    let flows = [
        Flow::start(lab, 1, &names[0], 9000)?,
        Flow::start(lab, 2, &names[1], 9000)?,
    ];
    let mut before = step(lab, &units, &units, &flows)?[0];
    ensure!(before.allocated <= MINIMUM, "{before:?}");
    let wish_of_all = before.desired;
    for entitlement in [5 << 20, 8 << 20] {
        grant(lab, entitlement)?;
        wait_until("the driver uses what is granted", || {
            Ok(Device::read(lab, ADAPTER)?.allocated > before.entitled + (64 << 10))
        })
        .with_context(|| format!("{entitlement}: {:?}", Device::read(lab, ADAPTER)))?;
        before = step(lab, &units, &units, &flows)?[0];
    }
    grant(lab, MINIMUM + wish_of_all)?;
    before = step(lab, &units, &units, &flows)?[0];
    ensure!(before.entitled == wish_of_all, "{before:?}");
    let highest = before.allocated;
    for bytes in [3 << 20, 2 << 20, MINIMUM] {
        wish(lab, ADAPTER, bytes, &flows)?;
        // The grant leaves the bus its spare and nothing else.
        grant(lab, MINIMUM + bytes)?;
        let now = step(lab, &units, &units, &flows)?[0];
        ensure!(now.allocated <= bytes, "{now:?}");
    }
    high_water(lab, highest)?;
    for flow in flows {
        flow.stop()?;
    }
    ensure!(counter(lab, "port_resets")? == 0, "a port was reset");
    unload(lab)
}

/// One adapter with two ports that are opened with plenty gets only what their queues leave, then
/// plenty again. Buffers are given back and come again. No port is reset, and no frame is lost.
pub(crate) fn shrinks_and_grows(lab: &Lab) -> Result<()> {
    let units = [ADAPTER];
    lab.load()?;
    let names = [lab.up(1, 1500)?, lab.up(2, 1500)?];
    let flows = [
        Flow::start(lab, 1, &names[0], 1500)?,
        Flow::start(lab, 2, &names[1], 1500)?,
    ];
    let plenty = step(lab, &units, &units, &flows)?[0];
    ensure!(plenty.entitled == plenty.desired, "{plenty:?}");
    for bytes in [8 << 20, 6 << 20, 4 << 20] {
        wish(lab, ADAPTER, bytes, &flows)?;
        step(lab, &units, &units, &flows)?;
    }
    let returned = counter(lab, "cmo_rx_returned")?;
    let little = Device::read(lab, ADAPTER)?.allocated;
    ensure!(
        returned > 0 && little + (2 << 20) < plenty.allocated,
        "{returned} buffers were given back: {little}, before {plenty:?}"
    );
    lab.sh(&format!(
        "echo {} >/sys/bus/vio/devices/{ADAPTER}/cmo_desired",
        plenty.desired
    ))?;
    wait_until("all buffers are there again", || {
        Ok(Device::read(lab, ADAPTER)?.allocated + (64 << 10) >= plenty.allocated)
    })?;
    step(lab, &units, &units, &flows)?;
    for flow in flows {
        flow.stop()?;
    }
    ensure!(counter(lab, "port_resets")? == 0, "a port was reset");
    unload(lab)
}

/// Two adapters and an ibmveth share the bus, from the minimum of each to plenty and back.
pub(crate) fn three_devices(lab: &Lab) -> Result<()> {
    let (second, veth) = (Other::Adapter.unit(), Other::Veth.unit());
    let (units, ours) = ([ADAPTER, second, veth], [ADAPTER, second]);
    // The bus gives the minimum of a device without a driver to others. ibmveth would take it, so
    // it is loaded last.
    lab.load()?;
    lab.sh("modprobe ibmveth")?;
    let mut flows = Vec::new();
    for port in 1..=3 {
        let name = lab.up(port, 1500)?;
        flows.push(Flow::start(lab, port, &name, 1500)?);
    }
    let least = step(lab, &units, &ours, &flows)?;
    for device in &least {
        ensure!(device.allocated <= MINIMUM, "{least:?}");
    }
    let mut highest = 0;
    for entitlement in [12 << 20, 20 << 20, 48 << 20] {
        grant(lab, entitlement)?;
        let devices = step(lab, &units, &ours, &flows)?;
        highest = devices.iter().map(|device| device.allocated).sum();
    }
    ensure!(
        highest > least.iter().map(|device| device.allocated).sum(),
        "nobody used what was granted"
    );
    for bytes in [3 << 20, MINIMUM] {
        for unit in ours {
            wish(lab, unit, bytes, &flows)?;
        }
        // ibmveth gives back nothing but the frames that it sends. The rest is as much as possible
        // and changes all the time.
        wait_until("the bus takes what is granted", || {
            let device = Device::read(lab, veth)?;
            let rest = device.desired.max(device.allocated);
            try_grant(lab, MINIMUM + 2 * bytes + rest)
        })?;
        step(lab, &units, &ours, &flows)?;
    }
    high_water(lab, highest)?;
    for flow in flows {
        flow.stop()?;
    }
    let stats: ehea_model::stats::Stats = lab.guest().stats_of(&Other::Adapter.id())?;
    ensure!(
        stats.cmo_refused == 0,
        "the second adapter accessed memory that is not mapped"
    );
    lab.sh("rmmod ibmveth")?;
    lab.unload()?;
    nothing_mapped(lab)
}
