// SPDX-License-Identifier: GPL-2.0

//! Drivers on the bus.

#[cfg(not(CONFIG_IBMEBUS))]
use super::bus::Bus;
use crate::kernel_ext::{
    attribute::{
        attribute,
        group,
        Constant, //
    },
    binding::{
        self,
        Binding, //
    },
    bindings,
    dma::Access, //
};
use core::marker::PhantomData;
use kernel::{
    device::{
        CoreInternal,
        Device, //
    },
    error::{
        from_result,
        to_result, //
    },
    of::IdTable,
    prelude::*,
    types::Opaque, //
};

/// A driver of devices on the ibmebus.
pub trait Driver: binding::Driver {
    /// The supported devices; see `kernel::of_device_table!`.
    const ID_TABLE: IdTable<()>;

    /// Content of the driver's file `capabilities`, by which `drmgr` finds out what it may do while the driver is
    /// loaded: 1 if ports can be added and removed, 2 if memory can be added, 4 if memory can be removed.
    const CAPABILITIES: u32;
}

/// The registration of a driver with the bus, undone on drop; removes all its devices then.
///
/// # Invariants
///
/// `driver` is registered; its callbacks are those of `Registration<T>`.
#[pin_data(PinnedDrop)]
pub struct Registration<T: Driver> {
    #[pin]
    driver: Opaque<bindings::platform_driver>,
    // Dropped after the driver was unregistered.
    #[cfg(not(CONFIG_IBMEBUS))]
    bus: Bus,
    _driver: PhantomData<T>,
}

// SAFETY: A driver may be unregistered by another thread than that which registered it.
unsafe impl<T: Driver> Send for Registration<T> {}

// SAFETY: There is nothing to do with a shared reference.
unsafe impl<T: Driver> Sync for Registration<T> {}

impl<T: Driver> Registration<T> {
    const CAPABILITIES: Constant<bindings::driver_attribute> =
        Constant(bindings::driver_attribute {
            attr: attribute(c"capabilities", 0o444),
            show: Some(Self::show_capabilities),
            ..pin_init::zeroed()
        });

    const ATTRIBUTES: &'static [*const bindings::attribute] =
        &[&raw const Self::FILE.0.attr, core::ptr::null()];

    const FILE: &'static Constant<bindings::driver_attribute> = &Self::CAPABILITIES;

    const GROUP: &'static Constant<bindings::attribute_group> = &Constant(group(Self::ATTRIBUTES));

    const GROUPS: &'static Constant<[*const bindings::attribute_group; 2]> =
        &Constant([&raw const Self::GROUP.0, core::ptr::null()]);

    /// Registers the bus, if the kernel has none, and the driver. Process context.
    ///
    /// # Errors
    ///
    /// `EBUSY` if that was done before; `EEXIST` if another module has such a bus; those of `driver_register()`.
    pub fn new(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        let register = |raw: *mut bindings::platform_driver| {
            let driver = bindings::platform_driver {
                probe: Some(Self::probe_callback),
                remove: Some(Self::remove_callback),
                driver: bindings::device_driver {
                    name: T::NAME.as_char_ptr(),
                    owner: module.as_ptr(),
                    mod_name: T::NAME.as_char_ptr(),
                    of_match_table: T::ID_TABLE.as_ptr(),
                    groups: Self::GROUPS.0.as_ptr().cast_mut(),
                    dev_groups: Binding::<T>::GROUPS.0.as_ptr().cast_mut(),
                    pm: &Binding::<T>::PM,
                    ..pin_init::zeroed()
                },
                ..pin_init::zeroed()
            };
            // SAFETY: `raw` can be written, and is pinned until `drop()` has unregistered it. Names and tables
            // are static; the callbacks are made for such a driver, and are in `module`.
            to_result(unsafe {
                raw.write(driver);
                Self::register(raw)
            })
        };

        // INVARIANT: Registered as the last step.
        try_pin_init!(Self {
            #[cfg(not(CONFIG_IBMEBUS))]
            bus: Bus::new(module)?,
            _driver: PhantomData,
            driver <- Opaque::try_ffi_init(register),
        })
    }

    /// # Safety
    ///
    /// As for `driver_register()`. The bus is registered.
    #[cfg(not(CONFIG_IBMEBUS))]
    unsafe fn register(raw: *mut bindings::platform_driver) -> c_int {
        // SAFETY: By the safety requirement.
        unsafe {
            (*raw).driver.bus = Bus::raw();
            bindings::driver_register(&raw mut (*raw).driver)
        }
    }

    /// # Safety
    ///
    /// As for `driver_register()`.
    #[cfg(CONFIG_IBMEBUS)]
    unsafe fn register(raw: *mut bindings::platform_driver) -> c_int {
        // SAFETY: By the safety requirement.
        unsafe { bindings::ibmebus_register_driver(raw) }
    }

    /// # Safety
    ///
    /// `raw` is valid, and bound to this driver if the callback succeeds.
    unsafe extern "C" fn probe_callback(raw: *mut bindings::platform_device) -> c_int {
        // SAFETY: The bus passes a valid device, which it keeps until the callback returns.
        let dev = unsafe { Device::<CoreInternal<'_>>::from_raw(&raw mut (*raw).dev) };

        // SAFETY: The bus charges nothing.
        from_result(|| Binding::<T>::probe(dev, unsafe { Access::free() }).map(|()| 0))
    }

    /// # Safety
    ///
    /// `raw` is valid; it was bound to this driver, and may be so no more.
    unsafe extern "C" fn remove_callback(raw: *mut bindings::platform_device) {
        // SAFETY: The bus passes a valid device, which it keeps until the callback returns.
        let dev = unsafe { Device::<CoreInternal<'_>>::from_raw(&raw mut (*raw).dev) };

        // SAFETY: By the safety requirement. The bus holds the device's lock.
        unsafe { Binding::<T>::remove(dev) };
    }

    /// # Safety
    ///
    /// `buf` has room for a page.
    unsafe extern "C" fn show_capabilities(
        _driver: *mut bindings::device_driver,
        buf: *mut c_char,
    ) -> isize {
        // SAFETY: By the safety requirement. The format takes an `unsigned int`.
        let len = unsafe { bindings::sysfs_emit(buf, c"%u".as_char_ptr(), T::CAPABILITIES) };
        // CAST: At most a page.
        len as isize
    }
}

#[pinned_drop]
impl<T: Driver> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant the driver is registered; it is unregistered only here.
        unsafe { bindings::driver_unregister(&raw mut (*self.driver.get()).driver) };
    }
}
