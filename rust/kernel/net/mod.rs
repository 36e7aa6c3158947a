// SPDX-License-Identifier: GPL-2.0

//! Networking.

pub mod device;
pub mod features;
mod hold;
pub mod lock;
pub mod napi;
pub mod operations;
pub mod queue;
pub mod registration;
pub mod skbuff;
pub mod stats;
mod sync;

pub use device::{
    Device,
    MacAddress, //
};
pub use features::Features;
pub use operations::{
    NetDevice,
    Operations,
    RxMode,
    Transmit, //
};
pub use registration::{
    Registered,
    UnregisteredNetDevice, //
};
