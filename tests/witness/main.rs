// SPDX-License-Identifier: GPL-2.0
//! The witness: the C driver of Linux 6.12 on the model of the adapter. It was written for the
//! hardware, so if it does not work with the model, either the model has a mistake or the driver
//! has a known one (`quirks`).

mod errors;
mod life;
mod memory;
mod quirks;

use std::process::ExitCode;

use anyhow::Result;
use ehea_tests::checks;
use ehea_tests::lab::{Lab, Shape};
use ehea_tests::suite::{self, Scenario, ROUGH};
use ehea_tests::system::System;

/// Two ports and room for memory.
const STANDARD: Shape = Shape {
    system: System::Witness,
    ..Shape::STANDARD
};
/// Several queue pairs for each port.
const QUEUES: Shape = Shape {
    properties: &["num-queue-pairs=4"],
    ..STANDARD
};

/// An adapter that loses the frames of a disabled queue pair.
const DROPS: Shape = Shape {
    properties: &["disabled-drops=on"],
    ..STANDARD
};

/// A guest with a kernel for the time after a crash.
const CRASH: Shape = Shape {
    crash_kernel: true,
    ..STANDARD
};

const fn standard(name: &'static str, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario {
        name,
        shape: STANDARD,
        run,
        known: None,
    }
}

const fn queues(name: &'static str, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario {
        name,
        shape: QUEUES,
        run,
        known: None,
    }
}

const SCENARIOS: &[Scenario] = &[
    standard("life::finds_ports", life::finds_ports),
    standard("life::objects", life::objects),
    standard("life::ports_come_and_go", life::ports_come_and_go),
    standard("life::smallest_queues", life::smallest_queues),
    standard("life::statistics", life::statistics),
    standard("life::settings", life::settings),
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
    standard("errors::bad_completions", errors::bad_completions),
    standard("errors::failed_queue_pair", errors::failed_queue_pair),
    standard("errors::link_flap", errors::link_flap),
    standard("memory::under_traffic", memory::under_traffic),
    standard("memory::offline_and_online", memory::offline_and_online),
    standard(
        "quirks::unsynchronized_queues",
        quirks::unsynchronized_queues,
    ),
    standard(
        "quirks::promiscuous_after_reopen",
        quirks::promiscuous_after_reopen,
    ),
    standard(
        "quirks::link_flap_of_many_queues",
        quirks::link_flap_of_many_queues,
    ),
    standard(
        "quirks::cancel_without_offline",
        quirks::cancel_without_offline,
    ),
    standard("quirks::many_fragments", quirks::many_fragments),
    standard("quirks::short_segments", quirks::short_segments),
    queues("queues::flows", checks::traffic::flows),
    queues("queues::every_length", checks::traffic::every_length),
    queues("queues::under_traffic", memory::under_traffic),
    Scenario {
        name: "drops::removals",
        shape: DROPS,
        run: memory::dropped,
        known: None,
    },
    Scenario {
        name: "crash::given_back",
        shape: CRASH,
        run: checks::crash::given_back,
        known: None,
    },
];

fn main() -> ExitCode {
    suite::main("witness", SCENARIOS, &[ROUGH])
}
