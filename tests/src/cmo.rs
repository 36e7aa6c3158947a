// SPDX-License-Identifier: GPL-2.0
//! CMO as the guest shows it: the accounts of the VIO bus and of its devices, and the partition's
//! data.
//!
//! All sizes are in bytes. The rules are those of the kernel's
//! `arch/powerpc/platforms/pseries/vio.c`.

use std::collections::BTreeMap;

use anyhow::{ensure, Context, Result};

use crate::lab::{wait_until, Lab};

/// Entitlement that the bus keeps for each device with a DMA window, and once more as spare.
pub const MINIMUM: u64 = 1_562_624;

const WIDE_MINIMUM: i128 = MINIMUM as i128;

/// Number of bytes that the bus hands out at a time when it balances.
pub const CHUNK: u64 = 131_072;

/// Accounts of the bus, `/sys/bus/vio/cmo_*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bus {
    /// Number of bytes that the partition may have mapped.
    pub entitled: u64,
    /// Number of bytes kept for devices to come; part of the reserve.
    pub spare: u64,
    /// Minimum of all devices, and the spare.
    pub min: u64,
    /// Number of bytes that all devices wish for, and the spare.
    pub desired: u64,
    /// Number of bytes that all devices have.
    pub curr: u64,
    /// Maximum number of bytes that the devices ever had.
    pub high: u64,
    /// Number of bytes that devices are guaranteed.
    pub reserve_size: u64,
    /// Number of bytes that any device may take.
    pub excess_size: u64,
    /// Number of these bytes that no device has.
    pub excess_free: u64,
}

impl Bus {
    /// Reads the accounts.
    pub fn read(lab: &Lab) -> Result<Self> {
        let files = numbers(lab, "/sys/bus/vio")?;
        let get = |name: &str| {
            let value = files.get(name).copied();
            value.with_context(|| format!("the bus has no cmo_{name}"))
        };
        Ok(Self {
            entitled: get("entitled")?,
            spare: get("spare")?,
            min: get("min")?,
            desired: get("desired")?,
            curr: get("curr")?,
            high: get("high")?,
            reserve_size: get("reserve_size")?,
            excess_size: get("excess_size")?,
            excess_free: get("excess_free")?,
        })
    }

    /// Checks what holds after every balance. `devices` are those that have a driver, of `windows`
    /// devices with a DMA window.
    pub fn check(&self, devices: &[Device], windows: u64) -> Result<()> {
        // The type is wide, because the numbers may be anything before the bus has balanced.
        let sum = |f: fn(&Device) -> i128| devices.iter().map(f).sum::<i128>();
        let [entitled, spare, min, desired, curr, high] = [
            self.entitled,
            self.spare,
            self.min,
            self.desired,
            self.curr,
            self.high,
        ]
        .map(i128::from);
        let [reserve, excess, free] =
            [self.reserve_size, self.excess_size, self.excess_free].map(i128::from);
        let all = (self, devices);
        let needed = i128::from(windows) * WIDE_MINIMUM;
        let wanted = WIDE_MINIMUM.min(entitled - needed);
        ensure!(spare == wanted, "spare is not {wanted}: {all:?}");
        ensure!(
            min == needed + spare,
            "min is not that of {windows} devices and the spare: {all:?}"
        );
        ensure!(
            curr == sum(|d| d.allocated.into()),
            "curr is not what the devices have: {all:?}"
        );
        ensure!(high >= curr, "high is less than curr: {all:?}");
        ensure!(
            desired == min + sum(|d| i128::from(d.desired) - WIDE_MINIMUM),
            "desired is not what the devices wish: {all:?}"
        );
        ensure!(
            reserve == min + sum(|d| i128::from(d.entitled) - WIDE_MINIMUM),
            "the reserve is not what the devices are entitled to and the spare: {all:?}"
        );
        ensure!(
            reserve + excess == entitled,
            "the pools are not the entitlement: {all:?}"
        );
        ensure!(
            free + sum(|d| d.allocated.saturating_sub(d.entitled).into()) == excess,
            "what is free of the excess is not what the devices left: {all:?}"
        );
        let fair = |d: &Device| (MINIMUM..=d.desired).contains(&d.entitled);
        ensure!(
            devices.iter().all(fair),
            "a device is entitled to less than the minimum or more than it wishes: {all:?}"
        );
        Ok(())
    }
}

/// Accounts of a device, `/sys/bus/vio/devices/…/cmo_*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// Number of bytes that the device is guaranteed; 0 until the bus balances for the first time
    /// after the device's probe.
    pub entitled: u64,
    /// Number of bytes that the device has.
    pub allocated: u64,
    /// Number of bytes that the device's driver wishes for.
    pub desired: u64,
    /// Number of mappings that were refused.
    pub allocs_failed: u64,
}

impl Device {
    /// Reads the accounts of the device at a unit address, such as `71000001`.
    pub fn read(lab: &Lab, unit: &str) -> Result<Self> {
        let files = numbers(lab, &format!("/sys/bus/vio/devices/{unit}"))?;
        let get = |name: &str| {
            let value = files.get(name).copied();
            value.with_context(|| format!("device {unit} has no cmo_{name}"))
        };
        Ok(Self {
            entitled: get("entitled")?,
            allocated: get("allocated")?,
            desired: get("desired")?,
            allocs_failed: get("allocs_failed")?,
        })
    }
}

/// Returns the numbers in a directory's `cmo_*` files, by their names without `cmo_`. The shell
/// reads them with one command.
fn numbers(lab: &Lab, directory: &str) -> Result<BTreeMap<String, u64>> {
    let lines = lab.sh(&format!("cd {directory} && grep -H . cmo_*"))?;
    lines
        .lines()
        .map(|line| {
            let (name, value) = line.split_once(':').context("no value")?;
            let name = name.strip_prefix("cmo_").context("another file")?;
            Ok((name.to_owned(), value.parse()?))
        })
        .collect()
}

/// Returns a number in `/proc/powerpc/lparcfg`, or `None` if it is not there.
pub fn lparcfg(lab: &Lab, name: &str) -> Result<Option<u64>> {
    let text = lab.sh("cat /proc/powerpc/lparcfg")?;
    let value = text.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key == name).then_some(value)
    });
    value
        .map(|value| {
            let digits = value.trim_end_matches(" bytes");
            digits
                .parse()
                .with_context(|| format!("{name} is {value:?}"))
        })
        .transpose()
}

/// Writes to `/proc/powerpc/lparcfg`, as administrators' tools do. Returns whether that succeeded.
pub fn set_lparcfg(lab: &Lab, name: &str, value: u64) -> Result<bool> {
    let output = lab.run(&format!("echo {name}={value} >/proc/powerpc/lparcfg"))?;
    Ok(output.success())
}

/// Waits until the bus has balanced, which it does in its own time: until its accounts are
/// consistent with those of the devices `units`. These are all devices with a driver, of `windows`
/// devices with a DMA window.
pub fn balanced(lab: &Lab, units: &[&str], windows: u64) -> Result<(Bus, Vec<Device>)> {
    let mut last = None;
    let mut why = Ok(());
    wait_until("the bus balances", || {
        let devices = units.iter().map(|unit| Device::read(lab, unit));
        let devices = devices.collect::<Result<Vec<_>>>()?;
        let bus = Bus::read(lab)?;
        why = bus.check(&devices, windows);
        last = Some((bus, devices));
        Ok(why.is_ok())
    })
    .or_else(|error| why.and(Err(error)))?;
    last.context("nothing was read")
}
