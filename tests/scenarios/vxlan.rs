// SPDX-License-Identifier: GPL-2.0
//! A tunnel over the port, with its offloads enabled.

use std::sync::Arc;

use anyhow::{ensure, Context, Result};
use ehea_tests::checks::offload::Offloads;
use ehea_tests::counters::resets;
use ehea_tests::lab::{wait_until, Lab};
use ehea_tests::peer::Cable;

/// Number of bytes of the file that goes through the tunnel.
const BYTES: u64 = 16 << 20;

/// Returns a counter of a network namespace.
fn counter(lab: &Lab, namespace: &str, name: &str) -> Result<u64> {
    let text = lab.sh(&format!("ip netns exec {namespace} nstat -az {name}"))?;
    text.lines()
        .find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next()? == name).then(|| words.next()?.split('.').next()?.parse().ok())?
        })
        .with_context(|| format!("no {name} in {text:?}"))
}

/// A file goes over TCP through a VXLAN tunnel between both ports, which a cable connects. It
/// arrives unchanged, no checksum on the way is wrong, and no port is reset. Packets outside of the
/// tunnel are still cut by the adapter.
pub(crate) fn tunnel(lab: &Lab) -> Result<()> {
    lab.load()?;
    let cable = Cable::new(Arc::clone(lab.port(1)?), Arc::clone(lab.port(2)?));
    let names = [lab.interface(1)?, lab.interface(2)?];
    for (end, (namespace, name)) in [(1, ("near", &names[0])), (2, ("far", &names[1]))] {
        let other = 3 - end;
        lab.sh(&format!(
            "ip netns add {namespace} && ip link set {name} netns {namespace} && \
             ip -n {namespace} addr add 10.83.0.{end}/24 dev {name} && \
             ip -n {namespace} link set {name} up && \
             ip -n {namespace} link add vx0 type vxlan id 7 remote 10.83.0.{other} dstport 4789 dev {name} && \
             ip -n {namespace} addr add 10.84.0.{end}/24 dev vx0 && ip -n {namespace} link set vx0 up"
        ))?;
        let features = lab.sh(&format!("ip netns exec {namespace} ethtool -k {name}"))?;
        for feature in ["tcp-segmentation-offload", "tx-checksumming"] {
            ensure!(features.contains(&format!("{feature}: on")), "{features}");
        }
    }
    lab.sh("ip netns exec near ping -c 2 -W 20 10.84.0.2")?;
    lab.sh(&format!("head -c {BYTES} /dev/urandom >/run/file"))?;
    for (address, offloaded) in [("10.84.0.2", false), ("10.83.0.2", true)] {
        let offloads = Offloads::start(lab, 1)?;
        let receiver = lab.guest().spawn(&format!(
            "ip netns exec far ./ehea-net receive {address} 4000 | sha256sum"
        ))?;
        wait_until("the receiver listens", || {
            let listens = "ip netns exec far ss -ltn | grep -q ':4000 '";
            Ok(lab.run(listens)?.success())
        })?;
        lab.sh(&format!(
            "ip netns exec near socat -u FILE:/run/file TCP:{address}:4000"
        ))?;
        let sum = receiver.wait()?;
        ensure!(sum.success(), "{sum}");
        let expected = lab.sh("sha256sum </run/file")?;
        ensure!(
            sum.out().trim() == expected,
            "{address}: {} instead of {expected}",
            sum.out()
        );
        let (_, segmented) = offloads.since(lab)?;
        ensure!(
            offloaded == (segmented > 0),
            "{address}: the adapter has cut {segmented} packets"
        );
    }
    for (namespace, name) in [("near", &names[0]), ("far", &names[1])] {
        for name in ["TcpInCsumErrors", "UdpInCsumErrors"] {
            let errors = counter(lab, namespace, name)?;
            ensure!(errors == 0, "{namespace}: {errors} {name}");
        }
        // The interface is moved back, so that it is found where the driver left it.
        lab.sh(&format!("ip -n {namespace} link set {name} netns 1"))?;
        let resets = resets(lab, name)?;
        ensure!(resets == 0, "{name}: {resets} resets");
    }
    lab.sh("rm /run/file; ip netns del near && ip netns del far")?;
    lab.unload()?;
    cable.pull().map(drop)
}
