// SPDX-License-Identifier: GPL-2.0
//! The CMO platform itself, checked with a driver from others: ibmveth on QEMU's spapr-vlan, beside
//! an adapter without a driver.

use anyhow::{ensure, Context, Result};
use ehea_harness::parse_size;
use ehea_tests::cmo::{balanced, lparcfg, set_lparcfg, Bus, Device, CHUNK, MINIMUM};
use ehea_tests::lab::{wait_until, Lab, Shape};

const MIB: u64 = 1 << 20;

/// I/O entitlement that the host grants at boot.
const GRANT: &str = "64M";

/// Unit addresses of the devices.
const VETH: &str = "71000010";
const ADAPTER: &str = "71000001";

/// Number of devices of the guest with a DMA window.
const WINDOWS: u64 = 2;

/// Returns the smallest entitlement with which the guest's bus keeps its spare, if `windows`
/// devices have a DMA window.
pub(crate) const fn floor(windows: u64) -> u64 {
    (windows + 1) * MINIMUM
}

const VETH_DEVICE: &[&str] = &[
    "-netdev",
    "user,id=veth",
    "-device",
    "spapr-vlan,netdev=veth,reg=0x71000010",
];

/// A CMO partition with an adapter and an ibmveth.
pub(crate) const SHAPE: Shape = Shape {
    adapter: Some(1),
    cmo: Some(GRANT),
    qemu_args: VETH_DEVICE,
    ..Shape::PLAIN
};

/// A CMO partition with only the ibmveth.
///
/// While a device with a DMA window has no driver, the kernel's bus counts the device's minimum and
/// also gives it to others. If the entitlement is only the minimum, the bus's excess pool is then
/// negative, which means unlimited.
pub(crate) const ALONE: Shape = Shape {
    adapter: None,
    ..SHAPE
};

/// Returns the DMA windows of the adapter's node: LIOBN, address and size.
fn adapter_windows(lab: &Lab) -> Result<Vec<String>> {
    let files = format!("/proc/device-tree/vdevice/ethernet@{ADAPTER}/ibm,my-dma-window");
    let text = lab.sh(&format!(
        "for f in {files}; do [ ! -e $f ] || xxd -p $f | tr -d '\\n'; done"
    ))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Loads ibmveth and returns the name of its interface.
fn veth(lab: &Lab) -> Result<String> {
    lab.sh("modprobe ibmveth")?;
    lab.sh(&format!("ls /sys/bus/vio/devices/{VETH}/net"))
}

/// Loads ibmveth, sets its interface up, and sends and receives something.
fn veth_up(lab: &Lab) -> Result<String> {
    let name = veth(lab)?;
    lab.sh(&format!(
        "ip addr replace 10.0.2.15/24 dev {name} && ip link set {name} up"
    ))?;
    ping(lab)?;
    Ok(name)
}

fn ping(lab: &Lab) -> Result<()> {
    lab.sh("ping -c 3 -i 0.2 -w 30 10.0.2.2").map(drop)
}

/// Sets the entitlement from within the guest, so that the guest's bus and the hypervisor agree on
/// it.
pub(crate) fn set(lab: &Lab, bytes: u64) -> Result<()> {
    ensure!(
        set_lparcfg(lab, "entitled_memory", bytes)?,
        "{bytes} refused"
    );
    Ok(())
}

/// Returns the partition's entitlement according to the hypervisor and according to the bus.
fn entitled(lab: &Lab) -> Result<(u64, u64)> {
    let hypervisor = lparcfg(lab, "entitled_memory")?.context("no entitled_memory")?;
    Ok((hypervisor, Bus::read(lab)?.entitled))
}

/// Fails unless nothing is allocated and nothing is mapped.
fn all_returned(lab: &Lab) -> Result<()> {
    let (bus, veth) = (Bus::read(lab)?, Device::read(lab, VETH)?);
    let mapped = lparcfg(lab, "mapped_entitled_memory")?;
    ensure!(
        bus.curr == 0 && veth.allocated == 0 && mapped == Some(0),
        "not all was returned: {mapped:?} bytes mapped, {bus:?}, {veth:?}"
    );
    Ok(())
}

/// Restores the state with which other scenarios start.
fn restore(lab: &Lab) -> Result<()> {
    lab.sh("rmmod ibmveth")?;
    all_returned(lab)?;
    lab.guest().grant_entitlement(parse_size(GRANT)?)?;
    set(lab, parse_size(GRANT)?)
}

/// Outside CMO, nothing of it exists, and the adapter needs no mappings.
pub(crate) fn off(lab: &Lab) -> Result<()> {
    ensure!(
        lab.guest().entitlement()? == 0,
        "an entitlement without CMO"
    );
    ensure!(
        lab.guest().grant_entitlement(64 * MIB).is_err(),
        "CMO was turned on in a running machine"
    );
    ensure!(lparcfg(lab, "cmo_enabled")? == Some(0), "CMO is enabled");
    ensure!(
        lparcfg(lab, "entitled_memory")?.is_none(),
        "H_GET_MPP works"
    );
    let windows = adapter_windows(lab)?;
    ensure!(windows.is_empty(), "a DMA window without CMO: {windows:?}");
    lab.load()?;
    let name = lab.up(1, 1500)?;
    lab.sh(&format!("arping -c 3 -w 3 -I {name} 10.9.9.9; true"))?;
    let stats = lab.stats()?;
    ensure!(
        stats.ports.iter().any(|port| port.tx_frames > 0),
        "no traffic"
    );
    ensure!(
        (stats.tce_maps, stats.tce_mapped_pages, stats.cmo_refused) == (0, 0, 0),
        "mappings without CMO: {stats:?}"
    );
    lab.unload()
}

/// The guest knows that it is in a CMO partition and how much entitlement it has.
pub(crate) fn announced(lab: &Lab) -> Result<()> {
    let grant = parse_size(GRANT)?;
    lab.sh("dmesg | grep -q 'CMO enabled'")?;
    ensure!(
        lparcfg(lab, "cmo_enabled")? == Some(1),
        "CMO is not enabled"
    );
    ensure!(
        lparcfg(lab, "cmo_page_size")? == Some(4096),
        "another page size"
    );
    ensure!(lab.guest().entitlement()? == grant, "the host's grant");
    ensure!(entitled(lab)? == (grant, grant), "{:?}", entitled(lab)?);
    for (name, value) in [
        ("mapped_entitled_memory", 0),
        ("entitled_memory_weight", 128),
        ("unallocated_io_mapping_entitlement", 0),
        ("entitled_memory_loan_request", 0),
        ("backing_memory", lab.guest().memory().size),
    ] {
        let found = lparcfg(lab, name)?;
        ensure!(found == Some(value), "{name} is {found:?}, not {value}");
    }
    // The property holds a LIOBN, a 64-bit address and a 64-bit size.
    let window = format!("{ADAPTER}{:016x}{:016x}", 0, 1u64 << 30);
    let windows = adapter_windows(lab)?;
    ensure!(
        windows == [window],
        "the adapter's DMA windows are {windows:?}"
    );
    Bus::read(lab)?.check(&[], WINDOWS)
}

/// A device is charged for what it maps, its wishes are granted, and everything is given back.
pub(crate) fn charged(lab: &Lab) -> Result<()> {
    for _ in 0..3 {
        let before = Bus::read(lab)?;
        let name = veth_up(lab)?;
        set(lab, parse_size(GRANT)?)?;
        let (bus, devices) = balanced(lab, &[VETH], WINDOWS)?;
        let [veth] = devices[..] else {
            unreachable!("one device was read")
        };
        ensure!(veth.allocated > MINIMUM, "ibmveth has only {veth:?}");
        ensure!(
            veth.entitled == veth.desired,
            "there is plenty, but ibmveth does not get what it wishes: {veth:?}"
        );
        ensure!(bus.curr > before.curr && bus.high >= bus.curr, "{bus:?}");
        // A mapping is charged for its length. It takes one entry more if it starts inside a page.
        let mapped = lparcfg(lab, "mapped_entitled_memory")?.unwrap_or(0);
        ensure!(
            (veth.allocated / 2..=veth.allocated * 2).contains(&mapped) && mapped % 4096 == 0,
            "{mapped} bytes are mapped, {veth:?}"
        );
        lab.sh(&format!("ip link set {name} down"))?;
        all_returned(lab)?;
        lab.sh("rmmod ibmveth")?;
        all_returned(lab)?;
        let high = Bus::read(lab)?.high;
        ensure!(high >= veth.allocated, "the high-water mark is {high}");
        lab.sh("echo 0 >/sys/bus/vio/cmo_high")?;
        ensure!(Bus::read(lab)?.high == 0, "the high-water mark stays");
    }
    Ok(())
}

/// A write to `cmo_desired` sets the desired entitlement and makes the bus balance.
pub(crate) fn desired(lab: &Lab) -> Result<()> {
    veth_up(lab)?;
    let own = Device::read(lab, VETH)?.desired;
    for (wish, is) in [
        (8 * MIB, 8 * MIB),
        (8 * MIB + CHUNK / 2, 8 * MIB + CHUNK / 2),
        (1, MINIMUM),
        (own, own),
    ] {
        lab.sh(&format!(
            "echo {wish} >/sys/bus/vio/devices/{VETH}/cmo_desired"
        ))?;
        let (_, devices) = balanced(lab, &[VETH], WINDOWS)?;
        ensure!(
            devices[0].desired == is && devices[0].entitled == is,
            "a wish for {wish} became {:?}",
            devices[0]
        );
        ping(lab)?;
    }
    restore(lab)
}

/// The guest lowers and raises its entitlement within the host's grant.
pub(crate) fn by_the_guest(lab: &Lab) -> Result<()> {
    let grant = parse_size(GRANT)?;
    veth_up(lab)?;
    for bytes in [grant / 2, 16 * MIB + 1, grant] {
        set(lab, bytes)?;
        ensure!(entitled(lab)? == (bytes, bytes), "{:?}", entitled(lab)?);
        let left = lparcfg(lab, "unallocated_io_mapping_entitlement")?;
        ensure!(left == Some(grant - bytes), "{left:?} left of the grant");
        balanced(lab, &[VETH], WINDOWS)?;
        ping(lab)?;
    }
    // This is less than what is in use. The bus refuses it and does not even ask the hypervisor.
    ensure!(
        !set_lparcfg(lab, "entitled_memory", floor(WINDOWS))?,
        "lowered below use"
    );
    ensure!(entitled(lab)? == (grant, grant), "{:?}", entitled(lab)?);
    // A wish beyond the grant is limited to the grant. The bus believes what was written.
    set(lab, grant + MIB)?;
    ensure!(
        entitled(lab)? == (grant, grant + MIB),
        "{:?}",
        entitled(lab)?
    );
    // The weight is kept beside it.
    set(lab, grant / 2)?;
    for weight in [255, 0] {
        ensure!(
            set_lparcfg(lab, "entitled_memory_weight", weight)?,
            "refused"
        );
        let found = lparcfg(lab, "entitled_memory_weight")?;
        ensure!(found == Some(weight), "weight {weight} became {found:?}");
        ensure!(
            entitled(lab)? == (grant / 2, grant / 2),
            "{:?}",
            entitled(lab)?
        );
    }
    ensure!(set_lparcfg(lab, "entitled_memory_weight", 128)?, "refused");
    ensure!(lab.guest().entitlement()? == grant, "the grant has changed");
    restore(lab)
}

/// The host grants more and less. The bus learns of it when it is told inside the guest.
pub(crate) fn by_the_host(lab: &Lab) -> Result<()> {
    let mut bus = parse_size(GRANT)?;
    veth_up(lab)?;
    for grant in [96 * MIB, 24 * MIB, 32 * MIB] {
        lab.guest().grant_entitlement(grant)?;
        ensure!(lab.guest().entitlement()? == grant, "not granted");
        ensure!(entitled(lab)? == (grant, bus), "{:?}", entitled(lab)?);
        let new = lparcfg(lab, "entitled_memory")?.context("no entitled_memory")?;
        set(lab, new)?;
        ensure!(entitled(lab)? == (grant, grant), "{:?}", entitled(lab)?);
        balanced(lab, &[VETH], WINDOWS)?;
        ping(lab)?;
        bus = grant;
    }
    // The guest gets back what it gave up when the host sets the grant.
    set(lab, 16 * MIB)?;
    lab.guest().grant_entitlement(32 * MIB)?;
    ensure!(
        entitled(lab)? == (32 * MIB, 16 * MIB),
        "{:?}",
        entitled(lab)?
    );
    for refused in [0, 1 << 48] {
        ensure!(
            lab.guest().grant_entitlement(refused).is_err(),
            "a grant of {refused} was taken"
        );
    }
    restore(lab)
}

/// Mappings are refused and counted under the smallest entitlement. More entitlement ends that.
pub(crate) fn shortage(lab: &Lab) -> Result<()> {
    set(lab, floor(1))?;
    let name = veth(lab)?;
    let failed = || Ok::<_, anyhow::Error>(Device::read(lab, VETH)?.allocs_failed);
    // The device is entitled to nothing until the bus balances, and there is no excess.
    ensure!(
        !lab.run(&format!("ip link set {name} up"))?.success() && failed()? > 0,
        "ibmveth came up without any entitlement"
    );
    let wish = Device::read(lab, VETH)?.desired;
    lab.sh(&format!(
        "echo {wish} >/sys/bus/vio/devices/{VETH}/cmo_desired"
    ))?;
    let (bus, devices) = balanced(lab, &[VETH], 1)?;
    ensure!(
        bus.excess_size == 0 && devices[0].entitled == MINIMUM,
        "there is more than the floor: {bus:?}, {devices:?}"
    );
    // The interface may now come up with few buffers, or not at all.
    let before = failed()?;
    lab.run(&format!("ip link set {name} up"))?;
    wait_until("mappings are refused", || Ok(failed()? > before))?;
    let veth = Device::read(lab, VETH)?;
    ensure!(veth.allocated <= MINIMUM, "more than the floor: {veth:?}");
    lab.sh(&format!("ip link set {name} down"))?;
    lab.sh(&format!(
        "echo 1 >/sys/bus/vio/devices/{VETH}/cmo_allocs_failed"
    ))?;
    ensure!(
        Device::read(lab, VETH)?.allocs_failed == 0,
        "the count stays"
    );
    set(lab, parse_size(GRANT)?)?;
    veth_up(lab)?;
    let veth = Device::read(lab, VETH)?;
    ensure!(veth.allocs_failed == 0, "refused with plenty: {veth:?}");
    restore(lab)
}
