// SPDX-License-Identifier: GPL-2.0

//! Drivers on the bus.

use super::Device;
use crate::kernel_ext::{
    binding::{
        self,
        Binding, //
    },
    bindings,
    callback::optional,
    dma::Access, //
};
use core::marker::PhantomData;
use kernel::{
    device,
    device_id::RawDeviceId,
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    types::Opaque, //
};

/// A pair of `device_type` and `compatible` that a driver supports.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct DeviceId(bindings::vio_device_id);

impl DeviceId {
    /// From the two strings, which must be shorter than 32 bytes; doesn't compile otherwise when
    /// used in a constant.
    pub const fn new(device_type: &CStr, compatible: &CStr) -> Self {
        Self(bindings::vio_device_id {
            type_: Self::field(device_type),
            compat: Self::field(compatible),
        })
    }

    const fn field(string: &CStr) -> [u8; 32] {
        let bytes = string.to_bytes_with_nul();
        let mut field = [0; 32];
        let mut i = 0;
        while i < bytes.len() {
            // PANIC: While compiling, if the string is too long.
            field[i] = bytes[i];
            i += 1;
        }
        field
    }
}

// SAFETY: `DeviceId` is a transparent wrapper of `vio_device_id`.
unsafe impl RawDeviceId for DeviceId {
    type RawType = RawId;
}

/// `struct vio_device_id`, as the element of the table that C sees.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct RawId(bindings::vio_device_id);

/// The ids a driver supports; made by `vio_device_table!`.
pub type IdTable = &'static dyn kernel::device_id::IdTable<DeviceId, ()>;

/// Defines the table of supported devices, and the module aliases.
///
/// ```ignore
/// vio_device_table!(TABLE, [(c"network", c"IBM,lhea")]);
/// ```
#[macro_export]
macro_rules! vio_device_table {
    ($table:ident, [$(($type:literal, $compatible:literal)),+ $(,)?]) => {
        ::kernel::module_device_table!(
            "vio",
            $crate::kernel_ext::vio::DeviceId,
            $table,
            @none,
            [$($crate::kernel_ext::vio::DeviceId::new($type, $compatible)),+]
        );
    };
}

/// A driver of VIO devices.
#[vtable]
pub trait Driver: binding::Driver {
    /// The supported devices; see `vio_device_table!`.
    const ID_TABLE: IdTable;

    /// Returns the number of bytes that the driver would like to map for DMA in its default
    /// configuration. The bus asks once before it probes, and only under CMO.
    fn desired_dma(dev: &Device<device::Core<'_>>) -> usize {
        let _ = dev;
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }
}

/// The registration of a driver with the bus, undone on drop; removes all its devices then.
///
/// # Invariants
///
/// `driver` is registered; its callbacks are those of `Registration<T>`.
#[pin_data(PinnedDrop)]
pub struct Registration<T: Driver> {
    #[pin]
    driver: Opaque<bindings::vio_driver>,
    _driver: PhantomData<T>,
}

// SAFETY: A driver may be unregistered by another thread than that which registered it.
unsafe impl<T: Driver> Send for Registration<T> {}

// SAFETY: There is nothing to do with a shared reference.
unsafe impl<T: Driver> Sync for Registration<T> {}

impl<T: Driver> Registration<T> {
    /// Registers the driver. Process context.
    ///
    /// # Errors
    ///
    /// `ENODEV` if this isn't pseries; those of `driver_register()`.
    pub fn new(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        let register = |raw: *mut bindings::vio_driver| {
            let driver = bindings::vio_driver {
                name: T::NAME.as_char_ptr(),
                id_table: T::ID_TABLE.as_ptr().cast(),
                probe: Some(Self::probe_callback),
                remove: Some(Self::remove_callback),
                pm: &Binding::<T>::PM,
                driver: bindings::device_driver {
                    dev_groups: Binding::<T>::GROUPS.0.as_ptr().cast_mut(),
                    ..pin_init::zeroed()
                },
                get_desired_dma: optional!(T::HAS_DESIRED_DMA, Self::desired_dma_callback),
                ..pin_init::zeroed()
            };
            // SAFETY: `raw` can be written, and is pinned until `drop()` has unregistered it. The name and
            // the table are static; the callbacks are made for such a driver. `module` is the module that
            // they are in.
            to_result(unsafe {
                raw.write(driver);
                bindings::__vio_register_driver(raw, module.as_ptr(), T::NAME.as_char_ptr())
            })
        };

        // INVARIANT: Registered as the last step.
        try_pin_init!(Self {
            _driver: PhantomData,
            driver <- Opaque::try_ffi_init(register),
        })
    }

    /// # Safety
    ///
    /// `vdev` is valid, and bound to this driver if the callback succeeds.
    unsafe extern "C" fn probe_callback(
        vdev: *mut bindings::vio_dev,
        _id: *const bindings::vio_device_id,
    ) -> c_int {
        // SAFETY: The bus passes a valid device, which it keeps until the callback returns.
        let vdev = unsafe { &*vdev.cast::<Device<device::CoreInternal<'_>>>() };

        from_result(|| Binding::<T>::probe(vdev.as_ref(), Access::of(vdev)?).map(|()| 0))
    }

    /// # Safety
    ///
    /// `vdev` is valid; it was bound to this driver and is so no more.
    unsafe extern "C" fn remove_callback(vdev: *mut bindings::vio_dev) {
        // SAFETY: The bus passes a valid device, which it keeps until the callback returns.
        let vdev = unsafe { &*vdev.cast::<Device<device::CoreInternal<'_>>>() };

        // SAFETY: By the safety requirement. The bus holds the device's lock.
        unsafe { Binding::<T>::remove(vdev.as_ref()) };
    }

    /// # Safety
    ///
    /// `vdev` is valid.
    unsafe extern "C" fn desired_dma_callback(vdev: *mut bindings::vio_dev) -> c_ulong {
        // SAFETY: The bus passes a valid device, which it keeps until the callback returns.
        let vdev = unsafe { &*vdev.cast::<Device<device::CoreInternal<'_>>>() };

        T::desired_dma(vdev)
    }
}

#[pinned_drop]
impl<T: Driver> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant the driver is registered; it is unregistered only here.
        unsafe { bindings::vio_unregister_driver(self.driver.get()) };
    }
}
