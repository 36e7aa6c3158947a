// SPDX-License-Identifier: GPL-2.0

//! Data that are kept for a device as long as it is bound to a driver.

use super::{
    bindings,
    dma::Access, //
};
use kernel::{
    prelude::*,
    types::ForeignOwnable, //
};

/// Data that are kept for a bound device: those of its driver, and its access to memory.
#[pin_data]
pub(super) struct Bound<D> {
    #[pin]
    pub(super) data: D,
    pub(super) access: Access,
}

impl<D> Bound<D> {
    /// Returns the driver's data of a device.
    ///
    /// # Safety
    ///
    /// The device is bound to a driver with such data, and stays so as long as the result is used.
    pub(super) unsafe fn data<'a>(dev: *mut bindings::device) -> Pin<&'a D> {
        // SAFETY: By the safety requirement.
        let data = unsafe { bindings::dev_get_drvdata(dev) };
        // SAFETY: By the safety requirement, a box of this type was stored when the device was bound.
        let bound = unsafe { Pin::<KBox<Self>>::borrow(data.cast()) };
        // SAFETY: The field is pinned with the structure.
        unsafe { bound.map_unchecked(|bound| &bound.data) }
    }
}
