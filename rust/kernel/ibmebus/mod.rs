// SPDX-License-Identifier: GPL-2.0

//! The ibmebus: adapters whose nodes are children of the device tree's root.
//!
//! Linux has this bus in big-endian kernels only (`arch/powerpc/platforms/pseries/ibmebus.c`), for no other reason
//! than that the drivers of its devices were big-endian. In little-endian ones, [`bus`] makes one with the same files,
//! as `drmgr` of powerpc-utils wants them. Where the kernel has the bus, drivers are registered with that.

#[cfg(not(CONFIG_IBMEBUS))]
mod bus;
mod driver;

pub use driver::{
    Driver,
    Registration, //
};
