// SPDX-License-Identifier: GPL-2.0

//! Networking.

pub mod device;
pub mod features;
pub mod napi;
pub mod operations;
pub mod queue;
pub mod rtnl;
pub mod skbuff;
pub mod stats;

pub use device::{
    Device,
    MacAddress,
    NetDevice,
    Registered,
    UnregisteredNetDevice, //
};
pub use features::Features;
pub use operations::{
    Operations,
    RxMode,
    Transmit, //
};
