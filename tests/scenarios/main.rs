// SPDX-License-Identifier: GPL-2.0
//! End-to-end scenarios: a booted guest, real tools, and a checker at the other end of the wire.
//!
//! Scenarios of the same shape share a guest; each starts and ends without the driver. After each one
//! nothing may be left in the adapter, and neither the kernel nor the model may have complained. A
//! guest in which a scenario failed is not used again.

mod absent;
mod cycles;
mod errors;
mod hotplug;
mod iperf;
mod memory;
mod observe;
mod refusals;
mod traffic;

use std::process::ExitCode;

use anyhow::Result;
use ehea_tests::checks;
use ehea_tests::lab::{Lab, Shape};
use ehea_tests::suite::{self, Scenario};
use ehea_tests::system::System;

/// Two ports and room for memory.
const STANDARD: Shape = Shape {
    system: System::Ours,
    memory: "1G,max=8G",
    adapter: Some(2),
    properties: &[],
};
/// Room for one memory region, and several queue pairs for each port.
const TIGHT: Shape = Shape {
    system: System::Ours,
    memory: "1G,max=8G",
    adapter: Some(2),
    properties: &["max-mrs=1", "num-queue-pairs=4"],
};
const NO_PORTS: Shape = Shape {
    system: System::Ours,
    memory: "1G",
    adapter: Some(0),
    properties: &[],
};
const NO_ADAPTER: Shape = Shape {
    system: System::Ours,
    memory: "1G",
    adapter: None,
    properties: &[],
};

const fn standard(name: &'static str, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario {
        name,
        shape: STANDARD,
        run,
    }
}

/// All scenarios, those of one shape next to each other.
const SCENARIOS: &[Scenario] = &[
    standard("traffic::every_length", checks::traffic::every_length),
    standard("traffic::ring_wraps", checks::traffic::ring_wraps),
    standard("traffic::fragments", checks::traffic::fragments),
    standard("traffic::ping", checks::traffic::ping),
    standard("vlan::tags", checks::vlan::tags),
    standard(
        "filters::groups_and_promiscuous",
        checks::filters::groups_and_promiscuous,
    ),
    standard(
        "settings::address_and_mtu",
        checks::settings::address_and_mtu,
    ),
    standard("offload::checksums", checks::offload::checksums),
    standard("offload::segmentation", checks::offload::segmentation),
    standard("traffic::queue_full_and_wake", traffic::queue_full_and_wake),
    standard("traffic::iperf3_both_directions", iperf::both_directions),
    standard("cycles::down_and_up", cycles::down_and_up),
    standard("cycles::link_flaps", cycles::link_flaps),
    standard("cycles::unload_and_load", cycles::unload_and_load),
    standard("hotplug::under_traffic", hotplug::under_traffic),
    standard("hotplug::block_offline", hotplug::block_offline),
    standard("memory::removal_refused", memory::removal_refused),
    standard("memory::removal_cancelled", memory::removal_cancelled),
    standard("observe::map_and_events", observe::map_and_events),
    standard("observe::unbound_while_read", observe::unbound_while_read),
    standard("errors::bad_completions", errors::bad_completions),
    standard("errors::malfunction", errors::malfunction),
    standard("errors::lost_interrupts", errors::lost_interrupts),
    standard("errors::refused_reset", errors::refused_reset),
    standard("errors::unload_in_use", errors::unload_in_use),
    standard("errors::configured_in_use", errors::configured_in_use),
    standard("refusals::of_probe", refusals::of_probe),
    standard("refusals::of_open", refusals::of_open),
    standard("refusals::long_busy", refusals::long_busy),
    Scenario {
        name: "memory::one_region",
        shape: TIGHT,
        run: memory::one_region,
    },
    Scenario {
        name: "observe::break_first",
        shape: TIGHT,
        run: observe::break_first,
    },
    Scenario {
        name: "absent::no_ports",
        shape: NO_PORTS,
        run: absent::no_ports,
    },
    Scenario {
        name: "absent::no_adapter",
        shape: NO_ADAPTER,
        run: absent::no_adapter,
    },
];

fn main() -> ExitCode {
    suite::main("scenarios", SCENARIOS)
}
