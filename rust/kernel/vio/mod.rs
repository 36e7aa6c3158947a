// SPDX-License-Identifier: GPL-2.0

//! The VIO bus of pseries.
//!
//! C header: `arch/powerpc/include/asm/vio.h`

mod device;
mod driver;

pub use device::Device;
pub use driver::{
    DeviceId,
    Driver,
    IdTable,
    RawId,
    Registration, //
};
