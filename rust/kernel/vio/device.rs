// SPDX-License-Identifier: GPL-2.0

//! Devices on the bus.

use crate::kernel_ext::{
    bindings,
    of, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    device,
    sync::aref::AlwaysRefCounted,
    types::Opaque, //
};

/// A device on the VIO bus.
///
/// # Invariants
///
/// The object is a valid `struct vio_dev`, made by C.
#[repr(transparent)]
pub struct Device<Ctx: device::DeviceContext = device::Normal>(
    Opaque<bindings::vio_dev>,
    PhantomData<Ctx>,
);

// SAFETY: `Device` is a transparent wrapper of a type that doesn't depend on its generic argument.
kernel::impl_device_context_deref!(unsafe { Device });
kernel::impl_device_context_into_aref!(Device);

// SAFETY: A device is always counted, and its last reference may be dropped by any thread.
unsafe impl Send for Device {}

// SAFETY: The methods of `Device` may be called by several threads at once.
unsafe impl Sync for Device {}

// SAFETY: As for `Device`; `Bound` is a marker without content.
unsafe impl Sync for Device<device::Bound> {}

impl<Ctx: device::DeviceContext> Device<Ctx> {
    pub(in crate::kernel_ext) fn as_raw(&self) -> *mut bindings::vio_dev {
        self.0.get()
    }

    /// Returns the device's node in the device tree.
    pub fn of_node(&self) -> Option<of::Node> {
        of::Node::of(self.as_ref())
    }
}

impl<Ctx: device::DeviceContext> AsRef<device::Device<Ctx>> for Device<Ctx> {
    fn as_ref(&self) -> &device::Device<Ctx> {
        // SAFETY: The device is valid.
        let dev = unsafe { &raw mut (*self.as_raw()).dev };
        // SAFETY: `dev` is the device embedded in `self`, and has the same context.
        unsafe { device::Device::from_raw(dev) }
    }
}

// SAFETY: VIO devices are counted by the embedded device.
unsafe impl AlwaysRefCounted for Device {
    fn inc_ref(&self) {
        let dev: &device::Device = self.as_ref();
        dev.inc_ref();
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: By the safety requirement there is a reference, so the object is valid.
        let dev: &device::Device = unsafe { obj.as_ref() }.as_ref();
        // SAFETY: The reference is given away by the caller.
        unsafe { device::Device::dec_ref(NonNull::from(dev)) };
    }
}
