// SPDX-License-Identifier: GPL-2.0

//! Drivers on the bus.

use super::Device;
use crate::kernel_ext::{
    bindings,
    callback::optional,
    dma::Access, //
};
use core::marker::PhantomData;
use kernel::{
    container_of,
    device,
    device_id::RawDeviceId,
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    types::{
        ForeignOwnable,
        Opaque, //
    }, //
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
pub trait Driver: 'static {
    /// Data of the driver for each device.
    type Data: Send + Sync + 'static;

    /// The name of the driver on the bus.
    const NAME: &'static CStr;

    /// The supported devices; see `vio_device_table!`.
    const ID_TABLE: IdTable;

    /// Called when a device was found; starts to drive it. What the device is to read and write
    /// must be made reachable by `access`.
    ///
    /// # Errors
    ///
    /// Any; `ENODEV` and `ENXIO` are not logged by the bus.
    fn probe(dev: &Device<device::Core<'_>>, access: &Access) -> impl PinInit<Self::Data, Error>;

    /// Called before `data` is dropped, for what needs the device; also before another kernel is started
    /// without a crash (kexec). The drop follows at once, still inside of the bus's own remove; so does
    /// waiting for the last mapping, so that all DMA memory is returned before CMO looks.
    fn remove(dev: &Device<device::Core<'_>>, data: Pin<&Self::Data>) {
        let _ = (dev, data);
    }

    /// Called before the machine is suspended or hibernates, while user space is frozen already.
    ///
    /// # Errors
    ///
    /// Any; the machine keeps running then, and who wanted to suspend it gets the error.
    fn prepare_sleep(dev: &Device<device::Core<'_>>) -> Result {
        let _ = dev;
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }

    /// Returns the number of bytes that the driver would like to map for DMA in its default
    /// configuration. The bus asks once before it probes, and only under CMO.
    fn desired_dma(dev: &Device<device::Core<'_>>) -> usize {
        let _ = dev;
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }
}

/// Data that are kept for a bound device.
#[pin_data]
struct Bound<D> {
    #[pin]
    data: D,
    access: Access,
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
    /// Operations for power management.
    const PM: bindings::dev_pm_ops = bindings::dev_pm_ops {
        prepare: optional!(T::HAS_PREPARE_SLEEP, Self::prepare_sleep_callback),
        ..pin_init::zeroed()
    };

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
                pm: &Self::PM,
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

        from_result(|| {
            let access = Access::of(vdev)?;
            let (shown, kept) = (&access, access.clone());
            let result = vdev.as_ref().set_drvdata(try_pin_init!(Bound {
                data <- T::probe(vdev, shown),
                access: kept,
            }));
            if result.is_err() {
                // CMO looks when this returns.
                access.close();
            }
            result.map(|()| 0)
        })
    }

    /// Returns the data of a device that is bound to this driver.
    fn data<'a>(vdev: &'a Device<device::CoreInternal<'_>>) -> Pin<&'a T::Data> {
        // SAFETY: Called from callbacks that the bus makes for a bound device only, hence after
        // `probe_callback()` has stored data of this type, and before `remove_callback()` takes
        // them out, under the same device lock.
        let bound = unsafe { vdev.as_ref().drvdata_borrow::<Bound<T::Data>>() };
        // SAFETY: The field is pinned with the structure.
        unsafe { bound.map_unchecked(|bound| &bound.data) }
    }

    /// # Safety
    ///
    /// `vdev` is valid; it was bound to this driver and is so no more.
    unsafe extern "C" fn remove_callback(vdev: *mut bindings::vio_dev) {
        // SAFETY: The bus passes a valid device, which it keeps until the callback returns.
        let vdev = unsafe { &*vdev.cast::<Device<device::CoreInternal<'_>>>() };

        T::remove(vdev, Self::data(vdev));

        let dev = core::ptr::from_ref::<device::Device<_>>(vdev.as_ref())
            .cast_mut()
            .cast::<bindings::device>();
        // SAFETY: `device::Device` is a transparent wrapper of the C type, and the device is valid.
        let data = unsafe { bindings::dev_get_drvdata(dev) };
        // SAFETY: As above. Nobody finds the data from now on.
        unsafe { bindings::dev_set_drvdata(dev, core::ptr::null_mut()) };
        // SAFETY: `set_drvdata()` has stored a box of this type in the probe that preceded this
        // removal; it was taken out just now, so nobody else drops it, and the borrow for
        // `T::remove()` has ended.
        let bound = unsafe { Pin::<KBox<Bound<T::Data>>>::from_foreign(data.cast()) };
        let access = bound.access.clone();
        drop(bound);
        access.close();
    }

    /// # Safety
    ///
    /// `dev` is the device in a valid `vio_dev`.
    unsafe extern "C" fn prepare_sleep_callback(dev: *mut bindings::device) -> c_int {
        // SAFETY: By the safety requirement, as the bus has no other devices.
        let vdev = unsafe { container_of!(dev, bindings::vio_dev, dev) };
        // SAFETY: The core passes a valid device, which it keeps, and whose lock it holds, until the callback
        // returns.
        let vdev = unsafe { &*vdev.cast::<Device<device::CoreInternal<'_>>>() };

        from_result(|| T::prepare_sleep(vdev).map(|()| 0))
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

/// Declares a module that has one VIO driver.
///
/// ```ignore
/// module_vio_driver! {
///     type: MyDriver,
///     name: "my_driver",
///     authors: ["Name"],
///     description: "My driver",
///     license: "GPL",
/// }
/// ```
#[macro_export]
macro_rules! module_vio_driver {
    (type: $driver:ty, $($rest:tt)*) => {
        #[::kernel::prelude::pin_data]
        struct DriverModule {
            #[pin]
            _registration: $crate::kernel_ext::vio::Registration<$driver>,
        }

        impl ::kernel::InPlaceModule for DriverModule {
            fn init(
                module: &'static ::kernel::ThisModule,
            ) -> impl ::pin_init::PinInit<Self, ::kernel::error::Error> {
                ::kernel::try_pin_init!(Self {
                    _registration <- $crate::kernel_ext::vio::Registration::new(module),
                })
            }
        }

        ::kernel::prelude::module! {
            type: DriverModule,
            $($rest)*
        }
    };
}
