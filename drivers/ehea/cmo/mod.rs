// SPDX-License-Identifier: GPL-2.0

//! Living within an entitlement: how many bytes the driver would like to have mapped for the adapter,
//! and what it makes of those that it gets (eHEA ABI §11, Documentation/cmo.rst).
//!
//! Without Cooperative Memory Overcommitment (CMO) nothing is mapped, and a port gets [`Plan::full`].
//!
//! What a port has mapped is of two kinds. Queues and bounce slots are *fixed*: mapped when the port
//! is opened, in the sizes that its [`Plan`] says, until it is closed. Receive buffers and frames in
//! flight are *flexible*: they follow the entitlement while the port is open, within [`Limits`].

mod demand;
mod policy;
#[cfg(test)]
mod tests;

pub use demand::{
    device_bytes, port_bytes, BufferKind, Configuration, Limits, Plan, Rings, BOUNCE_SLOT_BYTES,
    DEVICE_BYTES, MIN_ENTITLEMENT,
};
pub use policy::{allot, plan, retry_after, Share};
