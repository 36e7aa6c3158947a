// SPDX-License-Identifier: GPL-2.0
//! End-to-end scenarios: a booted guest, real tools, and a checker at the other end of the wire.
//!
//! Scenarios of the same shape share a guest. Each starts and ends without the driver. After each
//! one, nothing may be left in the adapter, and neither the kernel nor the model may have
//! complained. A guest in which a scenario failed is not used again.

mod absent;
mod bond;
mod bridge;
mod cmo;
mod cmo_platform;
mod crash;
mod cycles;
mod dlpar;
mod drops;
mod errors;
mod filters;
mod hotplug;
mod iperf;
mod leaving;
mod memory;
mod misses;
mod netconsole;
mod observe;
mod odd;
mod quirks;
mod rebuilds;
mod refusals;
mod router;
mod settings;
mod stacked;
mod traffic;
mod vxlan;

use std::process::ExitCode;

use anyhow::Result;
use ehea_harness::{Debug, PageSize, Variant};
use ehea_tests::checks;
use ehea_tests::lab::{Bus, Lab, Other, Shape};
use ehea_tests::suite::{self, Kernel, Scenario, Variation};

/// Several queue pairs for each port.
const QUEUES: Shape = Shape {
    properties: &["num-queue-pairs=4"],
    ..Shape::STANDARD
};
/// Another adapter with one port.
const TWO_ADAPTERS: Shape = Shape {
    others: &[Other::Adapter],
    ..Shape::STANDARD
};
/// Two ports, and two more for their partner.
const FOUR_PORTS: Shape = Shape {
    adapter: Some(4),
    ..Shape::STANDARD
};
/// Memory of a guest with a kernel for the time after a crash, which gets 512 MiB of it. The rest holds the
/// guest's files (250 MiB) and, twice, those of the next kernel: before they are loaded, and after.
const MEMORY_FOR_CRASH: &str = "1536M,max=8G";
/// A guest with a kernel for the time after a crash. Each of the three is for one scenario, because
/// the guest is not the same afterwards.
const CRASH: Shape = Shape {
    crash_kernel: true,
    memory: MEMORY_FOR_CRASH,
    ..Shape::STANDARD
};
/// One processor: the kernel that is left lets its others go only for a moment before the next one overwrites what
/// they wait in, which is not enough for a processor that the host does not run.
const ANEW: Shape = Shape {
    memory: "2G,max=8G",
    qemu_args: &["-smp", "1"],
    ..CRASH
};
const CRASH_OF_QUEUES: Shape = Shape {
    crash_kernel: true,
    memory: MEMORY_FOR_CRASH,
    ..QUEUES
};
/// An adapter with room for one memory region, and several queue pairs for each port.
const TIGHT: Shape = Shape {
    properties: &["max-mrs=1", "num-queue-pairs=4"],
    ..Shape::STANDARD
};
/// An adapter that loses the frames of a disabled queue pair.
const DROPS: Shape = Shape {
    properties: &["disabled-drops=on"],
    ..Shape::STANDARD
};
/// The standard shape with less memory, which is used up. It gives the scenario its own guest.
const CROWDED: Shape = Shape {
    memory: "1G,max=2G",
    ..Shape::STANDARD
};
const NO_PORTS: Shape = Shape {
    memory: "1G",
    adapter: Some(0),
    ..Shape::STANDARD
};
const NO_ADAPTER: Shape = Shape {
    adapter: None,
    ..NO_PORTS
};

const fn standard(name: &'static str, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario {
        name,
        shape: Shape::STANDARD,
        run,
        known: None,
    }
}

const fn plenty(name: &'static str, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario {
        name,
        shape: cmo::PLENTY,
        run,
        known: None,
    }
}

const fn least(name: &'static str, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario {
        name,
        shape: cmo::LEAST,
        run,
        known: None,
    }
}

const fn cmo(name: &'static str, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario {
        name,
        shape: cmo_platform::SHAPE,
        run,
        known: None,
    }
}

/// Adapters on the ibmebus, where the tools expect ports.
const IBMEBUS_ONLY: Shape = Shape {
    bus: Bus::Ibmebus,
    ..Shape::STANDARD
};

/// All scenarios, with those of one shape next to each other.
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
    standard("filters::many_groups", filters::many_groups),
    standard(
        "settings::address_and_mtu",
        checks::settings::address_and_mtu,
    ),
    standard("settings::link", settings::link),
    standard("settings::left_as_found", settings::left_as_found),
    standard("settings::counters", settings::counters),
    standard("settings::received_offloads", settings::received_offloads),
    standard(
        "settings::deferred_interrupts",
        settings::deferred_interrupts,
    ),
    standard("errors::carrier_kept", errors::carrier_kept),
    standard("errors::long_reset", errors::long_reset),
    standard("offload::checksums", checks::offload::checksums),
    standard("offload::segmentation", checks::offload::segmentation),
    standard("traffic::queue_full_and_wake", traffic::queue_full_and_wake),
    standard("traffic::byte_limit", traffic::byte_limit),
    standard("traffic::iperf3_both_directions", iperf::both_directions),
    standard("bridge::forwards", bridge::forwards),
    standard("bridge::filters_vlans", bridge::filters_vlans),
    standard("bridge::passes_vlans", bridge::passes_vlans),
    standard("bond::active_backup", bond::active_backup),
    standard("stacked::macvlan", stacked::macvlan),
    standard("stacked::ipvlan", stacked::ipvlan),
    standard("vxlan::tunnel", vxlan::tunnel),
    standard("router::gro_in_tso_out", router::gro_in_tso_out),
    standard("router::nft", router::nft),
    standard("netconsole::every_line", netconsole::every_line),
    standard("odd::right_headers", odd::right_headers),
    standard("odd::wrong_checksums", odd::wrong_checksums),
    standard("odd::wrong_segments", odd::wrong_segments),
    standard("odd::too_long", odd::too_long),
    standard("odd::anything", odd::anything),
    standard("dlpar::memory", dlpar::memory),
    standard("dlpar::ports::by_files", dlpar::ports::by_files),
    standard("cycles::down_and_up", cycles::down_and_up),
    standard("cycles::suspended", cycles::suspended),
    standard("cycles::link_flaps", cycles::link_flaps),
    standard("cycles::unload_and_load", cycles::unload_and_load),
    standard("hotplug::under_traffic", hotplug::under_traffic),
    standard("hotplug::block_offline", hotplug::block_offline),
    standard("hotplug::idle", hotplug::idle),
    standard("hotplug::soak", hotplug::soak),
    standard("leaving::held_back", leaving::held_back),
    standard("leaving::overruled", leaving::overruled),
    standard("leaving::sent_long_ago", leaving::sent_long_ago),
    standard("memory::removal_refused", memory::removal_refused),
    standard("memory::removal_cancelled", memory::removal_cancelled),
    standard("memory::region_not_freed", memory::region_not_freed),
    standard("memory::without_interrupts", memory::without_interrupts),
    standard("memory::tried_again", memory::tried_again),
    standard("observe::map_and_events", observe::map_and_events),
    standard("observe::unbound_while_read", observe::unbound_while_read),
    standard("observe::devices_of_ports", observe::devices_of_ports),
    standard(
        "observe::idle_ports_allocate_nothing",
        observe::idle_ports_allocate_nothing,
    ),
    standard("observe::during_rebuild", observe::during_rebuild),
    standard("errors::bad_completions", errors::bad_completions),
    standard("errors::malfunction", errors::malfunction),
    standard("errors::lost_interrupts", errors::lost_interrupts),
    standard("errors::refused_reset", errors::refused_reset),
    standard("errors::said_once", errors::said_once),
    standard("errors::filter_refused", errors::filter_refused),
    standard("errors::unload_in_use", errors::unload_in_use),
    standard("errors::configured_in_use", errors::configured_in_use),
    standard("rebuilds::add", rebuilds::add),
    standard("rebuilds::remove", rebuilds::remove),
    standard("rebuilds::cancel", rebuilds::cancel),
    standard(
        "quirks::unsynchronized_queues",
        quirks::unsynchronized_queues,
    ),
    standard(
        "quirks::promiscuous_after_reopen",
        quirks::promiscuous_after_reopen,
    ),
    standard(
        "quirks::cancel_without_offline",
        quirks::cancel_without_offline,
    ),
    standard("quirks::many_fragments", quirks::many_fragments),
    standard("quirks::short_segments", quirks::short_segments),
    standard("refusals::of_probe", refusals::of_probe),
    standard("refusals::of_open", refusals::of_open),
    standard("refusals::of_close", refusals::of_close),
    standard("refusals::long_busy", refusals::long_busy),
    standard("cmo_platform::off", cmo_platform::off),
    Scenario {
        name: "quirks::link_flap_of_many_queues",
        shape: QUEUES,
        run: quirks::link_flap_of_many_queues,
        known: None,
    },
    // Make-before-break of four queue pairs for each of two ports.
    Scenario {
        name: "hotplug::of_queues",
        shape: QUEUES,
        run: hotplug::under_traffic,
        known: None,
    },
    Scenario {
        name: "hotplug::of_two_adapters",
        shape: TWO_ADAPTERS,
        run: hotplug::of_two_adapters,
        known: None,
    },
    Scenario {
        name: "hotplug::refused_by_one_adapter",
        shape: TWO_ADAPTERS,
        run: hotplug::refused_by_one_adapter,
        known: None,
    },
    Scenario {
        name: "observe::queues_and_interrupts",
        shape: QUEUES,
        run: observe::queues_and_interrupts,
        known: None,
    },
    Scenario {
        name: "observe::queue_statistics",
        shape: QUEUES,
        run: observe::queue_statistics,
        known: None,
    },
    Scenario {
        name: "router::all_queues",
        shape: QUEUES,
        run: router::all_queues,
        known: None,
    },
    Scenario {
        name: "bond::lacp",
        shape: FOUR_PORTS,
        run: bond::lacp,
        known: None,
    },
    Scenario {
        name: "crash::given_back",
        shape: CRASH_OF_QUEUES,
        run: checks::crash::given_back,
        known: None,
    },
    Scenario {
        name: "crash::given_back_when_busy",
        shape: CRASH,
        run: crash::given_back_when_busy,
        known: None,
    },
    Scenario {
        name: "crash::started_anew",
        shape: ANEW,
        run: checks::crash::started_anew,
        known: None,
    },
    plenty("cmo::wish_is_honest", cmo::wish_is_honest),
    plenty("cmo::plenty_every_length", checks::traffic::every_length),
    plenty("cmo::plenty_fragments", checks::traffic::fragments),
    plenty("cmo::plenty_segmentation", checks::offload::segmentation),
    plenty(
        "cmo::plenty_address_and_mtu",
        checks::settings::address_and_mtu,
    ),
    plenty("cmo::carrier_at_mtu", settings::carrier_at_mtu),
    plenty("cmo::plenty_memory", hotplug::under_traffic),
    plenty("cmo::refusals_of_probe", refusals::of_probe),
    plenty("cmo::refusals_of_open", refusals::of_open),
    plenty("cmo::unload_and_load", cycles::unload_and_load),
    plenty(
        "cmo::idle_ports_allocate_nothing",
        observe::idle_ports_allocate_nothing,
    ),
    plenty(
        "cmo::shares::shrinks_and_grows",
        cmo::shares::shrinks_and_grows,
    ),
    plenty(
        "cmo::faults::mappings_refused",
        cmo::faults::mappings_refused,
    ),
    plenty("cmo::faults::buffers_refused", cmo::faults::buffers_refused),
    plenty("cmo::faults::open_refused", cmo::faults::open_refused),
    plenty(
        "cmo::faults::removed_at_each_point",
        cmo::faults::removed_at_each_point,
    ),
    plenty("cmo::resets::flooded", cmo::resets::flooded),
    Scenario {
        name: "cmo::kept::not_let_go",
        shape: cmo::KEPT,
        run: cmo::kept::not_let_go,
        known: None,
    },
    least("cmo::minimum", cmo::minimum),
    least(
        "cmo::shares::grows_and_shrinks",
        cmo::shares::grows_and_shrinks,
    ),
    least("cmo::least_ring_wraps", checks::traffic::ring_wraps),
    least("cmo::least_fragments", checks::traffic::fragments),
    least("cmo::least_segmentation", checks::offload::segmentation),
    least("cmo::least_queue_full", traffic::queue_full_and_wake),
    least("cmo::least_memory", hotplug::under_traffic),
    Scenario {
        name: "cmo::shares::three_devices",
        shape: cmo::THREE,
        run: cmo::shares::three_devices,
        known: None,
    },
    Scenario {
        name: "cmo::queues::fewer_with_xps",
        shape: cmo::queues::SHAPE,
        run: cmo::queues::fewer_with_xps,
        known: None,
    },
    Scenario {
        name: "drops::removals",
        shape: DROPS,
        run: drops::removals,
        known: None,
    },
    Scenario {
        name: "observe::break_first",
        shape: TIGHT,
        run: observe::break_first,
        known: None,
    },
    Scenario {
        name: "memory::one_region",
        shape: TIGHT,
        run: memory::one_region,
        known: None,
    },
    Scenario {
        name: "memory::long_pause",
        shape: TIGHT,
        run: memory::long_pause,
        known: None,
    },
    cmo("cmo_platform::announced", cmo_platform::announced),
    cmo("cmo_platform::charged", cmo_platform::charged),
    cmo("cmo_platform::desired", cmo_platform::desired),
    cmo("cmo_platform::by_the_guest", cmo_platform::by_the_guest),
    cmo("cmo_platform::by_the_host", cmo_platform::by_the_host),
    Scenario {
        name: "cmo_platform::shortage",
        shape: cmo_platform::ALONE,
        run: cmo_platform::shortage,
        known: None,
    },
    Scenario {
        name: "misses::receive",
        shape: CROWDED,
        run: misses::receive,
        known: None,
    },
    Scenario {
        name: "absent::no_ports",
        shape: NO_PORTS,
        run: absent::no_ports,
        known: None,
    },
    Scenario {
        name: "absent::no_adapter",
        shape: NO_ADAPTER,
        run: absent::no_adapter,
        known: None,
    },
    Scenario {
        name: "dlpar::ports::come_and_go",
        shape: IBMEBUS_ONLY,
        run: dlpar::ports::come_and_go,
        known: None,
    },
    Scenario {
        name: "dlpar::ports::by_drmgr",
        shape: IBMEBUS_ONLY,
        run: dlpar::ports::by_drmgr,
        known: None,
    }
    .fails_by("D1", "buffer overflow detected"),
    Scenario {
        name: "dlpar::adapters::in_cmo",
        shape: dlpar::adapters::CMO,
        run: dlpar::adapters::in_cmo,
        known: None,
    },
    Scenario {
        name: "dlpar::cores::come_and_go",
        shape: dlpar::cores::SHAPE,
        run: dlpar::cores::come_and_go,
        known: None,
    },
    Scenario {
        name: "dlpar::adapters::come_and_go",
        shape: dlpar::adapters::SHAPE,
        run: dlpar::adapters::come_and_go,
        known: None,
    },
];

/// Scenarios that take long and run only if that is asked for.
const LONG: &[Scenario] = &[
    standard("leaving::sent_long_ago_50", leaving::sent_long_ago_50),
    standard("refusals::of_remove", refusals::of_remove),
    standard("refusals::of_reset", refusals::of_reset),
    plenty("cmo::resets::flooded_200", cmo::resets::flooded_200),
];

/// Reason for which a scenario never runs with a rough adapter.
const COUNTS_CALLS: &str = "it counts calls, which a rough adapter's firmware lets a driver repeat";

/// Scenarios that have most to do with the behaviour of a rough adapter.
const ROUGH: Variation = Variation {
    sample: &[
        // All rings are used many times, through all receive queues.
        "traffic::ring_wraps",
        // Accesses are under way while queue pairs are disabled and freed.
        "cycles::down_and_up",
        // Several queue pairs are served out of order.
        "quirks::link_flap_of_many_queues",
    ],
    never: &[
        ("observe::map_and_events", COUNTS_CALLS),
        ("observe::break_first", COUNTS_CALLS),
    ],
    ..suite::ROUGH
};

/// Scenarios in which the bus of the adapter matters, with an adapter on the ibmebus.
const IBMEBUS: Variation = Variation {
    of: |shape| {
        // In a CMO partition, adapters are on the VIO bus.
        let possible = shape.adapter.is_some() && shape.cmo.is_none();
        possible.then_some(Shape {
            bus: Bus::Ibmebus,
            ..shape
        })
    },
    sample: &[
        // The driver is unbound and bound again, and unloaded.
        "settings::left_as_found",
        "observe::devices_of_ports",
        // Memory comes and goes.
        "hotplug::of_two_adapters",
        // Ports and adapters come and go.
        "dlpar::ports::by_files",
        "dlpar::adapters::come_and_go",
    ],
    never: &[
        ("dlpar::ports::by_drmgr", "the adapter is there anyway"),
        ("dlpar::ports::come_and_go", "likewise"),
    ],
};

const fn kernel(
    name: &'static str,
    page_size: PageSize,
    debug: Option<Debug>,
    append: &'static str,
) -> Kernel {
    Kernel {
        name,
        variant: Variant { page_size, debug },
        append,
    }
}

/// Kernels with checkers, and kernels that manage memory differently: without the radix MMU they
/// use the hash table. The name of a test begins with that of its variant, so that `cargo xtask
/// test` makes the kernels that the names ask for.
const KERNELS: [Kernel; 5] = [
    kernel("64k-hash", PageSize::K64, None, "disable_radix"),
    kernel("4k", PageSize::K4, None, ""),
    kernel("4k-hash", PageSize::K4, None, "disable_radix"),
    kernel("64k-kasan", PageSize::K64, Some(Debug::Kasan), ""),
    kernel("64k-lockdep", PageSize::K64, Some(Debug::Lockdep), ""),
];

/// Modules whose scenarios depend on how the kernel manages memory.
const ABOUT_MEMORY: [&str; 6] = [
    "crash", "hotplug", "leaving", "memory", "misses", "rebuilds",
];

/// Modules whose scenarios depend only on the page size, because buffers, fragments and mappings
/// are pages.
const ABOUT_PAGES: [&str; 4] = ["cmo", "errors", "offload", "router"];

fn main() -> ExitCode {
    suite::main_with(
        "scenarios",
        SCENARIOS,
        LONG,
        &[ROUGH, IBMEBUS],
        &KERNELS,
        |scenario, kernel| {
            let module = scenario.name.split("::").next();
            let about = module.is_some_and(|module| {
                ABOUT_MEMORY.contains(&module)
                    || kernel.name == "4k" && ABOUT_PAGES.contains(&module)
            });
            about || kernel.variant.debug.is_some()
        },
    )
}
