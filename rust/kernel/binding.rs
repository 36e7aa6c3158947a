// SPDX-License-Identifier: GPL-2.0

//! Drivers of devices, whatever bus these are on.

use super::{
    attribute::{
        group,
        Constant, //
    },
    bindings,
    bound::Bound,
    callback::optional,
    command::{
        self,
        Command, //
    },
    dma::Access, //
};
use core::marker::PhantomData;
use kernel::{
    device::{
        Core,
        CoreInternal,
        Device, //
    },
    error::from_result,
    prelude::*,
    types::ForeignOwnable, //
};

/// A driver, as far as it is the same on all buses.
#[vtable]
pub trait Driver: 'static {
    /// Data of the driver for each device.
    type Data: Send + Sync + 'static;

    /// The name of the driver on its buses.
    const NAME: &'static CStr;

    /// Files of a bound device to which users write.
    const COMMANDS: &'static [&'static Command<Self::Data>] = &[];

    /// Called when a device was found; starts to drive it. What the device is to read and write
    /// must be made reachable by `access`.
    ///
    /// # Errors
    ///
    /// Any; `ENODEV` and `ENXIO` are not logged by the core.
    fn probe(dev: &Device<Core<'_>>, access: &Access) -> impl PinInit<Self::Data, Error>;

    /// Called before `data` is dropped, for what needs the device; also before another kernel is started
    /// without a crash (kexec). The drop follows at once, still inside of the bus's own remove; so does
    /// waiting for the last mapping, so that all DMA memory is returned before CMO looks.
    fn remove(dev: &Device<Core<'_>>, data: Pin<&Self::Data>) {
        let _ = (dev, data);
    }

    /// Called before the machine is suspended or hibernates, while user space is frozen already.
    ///
    /// # Errors
    ///
    /// Any; the machine keeps running then, and who wanted to suspend it gets the error.
    fn prepare_sleep(dev: &Device<Core<'_>>) -> Result {
        let _ = dev;
        build_error!(kernel::error::VTABLE_DEFAULT_ERROR)
    }
}

/// Binding of devices and the driver `T`, for the abstractions of buses.
pub(super) struct Binding<T: Driver>(PhantomData<T>);

impl<T: Driver> Binding<T> {
    const COMMANDS: &'static Constant<command::List> = &Constant(command::list(T::COMMANDS));

    const FILES: &'static Constant<bindings::attribute_group> = &Constant(group(&Self::COMMANDS.0));

    /// Files of a bound device.
    pub(super) const GROUPS: &'static Constant<[*const bindings::attribute_group; 2]> =
        &Constant([&raw const Self::FILES.0, core::ptr::null()]);

    /// Operations for power management.
    pub(super) const PM: bindings::dev_pm_ops = bindings::dev_pm_ops {
        prepare: optional!(T::HAS_PREPARE_SLEEP, Self::prepare_sleep_callback),
        ..pin_init::zeroed()
    };

    /// Binds a device, which reaches memory by `access`.
    ///
    /// # Errors
    ///
    /// Those of the driver; `ENOMEM`.
    pub(super) fn probe(dev: &Device<CoreInternal<'_>>, access: Access) -> Result {
        let (shown, kept) = (&access, access.clone());
        let result = dev.set_drvdata(try_pin_init!(Bound {
            data <- T::probe(dev, shown),
            access: kept,
        }));
        if result.is_err() {
            // CMO looks when the probe ends.
            access.close();
        }
        result
    }

    /// Unbinds a device, if it is bound.
    ///
    /// # Safety
    ///
    /// If the device has data of a driver, [`Binding::<T>::probe`] has stored them. Nobody else unbinds it.
    pub(super) unsafe fn remove(dev: &Device<CoreInternal<'_>>) {
        let raw = core::ptr::from_ref(dev)
            .cast_mut()
            .cast::<bindings::device>();
        // SAFETY: `Device` is a transparent wrapper of the C type, and the device is valid.
        if unsafe { bindings::dev_get_drvdata(raw) }.is_null() {
            return;
        }
        {
            // SAFETY: By the safety requirement, the data are of this type. They are taken out below only.
            let bound = unsafe { dev.drvdata_borrow::<Bound<T::Data>>() };
            // SAFETY: The field is pinned with the structure.
            T::remove(dev, unsafe { bound.map_unchecked(|bound| &bound.data) });
        }
        // SAFETY: As above.
        let data = unsafe { bindings::dev_get_drvdata(raw) };
        // SAFETY: As above. Nobody finds the data from now on.
        unsafe { bindings::dev_set_drvdata(raw, core::ptr::null_mut()) };
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
    /// `dev` is a device that is bound to this driver.
    unsafe extern "C" fn prepare_sleep_callback(dev: *mut bindings::device) -> c_int {
        // SAFETY: The core passes a valid device, which it keeps, and whose lock it holds, until the callback
        // returns.
        let dev = unsafe { Device::<CoreInternal<'_>>::from_raw(dev) };

        from_result(|| T::prepare_sleep(dev).map(|()| 0))
    }
}
