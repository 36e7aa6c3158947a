// SPDX-License-Identifier: GPL-2.0

//! Driver of eHEA Ethernet adapters on pseries, on the VIO bus and on the ibmebus.
//!
//! The adapter sees all kernel memory through one memory region, so that a packet costs no mapping
//! call; a table, the busmap, turns real addresses into those of the adapter. Both follow memory
//! hotplug while traffic flows. See Documentation/design.rst.
//!
//! # Layers
//!
//! A module imports from its own row and from rows below it. What must go up is a trait. No file
//! imports another one in a circle. `cargo xtask test` enforces both.
//!
//! - [`driver`]: probe and remove, on either bus; the only file that knows all layers.
//! - [`port`]: a logical port as a network device.
//! - [`shared`]: what the ports of an adapter share: the entitlement, events; and the memory map, which all
//!   adapters share. It knows ports as a trait.
//! - [`firmware`]: hypercalls as functions, firmware's objects as owned values.
//! - [`error`]: what can go wrong.
//! - [`mr`]: registration of memory and the policy for hotplug; [`cmo`]: what to make of an
//!   entitlement for memory that the adapter uses; [`queue`]: rings, work requests, completions.
//! - [`hcall`]: hypercalls, their repetition and their errors; it knows the platform as a trait.
//!   [`bmap`]: from real addresses to those of the adapter.
//! - [`abi`]: the interface of firmware and hardware as types; [`sync`]: atomic variables.
//! - [`trace`]: the tracepoints of the driver.
//! - [`kernel_ext`]: abstractions that the `kernel` crate lacks. All unsafe code is there and in
//!   [`trace`].
//!
//! # Abbreviations
//!
//! - CMO: Cooperative Memory Overcommitment
//! - CQ: completion queue
//! - EQ, NEQ: event queue, notification event queue
//! - MR: memory region
//! - QP: queue pair
//! - RQ1, RQ2, RQ3: the receive queues of a queue pair, for small, medium and large frames
//! - SQ: send queue

pub mod abi;
#[path = "../../rust/bindings/mod.rs"]
pub mod bindings;
#[allow(unreachable_pub, unused_imports, reason = "shared with host tests")]
mod bmap;
#[allow(unreachable_pub, unused_imports, reason = "shared with host tests")]
mod cmo;
mod driver;
mod error;
mod firmware;
#[allow(unreachable_pub, unused_imports, reason = "shared with host tests")]
mod hcall;
#[allow(
    unreachable_pub,
    unused_imports,
    reason = "complete as they would be upstream"
)]
#[path = "../../rust/kernel/mod.rs"]
mod kernel_ext;
#[allow(unreachable_pub, unused_imports, reason = "shared with host tests")]
mod mr;
mod port;
#[allow(unreachable_pub, unused_imports, reason = "shared with host tests")]
mod queue;
mod shared;
mod sync;
#[path = "../../rust/trace/mod.rs"]
mod trace;

use driver::EheaDriver;
use kernel::{
    prelude::*,
    InPlaceModule, //
};
use kernel_ext::{
    ibmebus,
    vio, //
};

/// The loaded module.
#[pin_data]
struct EheaModule {
    #[pin]
    _vio: vio::Registration<EheaDriver>,
    /// `None` if the bus cannot be had.
    _ibmebus: Option<Pin<KBox<ibmebus::Registration<EheaDriver>>>>,
}

impl InPlaceModule for EheaModule {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _vio <- vio::Registration::new(module),
            _ibmebus: KBox::pin_init(ibmebus::Registration::new(module), GFP_KERNEL)
                .inspect_err(|error| pr_warn!("no ibmebus: {:?}\n", error))
                .ok(),
        })
    }
}

module! {
    type: EheaModule,
    name: "ehea",
    authors: ["The eHEA driver project"],
    description: "IBM eHEA Ethernet driver",
    license: "GPL",
}
