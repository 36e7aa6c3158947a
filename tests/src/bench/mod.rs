// SPDX-License-Identifier: GPL-2.0
//! Figures that repeat on a noisy machine: counts of hypercalls and of guest instructions.
//!
//! Instructions are counted by the guest's clock: with QEMU's `-icount shift=0` one nanosecond of
//! guest time is one instruction. `ehea-net soak` subtracts what the processor spent idling: a
//! process of the lowest class counts loops while nothing else runs. Each figure is a difference of
//! two runs, one three times as long as the other, so that what a run costs once drops out.
//!
//! Transmit: the kernel's pktgen hands frames to the driver. What is counted is the work from the
//! driver's entry to the freeing of the sent buffer, and pktgen's own making of the frame.
//! Receive: this process sends frames as fast as the device takes them. The guest drops them in its
//! stack, since nobody asked for their Ethertype. What is counted is the work from the interrupt to
//! that drop, and the filling of the receive queues.

mod unsafe_code;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use ehea_harness::Guest;
use ehea_model::stats::Stats;

use crate::lab::{guest_tools, port_address, text};
use crate::peer::{end_frame, idle_frame, Port, Sink};

/// Figures by name.
pub type Figures = BTreeMap<String, f64>;

/// Frames of the shorter run; the longer one has three times as many.
const FRAMES: u64 = 10_000;

/// Frame lengths without CRC, and what they are called: the shortest frame is called by its length
/// with CRC.
const LENGTHS: [(usize, &str); 2] = [(60, "64b"), (1500, "1500b")];

/// A network device to measure.
struct Device {
    /// In the names of figures.
    name: &'static str,
    module: &'static str,
    address: [u8; 6],
    port: Arc<Port>,
}

/// Groups of figures, for `--only`.
pub const GROUPS: &[&str] = &["memory", "packets", "unsafe"];

/// Takes the figures of a group, or all.
pub fn figures(only: Option<&str>, mut progress: impl FnMut(&str)) -> Result<Figures> {
    if let Some(group) = only.filter(|group| !GROUPS.contains(group)) {
        bail!("no group {group}: the groups are {}", GROUPS.join(", "));
    }
    let wanted = |group| only.is_none_or(|only| only == group);
    let mut figures = Figures::new();
    if wanted("unsafe") {
        unsafe_code::measure(&mut figures)?;
    }
    if wanted("memory") {
        progress("memory registration");
        memory(&mut figures)?;
    }
    if wanted("packets") {
        packets(&mut figures, &mut progress)?;
    }
    Ok(figures)
}

/// Pages that an adapter may offer for memory regions, with the capability mask (eHEA ABI §12).
const REGISTRATION_PAGES: [(u64, &str, &str); 2] = [
    (4 << 10, "4k", "mr-page-sizes=0x80000000"),
    (16 << 20, "16m", "mr-page-sizes=0x90000000"),
];

/// What it takes to register all memory, with an adapter that knows nothing but 4 KiB pages, and
/// with one that knows pages of 16 MiB.
fn memory(figures: &mut Figures) -> Result<()> {
    for (bytes, label, property) in REGISTRATION_PAGES {
        let guest = Guest::builder()
            .name("bench-memory")
            .mem("2G")?
            .adapter_property(property)
            .boot()?;
        guest.sh("modprobe ehea")?;
        let stats: Stats = guest.stats()?;
        let mr = stats
            .mrs
            .first()
            .context("the driver registered no memory")?;
        ensure!(
            mr.page_bytes == bytes,
            "registered with pages of {} bytes instead of {bytes}",
            mr.page_bytes
        );
        let gib = mr.bytes as f64 / (1u64 << 30) as f64;
        figures.insert("registered_gib".into(), gib);
        figures.insert(
            format!("register_hcalls_per_gib_{label}"),
            mr.register_calls as f64 / gib,
        );
        guest.sh("rmmod ehea")?;
        guest.shutdown()?;
    }
    Ok(())
}

fn packets(figures: &mut Figures, progress: &mut impl FnMut(&str)) -> Result<()> {
    let device = |name, module, index| -> Result<(Device, _)> {
        let (port, socket) = Port::new()?;
        let device = Device {
            name,
            module,
            address: port_address(index),
            port: Arc::new(port),
        };
        Ok((device, socket))
    };
    let (ehea, ehea_socket) = device("rs", "ehea", 1)?;
    let (veth, veth_socket) = device("veth", "ibmveth", 2)?;
    let (virtio, virtio_socket) = device("virtio", "virtio_net", 3)?;
    let guest = Guest::builder()
        .name("bench-packets")
        .mem("2G")?
        .kernel_append("ipv6.disable_ipv6=1")
        .smp(1)
        .file(&guest_tools()?)?
        .netdev(ehea_socket)
        .adapter_property(&format!("mac0={}", text(ehea.address)))
        .other_netdev("veth", veth_socket)
        .qemu_arg("-device")
        .qemu_arg(&format!(
            "spapr-vlan,netdev=veth,mac={}",
            text(veth.address)
        ))
        .other_netdev("virtio", virtio_socket)
        .qemu_arg("-device")
        .qemu_arg(&format!(
            // What it sends waits for a timer of the guest's clock, like this adapter's; otherwise
            // the load of the host decided how many frames an interrupt is for.
            "virtio-net-pci,netdev=virtio,romfile=,tx=timer,mac={}",
            text(virtio.address)
        ))
        .qemu_arg("-icount")
        .qemu_arg("shift=0,sleep=off")
        .boot()?;
    guest.sh("modprobe pktgen")?;
    for device in [&ehea, &veth, &virtio] {
        guest.sh(&format!("modprobe {}", device.module))?;
        let address = text(device.address);
        let path = guest.sh(&format!("grep -lx {address} /sys/class/net/*/address"))?;
        let interface = path.split('/').nth(4).context("no interface")?.to_owned();
        guest.sh(&format!("ip link set {interface} up; sleep 1"))?;
        for (length, label) in LENGTHS {
            progress(&format!("{}, frames of {label}", device.module));
            let per_frame = |run: &dyn Fn(u64) -> Result<u64>| -> Result<f64> {
                let (short, long) = (run(FRAMES)?, run(3 * FRAMES)?);
                ensure!(
                    long > short,
                    "three times the frames took no more instructions"
                );
                Ok((long - short) as f64 / (2 * FRAMES) as f64)
            };
            let tx = per_frame(&|count| transmit(&guest, device, &interface, count, length))?;
            // How many frames come between two looks of the guest depends on the host: the median.
            let mut rx = [0.0; 3];
            for rx in &mut rx {
                *rx = per_frame(&|count| receive(&guest, device, &interface, count, length))?;
            }
            rx.sort_by(f64::total_cmp);
            let [_, rx, _] = rx;
            let name = device.name;
            figures.insert(format!("{name}_tx_insns_{label}"), tx);
            figures.insert(format!("{name}_rx_insns_{label}"), rx);
        }
        guest.sh(&format!("ip link set {interface} down"))?;
    }
    guest.sh("rmmod ehea")?;
    guest.shutdown()
}

/// Instructions used while `ehea-net soak` ran a command, from its output.
fn used(output: &str) -> Result<u64> {
    let (_, number) = output
        .lines()
        .last()
        .and_then(|line| line.split_once(" used_ns "))
        .with_context(|| format!("no result of soak in {output:?}"))?;
    Ok(number.trim().parse()?)
}

/// Sends `count` frames and returns the instructions used.
fn transmit(
    guest: &Guest,
    device: &Device,
    interface: &str,
    count: u64,
    length: usize,
) -> Result<u64> {
    let pktgen = "/proc/net/pktgen";
    guest.sh(&format!(
        "echo rem_device_all >{pktgen}/kpktgend_0 && echo add_device {interface} >{pktgen}/kpktgend_0\n\
         for option in 'count {count}' 'pkt_size {length}' 'delay 0' 'clone_skb 0' \
         'dst_mac 52:54:00:ea:ff:01' 'dst 10.99.0.2'; do\n\
         echo $option >{pktgen}/{interface} || exit 1; done"
    ))?;
    let sink = Sink::new(Arc::clone(&device.port));
    let output = guest.sh(&format!("./ehea-net soak 'echo start >{pktgen}/pgctrl'"))?;
    let result = guest.sh(&format!("cat {pktgen}/{interface}"))?;
    ensure!(
        result.contains(&format!("pkts-sofar: {count}  errors: 0")),
        "pktgen had trouble:\n{result}"
    );
    crate::lab::wait_until("all frames arrive", || Ok(sink.frames() >= count))?;
    let came = sink.stop()?;
    ensure!(came == count, "{came} of {count} frames came");
    used(&output)
}

/// Receives `count` frames and returns the instructions used.
fn receive(
    guest: &Guest,
    device: &Device,
    interface: &str,
    count: u64,
    length: usize,
) -> Result<u64> {
    device.port.drain()?;
    let counter = format!("cat /sys/class/net/{interface}/statistics/rx_packets");
    let before: u64 = guest.sh(&counter)?.parse()?;
    let position = guest.console().position();
    let command = format!("./ehea-net soak './ehea-net await {interface} /dev/kmsg'");
    let output = thread::scope(|scope| -> Result<String> {
        let measured = scope.spawn(|| guest.sh(&command));
        guest
            .console()
            .wait_for(position, "ehea-net: waiting", Duration::from_secs(120))
            .context("the guest never waited for frames")?;
        let frame = idle_frame(device.address, length);
        for _ in 0..count {
            send(&device.port, &frame)?;
        }
        send(&device.port, &end_frame(device.address))?;
        match measured.join() {
            Ok(output) => output,
            Err(_) => bail!("the thread that measures panicked"),
        }
    })?;
    let came = guest.sh(&counter)?.parse::<u64>()? - before;
    ensure!(came == count + 1, "{came} of {} frames came", count + 1);
    used(&output)
}

fn send(port: &Port, frame: &[u8]) -> Result<()> {
    while !port.try_send(frame)? {
        port.wait_to_send(Duration::from_secs(1))?;
    }
    Ok(())
}
