// SPDX-License-Identifier: GPL-2.0

//! Operation within an entitlement: how many bytes the driver wants to have mapped for an adapter,
//! and how it uses those that it gets (eHEA ABI §11, Documentation/cmo.rst).
//!
//! Without Cooperative Memory Overcommitment (CMO), nothing is mapped, and a port gets
//! [`Plan::full`].
//!
//! The mapped memory of a port is of two kinds. Queues and bounce slots are *fixed*: they are
//! mapped when the port is opened, in the sizes that its [`Plan`] gives, and stay mapped until the
//! port is closed. Receive buffers and frames in flight are *flexible*: they follow the entitlement
//! while the port is open, within [`Limits`].

mod demand;
mod policy;
#[cfg(test)]
mod tests;

pub use demand::{
    device_bytes, port_bytes, BufferKind, Configuration, Limits, Plan, Rings, BOUNCE_SLOT_BYTES,
    DEVICE_BYTES, IOMMU_PAGE_SIZE, MIN_ENTITLEMENT,
};
pub use policy::{allot, plan, retry_after, Share};
