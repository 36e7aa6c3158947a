// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of the parts of the eHEA driver that do not need an adapter.
//!
//! They are a module of their own. Suites of a module run after its init has succeeded, and the
//! init of the driver does not succeed on a machine without VIO. Loading this module runs the tests
//! once.

#[path = "../drivers/ehea/abi/mod.rs"]
pub mod abi;
#[path = "../rust/bindings/mod.rs"]
pub mod bindings;
#[path = "../drivers/ehea/bmap/mod.rs"]
pub mod bmap;
#[path = "../rust/kernel/mod.rs"]
pub mod kernel_ext;
#[path = "../rust/testing/mod.rs"]
pub mod testing;

mod busmap;
mod common;
mod crash;
mod device;
mod hypercall;
mod memory;
mod napi;
mod netdev;
#[path = "../drivers/ehea/shared/runs.rs"]
mod runs;
mod skbuff;
mod translate;
mod work;

use kernel::prelude::*;

/// The module, which does nothing but hold the tests.
struct TestModule;

impl kernel::Module for TestModule {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}

module! {
    type: TestModule,
    name: "ehea_kunit",
    authors: ["The eHEA driver authors"],
    description: "KUnit tests of the eHEA driver",
    license: "GPL",
}
