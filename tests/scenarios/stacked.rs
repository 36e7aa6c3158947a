// SPDX-License-Identifier: GPL-2.0
//! Interfaces on top of a port, each in its own network namespace.

use std::sync::Arc;

use anyhow::{ensure, Result};
use ehea_tests::lab::{port_address, text, Lab};
use ehea_tests::peer::{Echo, Plan, PEER_ADDRESS};

/// MAC address of the second station at the port.
const STATION: [u8; 6] = [0x52, 0x54, 0x00, 0xea, 0x99, 0x02];

/// Frames go to a macvlan and to the port itself in turn. Each arrives at the right one and comes
/// back.
pub(crate) fn macvlan(lab: &Lab) -> Result<()> {
    lab.load()?;
    let name = lab.up(1, 9000)?;
    lab.sh(&format!(
        "ip netns add inside && \
         ip link add mv0 link {name} netns inside address {} type macvlan mode bridge && \
         ip -n inside link set mv0 up",
        text(STATION)
    ))?;
    let own = lab.reflect(&name)?;
    let inside = lab.reflect_in("inside", "mv0")?;
    let plan = Plan::new(230, 400, |n| 60 + (n as usize * 89) % 8955)
        .to_each(|n| [STATION, port_address(1)][n as usize % 2]);
    let summary = plan.run(lab.port(1)?)?;
    // The two reflectors overtake each other.
    ensure!(
        summary.lost + summary.duplicated + summary.corrupted == 0,
        "{summary}"
    );
    for (which, reflector) in [("macvlan", inside), ("port", own)] {
        let counts = reflector.stop()?;
        ensure!(
            counts.starts_with("received 200 reflected 200 "),
            "the {which}: {counts}"
        );
    }
    lab.sh("ip netns del inside")?;
    lab.unload()
}

/// An ipvlan has the port's MAC address and an IP address of its own.
pub(crate) fn ipvlan(lab: &Lab) -> Result<()> {
    lab.load()?;
    let name = lab.up(1, 9000)?;
    lab.sh(&format!(
        "ip netns add inside && \
         ip link add iv0 link {name} netns inside type ipvlan mode l2 && \
         ip -n inside addr add 10.81.0.1/24 dev iv0 && ip -n inside link set iv0 up && \
         ip -n inside neigh replace 10.81.0.2 lladdr {} nud permanent dev iv0",
        text(PEER_ADDRESS)
    ))?;
    let echo = Echo::new(Arc::clone(lab.port(1)?));
    for length in [0, 56, 1001, 8972] {
        lab.sh(&format!(
            "ip netns exec inside ping -c 3 -W 20 -s {length} 10.81.0.2"
        ))?;
    }
    let answered = echo.stop()?;
    ensure!(answered == 12, "{answered} requests came");
    lab.sh("ip netns del inside")?;
    lab.unload()
}
