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
mod rx_mode;
pub mod skbuff;
pub mod stats;
mod sync;
mod table;

pub use device::{
    Device,
    MacAddress, //
};
pub use features::Features;
pub use operations::{
    NetDevice,
    Operations,
    Transmit, //
};
pub use registration::{
    Registered,
    UnregisteredNetDevice, //
};
pub use rx_mode::RxMode;
