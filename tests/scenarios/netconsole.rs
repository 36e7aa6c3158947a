// SPDX-License-Identifier: GPL-2.0
//! The kernel's log, sent through a port.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{ensure, Result};
use ehea_tests::lab::{text, Lab};
use ehea_tests::peer::{udp_payload, Port, PEER_ADDRESS};

const PATIENCE: Duration = Duration::from_secs(60);
const TARGET: &str = "/sys/kernel/config/netconsole/scenario";
const UDP_PORT: u16 = 6666;
/// Number of lines that are printed at a time, fewer than the kernel's log has room for.
const LINES: usize = 200;
/// Number of repetitions, in which the send queue wraps.
const ROUNDS: usize = 10;

/// Receives lines of the log until those in `wanted` have arrived.
fn receive(port: &Port, wanted: std::ops::Range<usize>) -> Result<()> {
    let (mut lines, mut last) = (BTreeSet::new(), Instant::now());
    let mut buffer = [0; 1 << 16];
    while lines.len() < wanted.len() && last.elapsed() < PATIENCE {
        let Some(length) = port.try_receive(&mut buffer)? else {
            port.wait(false, Duration::from_millis(20))?;
            continue;
        };
        let Some(payload) = udp_payload(&buffer[..length], UDP_PORT)? else {
            continue;
        };
        let line = String::from_utf8_lossy(payload);
        let number = line
            .split_once("line ")
            .and_then(|(_, rest)| rest.split_once(" of the log"))
            .and_then(|(number, _)| number.parse().ok());
        if let Some(number) = number {
            ensure!(lines.insert(number), "line {number} came twice");
            ensure!(wanted.contains(&number), "line {number} came too late");
            last = Instant::now();
        }
    }
    let missing: Vec<_> = wanted.filter(|number| !lines.contains(number)).collect();
    ensure!(missing.is_empty(), "lines that never came: {missing:?}");
    Ok(())
}

/// Every line of the log goes to the host that a user names.
pub(crate) fn every_line(lab: &Lab) -> Result<()> {
    lab.load()?;
    let name = lab.up(1, 1500)?;
    // Otherwise, users may print only ten lines in five seconds.
    lab.sh(&format!(
        "echo on >/proc/sys/kernel/printk_devkmsg && dmesg -n 5 && \
         modprobe netconsole && mount -t configfs none /sys/kernel/config && mkdir {TARGET} && cd {TARGET} && \
         echo {name} >dev_name && echo 10.87.0.1 >local_ip && echo 10.87.0.2 >remote_ip && \
         echo {UDP_PORT} >remote_port && echo {} >remote_mac && echo 1 >enabled",
        text(PEER_ADDRESS)
    ))?;
    for round in 0..ROUNDS {
        let (first, end) = (round * LINES, (round + 1) * LINES);
        lab.sh(&format!(
            "n={first}; while [ $n -lt {end} ]; do echo \"<4>line $n of the log\" >/dev/kmsg; n=$((n + 1)); done"
        ))?;
        receive(lab.port(1)?, first..end)?;
    }
    lab.sh(&format!(
        "echo 0 >{TARGET}/enabled && rmdir {TARGET} && umount /sys/kernel/config && rmmod netconsole && \
         dmesg -n 7 && echo ratelimit >/proc/sys/kernel/printk_devkmsg"
    ))?;
    lab.unload()
}
