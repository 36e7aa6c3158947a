// SPDX-License-Identifier: GPL-2.0

//! Devices for parts of another device.
//!
//! C header: `include/linux/platform_device.h`

use super::{
    attribute::{
        group,
        Constant,
        DEVSPEC, //
    },
    bindings,
    of::Node, //
};
use core::ptr::NonNull;
use kernel::{
    device,
    error::to_result,
    prelude::*, //
};

/// A device for a part of another device that has a device-tree node of its own. No driver is bound to it.
///
/// It is a platform device, so the kernel frees it when its last user is gone, which may be after the module.
/// In sysfs, its directory is below that of its parent. It has a link `of_node` and a file `devspec` with the
/// path of the node, as devices of other buses on powerpc have.
///
/// On drop it is removed from sysfs. Process context.
///
/// # Invariants
///
/// `raw` is a registered platform device, which is unregistered only by `self`.
pub struct Part {
    raw: NonNull<bindings::platform_device>,
}

// SAFETY: Devices aren't bound to a thread.
unsafe impl Send for Part {}

// SAFETY: Shared access is to the embedded device, which is `Sync`.
unsafe impl Sync for Part {}

impl Part {
    /// Makes a device called `name` below `parent`, for the part with the node `node`. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EEXIST` if there is a platform device of this name.
    pub fn new(name: &CStr, parent: &device::Device, node: &Node) -> Result<Self> {
        // SAFETY: The name is a string, which is copied.
        let raw = unsafe {
            bindings::platform_device_alloc(name.as_char_ptr(), bindings::PLATFORM_DEVID_NONE)
        };
        let raw = NonNull::new(raw).ok_or(ENOMEM)?;
        let device = raw.as_ptr();

        // SAFETY: The device is valid and not registered yet. `device::Device` is a transparent wrapper of the
        // C type. The parent is referenced as long as the device is registered, and the node as long as it
        // exists. The attributes are static. Nothing in C writes to them.
        unsafe {
            (*device).dev.parent = core::ptr::from_ref(parent).cast_mut().cast();
            (*device).dev.groups = GROUPS.0.as_ptr().cast_mut();
            bindings::platform_device_set_of_node(device, node.as_ptr());
        }
        // SAFETY: As above.
        to_result(unsafe { bindings::platform_device_add(device) }).inspect_err(|_| {
            // SAFETY: The only reference is given away.
            unsafe { bindings::platform_device_put(device) }
        })?;
        // INVARIANT: Just registered.
        Ok(Self { raw })
    }
}

impl AsRef<device::Device> for Part {
    fn as_ref(&self) -> &device::Device {
        // SAFETY: By the type invariant, the device is valid as long as `self` is borrowed.
        unsafe { device::Device::from_raw(&raw mut (*self.raw.as_ptr()).dev) }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the device is registered; it is unregistered only here.
        unsafe { bindings::platform_device_unregister(self.raw.as_ptr()) };
    }
}

static ATTRIBUTES: Constant<[*const bindings::attribute; 2]> =
    Constant([&raw const DEVSPEC.0.attr, core::ptr::null()]);

static GROUP: Constant<bindings::attribute_group> = Constant(group(&ATTRIBUTES.0));

static GROUPS: Constant<[*const bindings::attribute_group; 2]> =
    Constant([&raw const GROUP.0, core::ptr::null()]);
